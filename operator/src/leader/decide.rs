//! What a process does with the Lease that it observes. Pure.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

/// A Lease, and when it was first observed in this state.
#[derive(Clone, Debug)]
pub(super) struct ObservedLease {
    pub(super) spec: LeaseSpec,
    pub(super) at: Instant,
}

/// The decision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Become the holder.
    Acquire,
    /// Renew: this process holds it.
    Renew,
    /// Wait this long: another process holds it.
    Wait(Duration),
    /// Step down: the process of this identity holds it now.
    Lost(String),
}

pub(super) fn decide(observed: Option<&ObservedLease>, identity: &str, leads: bool, now: Instant) -> Step {
    let Some(observed) = observed else { return Step::Acquire };
    let holder = observed.spec.holder_identity.as_deref().unwrap_or_default();
    if holder == identity {
        return Step::Renew;
    }
    if holder.is_empty() {
        return Step::Acquire;
    }
    if leads {
        return Step::Lost(holder.to_owned());
    }
    let seconds = observed.spec.lease_duration_seconds.unwrap_or_default();
    let duration = Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    let unchanged = now.saturating_duration_since(observed.at);
    match duration.checked_sub(unchanged) {
        None | Some(Duration::ZERO) => Step::Acquire,
        Some(rest) => Step::Wait(rest),
    }
}

/// The Lease to write when acquiring or renewing.
pub(super) fn next_spec(
    current: Option<&LeaseSpec>,
    identity: &str,
    step: &Step,
    now: Timestamp,
    duration: Duration,
) -> LeaseSpec {
    let transitions = current.and_then(|spec| spec.lease_transitions);
    let acquired = current.and_then(|spec| spec.acquire_time.clone());
    let is_new = *step == Step::Acquire;
    LeaseSpec {
        holder_identity: Some(identity.to_owned()),
        lease_duration_seconds: i32::try_from(duration.as_secs()).ok(),
        renew_time: Some(MicroTime(now)),
        acquire_time: if is_new { Some(MicroTime(now)) } else { acquired },
        lease_transitions: match (current, is_new) {
            (None, _) => Some(0),
            (Some(_), true) => Some(transitions.unwrap_or(0).saturating_add(1)),
            (Some(_), false) => transitions,
        },
        ..LeaseSpec::default()
    }
}
