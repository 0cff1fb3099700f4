//! Why a fetcher's pod does not start, read from what the scheduler and the kubelet wrote into its status.
//!
//! Pure. Every trouble here passes by itself once its cause is gone: the pod waits, so none is a failed attempt.

use k8s_openapi::api::core::v1::{ContainerStateWaiting, Pod};
use kube::ResourceExt;
use modelcache_crds::conditions::Reason;

/// What is in the way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingReason {
    /// In one word.
    pub reason: Reason,
    /// For people.
    pub message: String,
}

/// What keeps a pod that has not started from starting; `None` when nothing does.
#[must_use]
pub fn classify(pod: &Pod) -> Option<WaitingReason> {
    unschedulable(pod).or_else(|| {
        let namespace = pod.namespace().unwrap_or_default();
        waiting(pod).and_then(|waiting| not_starting(waiting, &namespace))
    })
}

fn unschedulable(pod: &Pod) -> Option<WaitingReason> {
    let condition = pod
        .status
        .as_ref()?
        .conditions
        .as_ref()?
        .iter()
        .find(|condition| condition.type_ == "PodScheduled" && condition.status == "False")?;
    if condition.reason.as_deref() != Some("Unschedulable") {
        return None;
    }
    let said = condition.message.as_deref().unwrap_or("the scheduler does not say why");
    // Behind it stands that preempting other pods would not help either.
    let said = said.split(" preemption:").next().unwrap_or(said);
    // That of a source: a claim to write to is looked for before there is a pod.
    if let Some(name) = between(said, "persistentvolumeclaim \"", "\" not found") {
        let namespace = pod.namespace().unwrap_or_default();
        return Some(WaitingReason {
            reason: Reason::ClaimNotFound,
            message: format!(
                "claim {name} does not exist in namespace {namespace}: create it, the fetcher then starts by itself"
            ),
        });
    }
    Some(WaitingReason {
        reason: Reason::Unschedulable,
        message: format!("no node takes the fetcher's pod: {said}"),
    })
}

fn waiting(pod: &Pod) -> Option<&ContainerStateWaiting> {
    let container = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    container.state.as_ref()?.waiting.as_ref()
}

fn not_starting(waiting: &ContainerStateWaiting, namespace: &str) -> Option<WaitingReason> {
    let said = waiting.message.as_deref().unwrap_or_default();
    match waiting.reason.as_deref()? {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "RegistryUnavailable"
        | "ErrImageInspect" => Some(WaitingReason {
            reason: Reason::ImagePullFailed,
            message: format!(
                "the fetcher's image cannot be pulled: {said}: correct the operator's fetcher image or its pull secret"
            ),
        }),
        "CreateContainerConfigError" => Some(config_error(said, namespace)),
        "CreateContainerError" | "RunContainerError" => Some(WaitingReason {
            reason: Reason::FetcherFailed,
            message: format!("the fetcher's container cannot be created: {said}"),
        }),
        _ => None,
    }
}

/// The kubelet says `secret "hf" not found`, or `couldn't find key token in Secret demo/hf`.
fn config_error(said: &str, namespace: &str) -> WaitingReason {
    if let Some(name) = between(said, "secret \"", "\" not found") {
        return WaitingReason {
            reason: Reason::SecretNotFound,
            message: format!(
                "Secret {name} does not exist in namespace {namespace}: create it with the token, \
                 the fetcher then starts by itself"
            ),
        };
    }
    if let Some(key) = between(said, "couldn't find key ", " in Secret ") {
        let secret = said.split(" in Secret ").nth(1).and_then(|rest| rest.split('/').nth(1));
        let secret = secret.map_or("the Secret", |name| {
            name.trim_end_matches(|c: char| !c.is_ascii_alphanumeric())
        });
        return WaitingReason {
            reason: Reason::SecretKeyNotFound,
            message: format!(
                "Secret {secret} in namespace {namespace} has no key {key}: add the key, or correct \
                 tokenSecretRef.key of the source, the fetcher then starts by itself"
            ),
        };
    }
    WaitingReason {
        reason: Reason::FetcherFailed,
        message: format!("the fetcher's container cannot be configured: {said}"),
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}

#[cfg(test)]
mod tests;
