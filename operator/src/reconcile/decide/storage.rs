//! Step three: a claim that is large enough, created or existing.

use std::ops::ControlFlow;

use modelcache_crds::conditions::{ConditionType, Decided, Reason, Status};
use modelcache_crds::model_cache::{ReclaimPolicy, Resolved};
use modelcache_crds::{names, quantity};

use super::{Action, Decision, Input, UNWATCHED_POLL_INTERVAL};
use crate::reconcile::facts::{BindingMode, ClaimFacts, ClaimPhase, ClassFacts};
use crate::reconcile::validate::{ClaimPlan, OwnClaim};

/// Least headroom of a claim, for the file system's own blocks and the manifests.
const CLAIM_HEADROOM_MIN_BYTES: i64 = 64 << 20;

/// Headroom of a large claim: a tenth of the files' size.
const CLAIM_HEADROOM_DIVISOR: i64 = 10;

const MEBIBYTE_BYTES: i64 = 1 << 20;

/// Breaks while a fetcher must not mount the claim.
pub(super) fn decide(input: &Input<'_>, resolved: &Resolved, decision: &mut Decision) -> ControlFlow<()> {
    let claim = input.observed.claim.as_ref();
    let verdict = verdict(input, claim, resolved);
    // An existing claim is not watched.
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

/// Whether the claim is the one in status; another claim of that name has other content.
fn holds_what_was_published(input: &Input<'_>, claim: Option<&ClaimFacts>) -> bool {
    claim.is_some_and(|claim| {
        input.status.claim_uid.as_deref() == Some(claim.uid.as_str())
            && input.status.claim_name.as_deref() == Some(input.cache.claim.name())
    })
}

/// Stops at another ModelCache in the same folder: both would be Ready, with the model of the last one.
fn claim_conflict(input: &Input<'_>, other: &str) -> ClaimVerdict {
    ClaimVerdict::stop(
        Status::False,
        Reason::StorageBusy,
        format!(
            "ModelCache {other} uses the same folder of claim {}: recreate this one with its own claim, or with another \
             storage.existingClaim.subPath",
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
    /// Whether status names the claim for pods to mount.
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
                "claim {} exists and does not belong to this ModelCache: recreate the ModelCache under another name, or with \
                 the claim in storage.existingClaim",
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
                "claim {} requests {} and cannot grow without a volume, the files need {}: delete the claim, then the \
                 operator creates a larger one",
                own.name,
                quantity::human_bytes(claim.requested),
                resolved.size
            ),
        );
    }
    // The API server expands only a bound claim.
    let grows = claim.requested < desired && claim.phase == ClaimPhase::Bound;
    if !grows || claim.is_deleting {
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

/// Updates the labels and the owner of the operator's claim.
///
/// It runs even while another step holds the model back: a reclaimPolicy changed to Retain must apply before somebody
/// deletes the ModelCache. Separate from growth, which a class can refuse.
pub(super) fn keep_metadata(input: &Input<'_>) -> Option<Action> {
    let ClaimPlan::Own(own) = &input.cache.claim else {
        return None;
    };
    let claim = input.observed.claim.as_ref()?;
    (is_ours(input, claim) && !claim.is_deleting && needs_metadata(input, own, claim))
        .then(|| apply(claim, claim.requested, false))
}

fn is_ours(input: &Input<'_>, claim: &ClaimFacts) -> bool {
    claim.made_for.as_deref() == Some(names::label_value(&input.cache.name).as_str())
}

/// Whether labels or owner differ from the spec; a retained claim is adopted by the next ModelCache of that name.
fn needs_metadata(input: &Input<'_>, own: &OwnClaim, claim: &ClaimFacts) -> bool {
    let is_owned = claim.owners.contains(&input.cache.uid);
    let should_be_owned = own.reclaim == ReclaimPolicy::Delete;
    claim.cache_uid.as_deref() != Some(input.cache.uid.as_str()) || is_owned != should_be_owned
}

/// Decides on a claim that exists, whoever created it.
fn decide_present(input: &Input<'_>, name: &str, claim: &ClaimFacts, resolved: &Resolved) -> ClaimVerdict {
    if claim.is_deleting {
        return ClaimVerdict::stop(
            Status::False,
            Reason::ClaimPending,
            format!("claim {name} is being deleted: it goes once no pod uses it, stop the pods that do"),
        );
    }
    match claim.phase {
        ClaimPhase::Lost => ClaimVerdict::stop(
            Status::False,
            Reason::ClaimLost,
            format!("claim {name} lost its volume: delete the claim, then it is created again"),
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
            format!("claim {name} has an empty class: create a volume for it"),
        ),
        Class::Missing(message) => ClaimVerdict::stop(Status::False, Reason::StorageClassNotFound, message),
        Class::Found(class) => match class.binding {
            BindingMode::WaitForFirstConsumer => ClaimVerdict::go(
                Status::Unknown,
                Reason::WaitingForFirstConsumer,
                format!(
                    "class {} provisions the volume of claim {name} when the fetcher's pod is scheduled",
                    class.name
                ),
            ),
            BindingMode::Immediate => ClaimVerdict::go(
                Status::Unknown,
                Reason::ClaimPending,
                format!(
                    "waiting for class {} to provision the volume of claim {name}",
                    class.name
                ),
            ),
        },
    }
}

enum Class<'a> {
    /// The claim has the empty class: somebody creates its volume.
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
            "StorageClass {name} does not exist: create it, or recreate the ModelCache with an existing class"
        )),
        (None, None) => Class::Missing(
            "the cluster has no default StorageClass: mark a class as default, or recreate the ModelCache with \
             storage.storageClassName"
                .to_owned(),
        ),
    }
}

/// Bytes that the claim has room for, now or once bound.
fn room(claim: &ClaimFacts) -> i64 {
    claim.capacity.unwrap_or(claim.requested)
}

/// Continues while the claim expands, because the fetcher's mount may complete the expansion.
fn expanding(name: &str, bytes: i64) -> ClaimVerdict {
    ClaimVerdict::go(
        Status::Unknown,
        Reason::ClaimPending,
        format!("expanding claim {name} to {}", quantity::short_bytes(bytes)),
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

/// Size of a claim without `storage.size`: files, unpacking and headroom, in whole mebibytes.
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
    fn a_derived_size_has_room_for_archives_and_their_content() {
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
