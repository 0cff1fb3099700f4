//! Kubernetes events for what a person acts on, published on transitions only.
//!
//! A pure function of the status before and after decides the events; the recorder publishes them.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Client;
use kube::runtime::events::{Event, EventType, Reporter};
use modelcache_crds::ModelCacheStatus;
use modelcache_crds::conditions::{ConditionType, Reason, Status};
use modelcache_crds::names;
use modelcache_crds::report::{OriginFault, OriginReport};
use tracing::warn;

use crate::reconcile::facts::Step;
use crate::reconcile::failure_reason::failure_reason;

/// Longest note that the API server accepts.
const EVENT_NOTE_MAX_BYTES: usize = 1024;

/// An event to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventDraft {
    /// `Warning` for a fault, else `Normal`.
    pub type_: EventType,
    /// A condition's reason, or the step that started.
    pub reason: &'static str,
    /// The action under way.
    pub action: &'static str,
    /// The message for people.
    pub note: String,
}

/// The events of a change from one status to the next.
///
/// A fault is one event, when it becomes the reason of `Ready`; failed retries of its step repeat no event.
#[must_use]
pub fn for_transitions(before: &ModelCacheStatus, after: &ModelCacheStatus) -> Vec<EventDraft> {
    [
        resolved(before, after),
        fetch_started(before, after),
        ready_or_fault(before, after),
    ]
    .into_iter()
    .flatten()
    .chain(corrupt_origins(before, after))
    .collect()
}

fn resolved(before: &ModelCacheStatus, after: &ModelCacheStatus) -> Option<EventDraft> {
    let digest = |status: &ModelCacheStatus| status.resolved.as_ref().map(|resolved| resolved.digest.clone());
    let condition = find(after, ConditionType::SourceResolved)?;
    let is_new = condition.status == Status::True.as_str()
        && (digest(before) != digest(after)
            || find(before, ConditionType::SourceResolved).is_none_or(|old| old.status != Status::True.as_str()));
    is_new.then(|| EventDraft {
        type_: EventType::Normal,
        reason: "Resolved",
        action: "Resolve",
        note: note(&condition.message),
    })
}

fn fetch_started(before: &ModelCacheStatus, after: &ModelCacheStatus) -> Option<EventDraft> {
    let is_fetching = |status| has_reason(status, ConditionType::Fetched, Reason::Fetching);
    let is_retry = after.attempts.as_ref().is_some_and(|attempts| attempts.count > 0);
    let condition = find(after, ConditionType::Fetched)?;
    (is_fetching(after) && !is_fetching(before) && !is_retry).then(|| EventDraft {
        type_: EventType::Normal,
        reason: "FetchStarted",
        action: "Fetch",
        note: note(&condition.message),
    })
}

/// Origins dropped for wrong bytes: the fetch went on without them, but somebody has to repair them.
fn corrupt_origins(before: &ModelCacheStatus, after: &ModelCacheStatus) -> Vec<EventDraft> {
    let is_corrupt = |origin: &&OriginReport| origin.dropped == Some(OriginFault::SentWrongBytes);
    let is_known = |name: &str| {
        before
            .sources
            .iter()
            .filter(is_corrupt)
            .any(|origin| origin.name == name)
    };
    after
        .sources
        .iter()
        .filter(is_corrupt)
        .filter(|origin| !is_known(&origin.name))
        .map(|origin| EventDraft {
            type_: EventType::Warning,
            reason: "OriginDropped",
            action: "Fetch",
            note: note(&format!(
                "origin {} was dropped: it {}; repair it, or name another mirror",
                origin.name,
                origin.last_error.as_deref().unwrap_or("sent wrong bytes"),
            )),
        })
        .collect()
}

fn ready_or_fault(before: &ModelCacheStatus, after: &ModelCacheStatus) -> Option<EventDraft> {
    let new = find(after, ConditionType::Ready)?;
    let old = find(before, ConditionType::Ready);
    if old.is_some_and(|old| old.reason == new.reason && old.status == new.status) {
        return None;
    }
    let reason = *Reason::ALL.iter().find(|reason| reason.as_str() == new.reason)?;
    if reason == Reason::Ready {
        return Some(EventDraft {
            type_: EventType::Normal,
            reason: reason.as_str(),
            action: "Publish",
            note: note(&new.message),
        });
    }
    if !is_fault(reason) || is_repeated_failure(before, after, reason) {
        return None;
    }
    Some(EventDraft {
        type_: EventType::Warning,
        reason: reason.as_str(),
        action: action_of(reason),
        note: note(&new.message),
    })
}

/// Whether the attempt before failed for the same reason.
///
/// Between two failed attempts the condition shows the running step; the last failure stands in `attempts`.
fn is_repeated_failure(before: &ModelCacheStatus, after: &ModelCacheStatus, reason: Reason) -> bool {
    let attempts_before = before.attempts.as_ref();
    let was_same = attempts_before
        .and_then(|attempts| attempts.last_failure.as_ref())
        .is_some_and(|failure| failure_reason(current_step(after), failure.class) == reason);
    let is_repeat = after
        .attempts
        .as_ref()
        .is_some_and(|now| attempts_before.is_some_and(|then| then.count > 0 && now.count > then.count));
    was_same && is_repeat
}

/// The step whose attempts the status counts.
fn current_step(status: &ModelCacheStatus) -> Step {
    let is_resolved =
        find(status, ConditionType::SourceResolved).is_some_and(|condition| condition.status == Status::True.as_str());
    if is_resolved { Step::Fetch } else { Step::Plan }
}

fn action_of(reason: Reason) -> &'static str {
    match reason.conditions().first() {
        Some(ConditionType::SourceResolved) => "Resolve",
        Some(ConditionType::CapacityAvailable) => "CheckCapacity",
        Some(ConditionType::StorageReady) => "PrepareStorage",
        Some(ConditionType::Verified) => "Verify",
        Some(ConditionType::Fetched | ConditionType::Ready | ConditionType::Stalled) | None => "Fetch",
    }
}

/// Whether a person may have to act; waiting and progress are not faults.
const fn is_fault(reason: Reason) -> bool {
    match reason {
        Reason::Ready
        | Reason::Pending
        | Reason::Resolving
        | Reason::Resolved
        | Reason::NotRequired
        | Reason::CapacityFound
        | Reason::ClaimBound
        | Reason::WaitingForFirstConsumer
        | Reason::ClaimPending
        | Reason::Fetching
        | Reason::Fetched
        | Reason::FetcherStarting
        | Reason::Interrupted
        | Reason::DigestsMatch
        | Reason::NotYetVerified
        | Reason::Progressing => false,
        Reason::RepositoryNotFound
        | Reason::RevisionNotFound
        | Reason::FileNotFound
        | Reason::AuthenticationFailed
        | Reason::AccessDenied
        | Reason::SecretNotFound
        | Reason::SecretKeyNotFound
        | Reason::NoFilesMatch
        | Reason::InvalidListing
        | Reason::SourceChanged
        | Reason::SourceUnreachable
        | Reason::RateLimited
        | Reason::SourceError
        | Reason::InsufficientMemory
        | Reason::InsufficientGpu
        | Reason::InsufficientResources
        | Reason::NoNodesMatch
        | Reason::StorageClassNotFound
        | Reason::ClaimNotFound
        | Reason::ClaimTooSmall
        | Reason::ClaimLost
        | Reason::ClaimNotOwned
        | Reason::DiskFull
        | Reason::StorageReadOnly
        | Reason::StorageError
        | Reason::StorageBusy
        | Reason::Killed
        | Reason::OutOfMemory
        | Reason::FetcherFailed
        | Reason::InvalidSpec
        | Reason::ImagePullFailed
        | Reason::Unschedulable
        | Reason::PodRejected
        | Reason::DigestMismatch
        | Reason::InvalidFormat => true,
    }
}

fn find(status: &ModelCacheStatus, kind: ConditionType) -> Option<&Condition> {
    status
        .conditions
        .iter()
        .find(|condition| condition.type_ == kind.as_str())
}

fn has_reason(status: &ModelCacheStatus, kind: ConditionType, reason: Reason) -> bool {
    find(status, kind).is_some_and(|condition| condition.reason == reason.as_str())
}

fn note(message: &str) -> String {
    if message.len() <= EVENT_NOTE_MAX_BYTES {
        return message.to_owned();
    }
    let mut end = EVENT_NOTE_MAX_BYTES - '…'.len_utf8();
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &message[..end])
}

/// Publishes events through events.k8s.io; one for the process, so that repeats become a series.
#[derive(Clone)]
pub struct Recorder {
    recorder: kube::runtime::events::Recorder,
}

impl Recorder {
    /// A recorder that reports as the operator, from this instance.
    #[must_use]
    pub fn new(client: Client, instance: &str) -> Self {
        let reporter = Reporter {
            controller: names::EVENT_REPORTER.to_owned(),
            instance: Some(instance.to_owned()),
        };
        Self {
            recorder: kube::runtime::events::Recorder::new(client, reporter),
        }
    }

    /// Publishes the drafts; a failure is only logged, because the status holds the same facts.
    pub async fn publish(&self, drafts: &[EventDraft], regarding: &ObjectReference) {
        for draft in drafts {
            let event = Event {
                type_: draft.type_,
                reason: draft.reason.to_owned(),
                note: Some(draft.note.clone()),
                action: draft.action.to_owned(),
                secondary: None,
            };
            if let Err(error) = self.recorder.publish(&event, regarding).await {
                warn!(
                    error = &error as &dyn std::error::Error,
                    reason = draft.reason,
                    "failed to publish event"
                );
            }
        }
    }
}

#[cfg(test)]
mod tests;
