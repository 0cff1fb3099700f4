//! Step two: checks that a node allowed by placement has the resources that a consumer needs.
//!
//! The result is frozen once a fetch has begun: a consumer then uses the memory that was free, and the check must not
//! take Ready away from the model that it serves. Later requirements count for the next fetched revision.

use std::ops::ControlFlow;

use modelcache_crds::conditions::{ConditionType, Decided, Reason, Status};
use modelcache_crds::model_cache::Resolved;

use super::{Decision, Input};
use crate::reconcile::facts::Step;

/// Breaks when no node fits.
pub(super) fn decide(input: &Input<'_>, resolved: &Resolved, inputs: &str, decision: &mut Decision) -> ControlFlow<()> {
    let Some(needs) = &input.cache.needs else {
        return found(decision, Reason::NotRequired, "spec.requirements is not set".to_owned());
    };
    if has_begun(input, resolved, inputs)
        && let Some(message) = found_before(input)
    {
        decision.status.capacity.clone_from(&input.status.capacity);
        return found(decision, Reason::CapacityFound, message);
    }
    let assessment = input.observed.capacity.assess(needs, &input.cache.placement);
    decision.status.capacity = Some(assessment.status());
    if assessment.fits() {
        return found(decision, Reason::CapacityFound, assessment.message);
    }
    // No earlier result: requirements were added later, or a crash lost the status.
    if has_begun(input, resolved, inputs) {
        let message = "not checked again after the revision's fetch has begun".to_owned();
        return found(decision, Reason::CapacityFound, message);
    }
    let reason = assessment.verdict.reason();
    decision
        .conditions
        .push(condition(Status::False, reason, assessment.message));
    ControlFlow::Break(())
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

fn found(decision: &mut Decision, reason: Reason, message: String) -> ControlFlow<()> {
    decision.conditions.push(condition(Status::True, reason, message));
    ControlFlow::Continue(())
}

fn condition(status: Status, reason: Reason, message: String) -> Decided {
    Decided {
        kind: ConditionType::CapacityAvailable,
        status,
        reason,
        message,
    }
}
