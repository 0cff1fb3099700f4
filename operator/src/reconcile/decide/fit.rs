//! Step two: does any node that placement allows have what a consumer needs?
//!
//! Asked until a fetch has begun, then frozen as found: the consumer that comes later uses the very memory that
//! was free, and the answer must not take Ready away from the model it serves. Requirements that are changed
//! later count for the next revision that is fetched.

use modelcache_crds::conditions::{ConditionType, Decided, Reason, Status};
use modelcache_crds::model_cache::{CapacityStatus, Resolved};

use super::Input;
use crate::cluster_view::Own;
use crate::reconcile::facts::Step;
use crate::reconcile::validate::ClaimPlan;

pub(super) struct Fit {
    pub(super) condition: Decided,
    pub(super) capacity: Option<CapacityStatus>,
    pub(super) go: bool,
}

pub(super) fn decide(input: &Input<'_>, resolved: &Resolved, inputs: &str) -> Fit {
    let Some(needs) = &input.cache.needs else {
        return found(Reason::NotRequired, "spec.requirements is not given".to_owned(), None);
    };
    if has_begun(input, resolved, inputs)
        && let Some(message) = found_before(input)
    {
        return found(Reason::CapacityFound, message, input.status.capacity.clone());
    }
    // A claim that is given can serve other models too: their consumers stand in the way as any pod does.
    let claim = match &input.cache.claim {
        ClaimPlan::Own(own) => Some(format!("{}/{}", input.cache.namespace, own.name)),
        ClaimPlan::Existing { .. } => None,
    };
    let own = Own {
        cache_uid: &input.cache.uid,
        claim: claim.as_deref(),
    };
    let assessment = input.observed.nodes.assess(needs, &input.cache.placement, own);
    let capacity = Some(assessment.status());
    if assessment.fits() {
        return found(Reason::CapacityFound, assessment.message, capacity);
    }
    // Nothing was found before: requirements were added later, or the status of then was lost in a crash.
    if has_begun(input, resolved, inputs) {
        let message = "not asked again for a revision whose fetch has begun".to_owned();
        return found(Reason::CapacityFound, message, capacity);
    }
    Fit {
        condition: condition(Status::False, assessment.verdict.reason(), assessment.message),
        capacity,
        go: false,
    }
}

fn has_begun(input: &Input<'_>, resolved: &Resolved, inputs: &str) -> bool {
    let has_job = input
        .observed
        .jobs
        .iter()
        .any(|job| job.step == Step::Fetch && job.inputs == inputs);
    let has_failed = input
        .status
        .attempts
        .as_ref()
        .is_some_and(|attempts| attempts.inputs.as_deref() == Some(inputs));
    input.is_published(resolved) || has_job || has_failed
}

fn found_before(input: &Input<'_>) -> Option<String> {
    input
        .status
        .conditions
        .iter()
        .find(|condition| {
            condition.type_ == ConditionType::CapacityAvailable.as_str()
                && condition.reason == Reason::CapacityFound.as_str()
        })
        .map(|condition| condition.message.clone())
}

fn found(reason: Reason, message: String, capacity: Option<CapacityStatus>) -> Fit {
    Fit {
        condition: condition(Status::True, reason, message),
        capacity,
        go: true,
    }
}

fn condition(status: Status, reason: Reason, message: String) -> Decided {
    Decided {
        kind: ConditionType::CapacityAvailable,
        status,
        reason,
        message,
    }
}
