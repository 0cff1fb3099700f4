//! Step three: a claim, large enough, of ours or as given.

use std::ops::ControlFlow;

use modelcache_crds::conditions::{ConditionType, Decided, Reason, Status};
use modelcache_crds::model_cache::{ReclaimPolicy, Resolved};
use modelcache_crds::{names, quantity};

use super::{Action, Decision, Input, UNWATCHED_POLL_INTERVAL};
use crate::reconcile::facts::{BindingMode, ClaimFacts, ClaimPhase, ClassFacts};
use crate::reconcile::validate::{ClaimPlan, OwnClaim};

/// File systems keep some of a volume for themselves, and manifests need a little too.
const CLAIM_HEADROOM_MIN_BYTES: i64 = 64 << 20;

/// Of a large volume, file systems keep up to a tenth.
const CLAIM_HEADROOM_DIVISOR: i64 = 10;

const MEBIBYTE_BYTES: i64 = 1 << 20;

/// Breaks while no fetcher may mount the claim.
pub(super) fn decide(input: &Input<'_>, resolved: &Resolved, decision: &mut Decision) -> ControlFlow<()> {
    let claim = input.observed.claim.as_ref();
    let verdict = verdict(input, claim, resolved);
    // Claims of others are not watched.
    let is_settled = verdict.status == Status::True && (!is_existing(input) || is_published(input));
    if !is_settled {
        decision.requeue = decision.requeue.min(UNWATCHED_POLL_INTERVAL);
    }
    if !holds_what_was_published(input, claim) {
        decision.status.published_digest = None;
        decision.status.hub_cache = None;
    }
    decision.status.claim_name = verdict.is_usable.then(|| input.cache.claim.name().to_owned());
    decision.status.claim_uid = claim.filter(|_| verdict.is_usable).map(|claim| claim.uid.clone());
    decision.actions.extend(verdict.actions);
    decision.conditions.push(Decided {
        kind: ConditionType::StorageReady,
        status: verdict.status,
        reason: verdict.reason,
        message: verdict.message,
    });
    if verdict.go {
        ControlFlow::Continue(())
    } else {
        ControlFlow::Break(())
    }
}

fn verdict(input: &Input<'_>, claim: Option<&ClaimFacts>, resolved: &Resolved) -> ClaimVerdict {
    if let Some(other) = &input.observed.conflicting_cache {
        return claim_conflict(input, other);
    }
    match (&input.cache.claim, claim) {
        (ClaimPlan::Own(own), claim) => decide_own(input, own, claim, resolved),
        (ClaimPlan::Existing { name, .. }, Some(claim)) => decide_present(input, name, claim, resolved),
        (ClaimPlan::Existing { name, .. }, None) => ClaimVerdict::stop(
            Status::False,
            Reason::ClaimNotFound,
            format!(
                "claim {name} of storage.existingClaim does not exist in namespace {}: create it",
                input.cache.namespace
            ),
        ),
    }
}

/// Whether the claim is the one that status names: another one under that name holds nothing of it.
fn holds_what_was_published(input: &Input<'_>, claim: Option<&ClaimFacts>) -> bool {
    claim.is_some_and(|claim| {
        input.status.claim_uid.as_deref() == Some(claim.uid.as_str())
            && input.status.claim_name.as_deref() == Some(input.cache.claim.name())
    })
}

/// Both would be told Ready, and the pods of the first would find the model of the second.
fn claim_conflict(input: &Input<'_>, other: &str) -> ClaimVerdict {
    ClaimVerdict::stop(
        Status::False,
        Reason::StorageBusy,
        format!(
            "ModelCache {other} works in the same folder of claim {}: make this one anew with a claim of its own, or \
             with another storage.existingClaim.subPath",
            input.cache.claim.name()
        ),
    )
}

fn is_existing(input: &Input<'_>) -> bool {
    matches!(input.cache.claim, ClaimPlan::Existing { .. })
}

fn is_published(input: &Input<'_>) -> bool {
    input.status.published_digest.is_some()
}

struct ClaimVerdict {
    status: Status,
    reason: Reason,
    message: String,
    actions: Vec<Action>,
    /// Whether the claim is the one that a pod will mount.
    is_usable: bool,
    go: bool,
}

impl ClaimVerdict {
    fn go(status: Status, reason: Reason, message: String) -> Self {
        Self {
            status,
            reason,
            message,
            actions: Vec::new(),
            is_usable: true,
            go: true,
        }
    }

    fn stop(status: Status, reason: Reason, message: String) -> Self {
        Self {
            go: false,
            is_usable: false,
            ..Self::go(status, reason, message)
        }
    }

    fn with(mut self, action: Option<Action>) -> Self {
        self.actions.extend(action);
        self
    }
}

fn decide_own(input: &Input<'_>, own: &OwnClaim, claim: Option<&ClaimFacts>, resolved: &Resolved) -> ClaimVerdict {
    let desired = own.size.unwrap_or_else(|| derived_size(resolved));
    let Some(claim) = claim else {
        if desired < resolved.bytes {
            return too_small("storage.size", desired, resolved);
        }
        let create = Action::ApplyClaim {
            bytes: desired,
            current: None,
            required: true,
        };
        return pending(input, &own.name, own.storage_class.as_deref()).with(Some(create));
    };
    if !is_ours(input, claim) {
        return ClaimVerdict::stop(
            Status::False,
            Reason::ClaimNotOwned,
            format!(
                "claim {} is there and was not made for this ModelCache: rename the ModelCache, or name the claim \
                 in storage.existingClaim of another one",
                own.name
            ),
        );
    }
    if desired.max(room(claim)).max(claim.requested) < resolved.bytes {
        return too_small("storage.size", desired, resolved);
    }
    if claim.phase == ClaimPhase::Pending && claim.requested < resolved.bytes {
        return ClaimVerdict::stop(
            Status::False,
            Reason::ClaimTooSmall,
            format!(
                "claim {} of {} has no volume yet and cannot grow before it has one, the files need {}: delete the \
                 claim, it is made anew",
                own.name,
                quantity::human_bytes(claim.requested),
                resolved.size
            ),
        );
    }
    // The API server lets only a bound claim grow.
    let grows = claim.requested < desired && claim.phase == ClaimPhase::Bound;
    if !grows || claim.deleting {
        return decide_present(input, &own.name, claim, resolved);
    }
    let required = room(claim) < resolved.bytes;
    let grow = Some(apply(claim, desired, required));
    if required {
        return expanding(&own.name, desired).with(grow);
    }
    decide_present(input, &own.name, claim, resolved).with(grow)
}

fn apply(claim: &ClaimFacts, bytes: i64, required: bool) -> Action {
    Action::ApplyClaim {
        bytes,
        current: Some(Box::new(claim.clone())),
        required,
    }
}

/// Brings the labels and the owner of our claim up to date, whatever else holds the model back: a reclaimPolicy that
/// was changed to Retain must be in force before somebody deletes the ModelCache. Apart from growth, which a class can
/// refuse.
pub(super) fn keep_metadata(input: &Input<'_>) -> Option<Action> {
    let ClaimPlan::Own(own) = &input.cache.claim else {
        return None;
    };
    let claim = input.observed.claim.as_ref()?;
    (is_ours(input, claim) && !claim.deleting && needs_metadata(input, own, claim))
        .then(|| apply(claim, claim.requested, false))
}

fn is_ours(input: &Input<'_>, claim: &ClaimFacts) -> bool {
    claim.made_for.as_deref() == Some(names::label_value(&input.cache.name).as_str())
}

/// A claim that outlived its ModelCache is taken over by the next one of that name, with all that is on it.
fn needs_metadata(input: &Input<'_>, own: &OwnClaim, claim: &ClaimFacts) -> bool {
    let is_owned = claim.owners.contains(&input.cache.uid);
    let should_be_owned = own.reclaim == ReclaimPolicy::Delete;
    claim.cache_uid.as_deref() != Some(input.cache.uid.as_str()) || is_owned != should_be_owned
}

/// A claim that is there, whoever made it.
fn decide_present(input: &Input<'_>, name: &str, claim: &ClaimFacts, resolved: &Resolved) -> ClaimVerdict {
    if claim.deleting {
        return ClaimVerdict::stop(
            Status::False,
            Reason::ClaimPending,
            format!("claim {name} is being deleted, as soon as no pod uses it"),
        );
    }
    match claim.phase {
        ClaimPhase::Lost => ClaimVerdict::stop(
            Status::False,
            Reason::ClaimLost,
            format!("claim {name} lost its volume: delete the claim so that it is made anew"),
        ),
        ClaimPhase::Pending | ClaimPhase::Bound if room(claim).max(claim.requested) < resolved.bytes => {
            too_small(&format!("claim {name}"), room(claim), resolved)
        }
        ClaimPhase::Pending => pending(input, name, claim.storage_class.as_deref()),
        ClaimPhase::Bound if room(claim) < resolved.bytes => expanding(name, claim.requested),
        ClaimPhase::Bound => ClaimVerdict::go(
            Status::True,
            Reason::ClaimBound,
            format!("claim {name} is bound, with {}", quantity::short_bytes(room(claim))),
        ),
    }
}

fn pending(input: &Input<'_>, name: &str, class: Option<&str>) -> ClaimVerdict {
    match find_class(&input.observed.classes, class) {
        Class::NotNeeded => ClaimVerdict::go(
            Status::Unknown,
            Reason::ClaimPending,
            format!("claim {name} waits for a volume that somebody provides"),
        ),
        Class::Missing(message) => ClaimVerdict::stop(Status::False, Reason::StorageClassNotFound, message),
        Class::Found(class) => match class.binding {
            BindingMode::WaitForFirstConsumer => ClaimVerdict::go(
                Status::Unknown,
                Reason::WaitingForFirstConsumer,
                format!(
                    "class {} makes the volume of claim {name} with the fetcher's pod",
                    class.name
                ),
            ),
            BindingMode::Immediate => ClaimVerdict::go(
                Status::Unknown,
                Reason::ClaimPending,
                format!("claim {name} waits for class {} to make its volume", class.name),
            ),
        },
    }
}

enum Class<'a> {
    /// The claim names the empty class: its volume is made by hand.
    NotNeeded,
    Missing(String),
    Found(&'a ClassFacts),
}

fn find_class<'a>(classes: &'a [ClassFacts], name: Option<&str>) -> Class<'a> {
    let found = match name {
        Some("") => return Class::NotNeeded,
        Some(name) => classes.iter().find(|class| class.name == name),
        None => classes.iter().find(|class| class.is_default),
    };
    match (found, name) {
        (Some(class), _) => Class::Found(class),
        (None, Some(name)) => Class::Missing(format!(
            "StorageClass {name} does not exist: create it, or make another ModelCache that names an existing class"
        )),
        (None, None) => Class::Missing(
            "the cluster has no default StorageClass: mark a class as default, or make another ModelCache with \
             storage.storageClassName"
                .to_owned(),
        ),
    }
}

/// Bytes that can be written to a claim, or will be.
fn room(claim: &ClaimFacts) -> i64 {
    claim.capacity.unwrap_or(claim.requested)
}

/// The mount may be what completes it, so that the fetcher is started meanwhile.
fn expanding(name: &str, bytes: i64) -> ClaimVerdict {
    ClaimVerdict::go(
        Status::Unknown,
        Reason::ClaimPending,
        format!("claim {name} is being expanded to {}", quantity::short_bytes(bytes)),
    )
}

fn too_small(what: &str, has: i64, resolved: &Resolved) -> ClaimVerdict {
    ClaimVerdict::stop(
        Status::False,
        Reason::ClaimTooSmall,
        format!(
            "{what} is {}, the files need {}: raise storage.size, expand the existing claim, or exclude files",
            quantity::human_bytes(has),
            resolved.size
        ),
    )
}

/// The files, what unpacking them takes and some headroom, in whole mebibytes.
fn derived_size(resolved: &Resolved) -> i64 {
    let bytes = resolved.bytes.saturating_add(resolved.unpacking_bytes.unwrap_or(0));
    let with_headroom = bytes.saturating_add((bytes / CLAIM_HEADROOM_DIVISOR).max(CLAIM_HEADROOM_MIN_BYTES));
    with_headroom.saturating_add(MEBIBYTE_BYTES - 1) / MEBIBYTE_BYTES * MEBIBYTE_BYTES
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    use super::*;

    #[test]
    fn a_claim_has_room_for_what_is_packed_and_for_what_is_in_it() {
        let resolved = |unpacking_bytes| Resolved {
            revision: String::new(),
            digest: String::new(),
            files: 1,
            bytes: 100 << 30,
            size: String::new(),
            unpacking_bytes,
            resolved_time: Time(jiff::Timestamp::UNIX_EPOCH),
            source_hash: String::new(),
        };
        assert_eq!(derived_size(&resolved(None)), 110 << 30);
        assert_eq!(derived_size(&resolved(Some(100 << 30))), 220 << 30);
    }
}
