//! The facts about a fetcher's pod.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodStatus};
use kube::ResourceExt;
use modelcache_crds::names::FETCHER_CONTAINER;
use modelcache_crds::report::{FailureClass, Report};

use crate::reconcile::facts::Step;
use crate::reconcile::facts::waiting_reason::{self, WaitingReason};

/// Longest end of a log in a message.
const LOG_TAIL_MAX_BYTES: usize = 300;

/// Phase of a fetcher's pod.
#[derive(Clone, Debug, PartialEq)]
pub enum PodPhase {
    /// It does not run yet; with the cause, when the cluster reports one.
    Starting(Option<WaitingReason>),
    /// Its container is running.
    Running,
    /// Its container has ended.
    Ended(PodEnd),
}

/// How a fetcher ended.
#[derive(Clone, Debug, PartialEq)]
pub enum PodEnd {
    /// With a report.
    Reported(Box<Report>),
    /// Without a report, or with one that contradicts its exit code.
    Unreported {
        /// Class of the failure.
        class: FailureClass,
        /// Message for people.
        message: String,
    },
}

/// The facts about a pod of one of the operator's Jobs.
#[derive(Clone, Debug, PartialEq)]
pub struct FetcherPod {
    /// Its name.
    pub name: String,
    /// Uid of its Job: a deleted Job's pods can outlive it while another Job has its name.
    pub job_uid: String,
    /// Step of its Job.
    pub step: Step,
    /// Its phase.
    pub phase: PodPhase,
    /// Its IP address, once assigned.
    pub ip: Option<String>,
    /// When it was created.
    pub created: Timestamp,
    /// When its container ended.
    pub ended: Option<Timestamp>,
}

impl FetcherPod {
    /// The facts about a pod; `None` when it belongs to no Job.
    #[must_use]
    pub fn of(pod: &Pod) -> Option<Self> {
        let status = pod.status.clone().unwrap_or_default();
        let container = fetcher_container(&status);
        Some(Self {
            name: pod.name_any(),
            job_uid: pod.labels().get("batch.kubernetes.io/controller-uid")?.clone(),
            step: Step::of(pod)?,
            phase: phase(pod, container),
            ip: status.pod_ip.clone().filter(|ip| !ip.is_empty()),
            created: pod.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            ended: container.and_then(ended),
        })
    }

    /// Whether its container has ended, so that it can no longer write.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self.phase {
            PodPhase::Ended(_) => true,
            PodPhase::Starting(_) | PodPhase::Running => false,
        }
    }

    /// Its report, when it ended with one.
    #[must_use]
    pub fn report(&self) -> Option<&Report> {
        match &self.phase {
            PodPhase::Ended(PodEnd::Reported(report)) => Some(report),
            PodPhase::Ended(PodEnd::Unreported { .. }) | PodPhase::Starting(_) | PodPhase::Running => None,
        }
    }
}

/// The status of the fetcher's container. The kubelet sorts by name, and others may inject sidecars.
pub(super) fn fetcher_container(status: &PodStatus) -> Option<&ContainerStatus> {
    let containers = status.container_statuses.as_deref().unwrap_or_default();
    containers.iter().find(|container| container.name == FETCHER_CONTAINER)
}

fn ended(container: &ContainerStatus) -> Option<Timestamp> {
    let terminated = container.state.as_ref()?.terminated.as_ref()?;
    terminated.finished_at.as_ref().map(|time| time.0)
}

fn phase(pod: &Pod, container: Option<&ContainerStatus>) -> PodPhase {
    let state = container.and_then(|status| status.state.as_ref());
    if let Some(terminated) = state.and_then(|state| state.terminated.as_ref()) {
        return PodPhase::Ended(end(terminated));
    }
    let status = pod.status.as_ref();
    // A pod that was evicted or lost its node has ended, although its container status never shows it.
    if let Some("Failed" | "Succeeded") = status.and_then(|status| status.phase.as_deref()) {
        let what = [
            status.and_then(|status| status.reason.as_deref()),
            status.and_then(|status| status.message.as_deref()),
        ];
        let what: Vec<&str> = what.into_iter().flatten().collect();
        return PodPhase::Ended(PodEnd::Unreported {
            class: FailureClass::Killed,
            message: format!("the fetcher's pod ended without a report: {}", what.join(": ")),
        });
    }
    if state.is_some_and(|state| state.running.is_some()) {
        return PodPhase::Running;
    }
    PodPhase::Starting(waiting_reason::classify(pod))
}

fn end(terminated: &ContainerStateTerminated) -> PodEnd {
    let message = terminated.message.as_deref().unwrap_or_default();
    let ended_well = terminated.exit_code == 0;
    match Report::from_termination_message(message) {
        Some(report) if ended_well != matches!(report, Report::Failed(_)) => PodEnd::Reported(Box::new(report)),
        Some(_) | None => unreported(terminated, message),
    }
}

fn unreported(terminated: &ContainerStateTerminated, message: &str) -> PodEnd {
    let code = terminated.exit_code;
    if terminated.reason.as_deref() == Some("OOMKilled") {
        return PodEnd::Unreported {
            class: FailureClass::OutOfMemory,
            message: "the fetcher was killed at its memory limit: raise fetch.resources.limits.memory".to_owned(),
        };
    }
    let class = match terminated.reason.as_deref() {
        Some("StartError" | "ContainerCannotRun") => FailureClass::Internal,
        _ => FailureClass::ALL
            .into_iter()
            .find(|class| i32::from(class.exit_code()) == code && *class != FailureClass::OutOfMemory)
            .unwrap_or(FailureClass::Killed),
    };
    let tail = last_line(message);
    let tail = if tail.is_empty() {
        String::new()
    } else {
        format!(": {tail}")
    };
    PodEnd::Unreported {
        class,
        message: format!("the fetcher exited with code {code} without a report{tail}"),
    }
}

/// The last line of a message.
///
/// In place of a missing report the kubelet puts the end of the log.
fn last_line(message: &str) -> &str {
    let line = message
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or_default();
    let mut end = line.len().min(LOG_TAIL_MAX_BYTES);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    line[..end].trim()
}

#[cfg(test)]
mod tests;
