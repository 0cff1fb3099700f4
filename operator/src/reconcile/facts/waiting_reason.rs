//! Reads from a pod's status why the fetcher does not start. Pure.
//!
//! The pod starts once the cause is gone, so that waiting is not a failed attempt.

use k8s_openapi::api::core::v1::{ContainerStateWaiting, Pod};
use kube::ResourceExt;
use modelcache_crds::conditions::Reason;

use super::pod::fetcher_container;

/// Why a pod does not start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingReason {
    /// The condition's reason.
    pub reason: Reason,
    /// The condition's message.
    pub message: String,
}

/// Why a pod that has not started does not start; `None` when the cluster reports no cause.
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
    let reported = condition.message.as_deref().unwrap_or("the scheduler gives no message");
    // The rest of the message is about preemption, which does not help either.
    let reported = reported.split(" preemption:").next().unwrap_or(reported);
    // A source's claim: the claim to write to is checked before there is a pod.
    if let Some(name) = between(reported, "persistentvolumeclaim \"", "\" not found") {
        let namespace = pod.namespace().unwrap_or_default();
        return Some(WaitingReason {
            reason: Reason::ClaimNotFound,
            message: format!(
                "claim {name} does not exist in namespace {namespace}: create it, then the fetcher starts"
            ),
        });
    }
    Some(WaitingReason {
        reason: Reason::Unschedulable,
        message: format!("no node takes the fetcher's pod: {reported}"),
    })
}

fn waiting(pod: &Pod) -> Option<&ContainerStateWaiting> {
    let container = fetcher_container(pod.status.as_ref()?)?;
    container.state.as_ref()?.waiting.as_ref()
}

fn not_starting(waiting: &ContainerStateWaiting, namespace: &str) -> Option<WaitingReason> {
    let reported = waiting.message.as_deref().unwrap_or_default();
    match waiting.reason.as_deref()? {
        "ErrImagePull"
        | "ImagePullBackOff"
        | "InvalidImageName"
        | "ErrImageNeverPull"
        | "RegistryUnavailable"
        | "ErrImageInspect" => Some(WaitingReason {
            reason: Reason::ImagePullFailed,
            message: format!(
                "failed to pull the fetcher's image: {reported}: correct the operator's fetcher image or its pull secret"
            ),
        }),
        "CreateContainerConfigError" => Some(config_error(reported, namespace)),
        "CreateContainerError" | "RunContainerError" => Some(WaitingReason {
            reason: Reason::FetcherFailed,
            message: format!("failed to create the fetcher's container: {reported}"),
        }),
        _ => None,
    }
}

/// Parses `secret "hf" not found`, or `couldn't find key token in Secret demo/hf`.
fn config_error(reported: &str, namespace: &str) -> WaitingReason {
    if let Some(name) = between(reported, "secret \"", "\" not found") {
        return WaitingReason {
            reason: Reason::SecretNotFound,
            message: format!(
                "Secret {name} does not exist in namespace {namespace}: create it with the token, \
                 then the fetcher starts"
            ),
        };
    }
    if let Some(key) = between(reported, "couldn't find key ", " in Secret ") {
        let secret = reported
            .split(" in Secret ")
            .nth(1)
            .and_then(|rest| rest.split('/').nth(1));
        let secret = secret.map_or("the Secret", |name| {
            name.trim_end_matches(|c: char| !c.is_ascii_alphanumeric())
        });
        return WaitingReason {
            reason: Reason::SecretKeyNotFound,
            message: format!(
                "Secret {secret} in namespace {namespace} has no key {key}: add the key, or correct \
                 tokenSecretRef.key of the source, then the fetcher starts"
            ),
        };
    }
    WaitingReason {
        reason: Reason::FetcherFailed,
        message: format!("failed to configure the fetcher's container: {reported}"),
    }
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?.1.split_once(after).map(|(found, _)| found)
}

#[cfg(test)]
mod tests;
