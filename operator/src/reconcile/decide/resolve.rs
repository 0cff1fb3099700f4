//! Step one: a plan Job resolves the source to an immutable revision and lists it.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use modelcache_crds::conditions::{ConditionType, Decided, Reason, Status};
use modelcache_crds::model_cache::Resolved;
use modelcache_crds::quantity;
use modelcache_crds::report::{FailureClass, Planned, Report};

use super::attempts::{self, StepState};
use super::unfinished_step::{self, Unfinished};
use super::{Action, Decision, Input, delete_jobs};
use crate::reconcile::facts::Step;

/// Returns the resolved revision, once there is one.
pub(super) fn decide(input: &Input<'_>, decision: &mut Decision) -> Option<Resolved> {
    if let Some(resolved) = standing(input) {
        decision
            .actions
            .extend(delete_jobs(input, |job| job.step == Step::Plan));
        return Some(done(resolved, decision));
    }
    let inputs = input.cache.plan_inputs(input.image);
    let others = delete_jobs(input, |job| job.step == Step::Plan && job.inputs != inputs);
    decision.actions.extend(others);
    let state = attempts::state(input, Step::Plan, &inputs);
    if let StepState::Done { report, at, .. } = state
        && let Report::Planned(planned) = report
    {
        // The Job stays until status holds its result.
        return Some(done(resolved(input, planned, at), decision));
    }

    decision
        .actions
        .extend(unfinished_step::delete_superseded(input, Step::Plan, &inputs));
    decision.tally = unfinished_step::tally(input, &state);
    let Unfinished {
        status,
        reason,
        message,
        attempts,
        start,
        requeue,
    } = unfinished_step::describe(input, Step::Plan, &state);
    decision
        .actions
        .extend(start.map(|attempt| Action::CreatePlanJob { inputs, attempt }));
    decision.conditions.push(Decided {
        kind: ConditionType::SourceResolved,
        status,
        reason,
        message,
    });
    decision.requeue = requeue;
    decision.status.resolved = None;
    decision.status.attempts = attempts;
    None
}

/// The resolved revision in status, while it belongs to this source.
///
/// After `SourceChanged` a retry lists the source again: the retry annotation gives the fetch other inputs than the
/// recorded failure has.
fn standing(input: &Input<'_>) -> Option<Resolved> {
    let resolved = input.status.resolved.clone()?;
    if resolved.source_hash != input.cache.source_hash() {
        return None;
    }
    let attempts = input.status.attempts.as_ref();
    let has_changed = attempts
        .and_then(|attempts| attempts.last_failure.as_ref())
        .is_some_and(|failure| failure.class == FailureClass::SourceChanged);
    let same_inputs = attempts.and_then(|attempts| attempts.inputs.as_deref())
        == Some(input.cache.fetch_inputs(&resolved, input.image).as_str());
    (!has_changed || same_inputs).then_some(resolved)
}

fn resolved(input: &Input<'_>, planned: &Planned, at: Timestamp) -> Resolved {
    Resolved {
        revision: planned.revision.clone(),
        digest: planned.digest.clone(),
        files: planned.files,
        bytes: planned.bytes,
        size: quantity::human_bytes(planned.bytes),
        unpacking_bytes: planned.unpacking_bytes,
        // The Job's time, not now, so that deciding twice gives the same result.
        resolved_time: Time(at),
        source_hash: input.cache.source_hash(),
    }
}

fn done(resolved: Resolved, decision: &mut Decision) -> Resolved {
    let files = if resolved.files == 1 { "file" } else { "files" };
    decision.conditions.push(Decided {
        kind: ConditionType::SourceResolved,
        status: Status::True,
        reason: Reason::Resolved,
        message: format!(
            "revision {}: {} {files}, {}",
            resolved.revision, resolved.files, resolved.size
        ),
    });
    decision.status.resolved = Some(resolved.clone());
    resolved
}
