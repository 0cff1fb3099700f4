//! Step one: the source becomes an immutable revision and a listing, by a plan Job.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use modelcache_crds::conditions::{ConditionType, Decided, Reason, Status};
use modelcache_crds::model_cache::{Attempts, Resolved};
use modelcache_crds::quantity;
use modelcache_crds::report::{FailureClass, Planned, Report};

use super::attempts::{self, StepState};
use super::unfinished_step::{self, Unfinished};
use super::{Action, Input, RESYNC, Tally, delete_jobs};
use crate::reconcile::facts::Step;

pub(super) struct Resolve {
    pub(super) condition: Decided,
    pub(super) resolved: Option<Resolved>,
    pub(super) attempts: Option<Attempts>,
    pub(super) actions: Vec<Action>,
    pub(super) requeue: Duration,
    pub(super) tally: Tally,
}

pub(super) fn decide(input: &Input<'_>) -> Resolve {
    if let Some(resolved) = standing(input) {
        return done(resolved, delete_jobs(input, |job| job.step == Step::Plan));
    }
    let inputs = input.cache.plan_inputs(input.image);
    let others = delete_jobs(input, |job| job.step == Step::Plan && job.inputs != inputs);
    let state = attempts::state(input, Step::Plan, &inputs);
    if let StepState::Done { report, at, .. } = state
        && let Report::Planned(planned) = report
    {
        // The Job stays until status holds what it found.
        return done(resolved(input, planned, at), others);
    }

    let mut actions = others;
    actions.extend(unfinished_step::delete_superseded(input, Step::Plan, &inputs));
    let tally = unfinished_step::tally(input, &state);
    let Unfinished {
        status,
        reason,
        message,
        attempts,
        start,
        requeue,
    } = unfinished_step::describe(input, Step::Plan, &state);
    actions.extend(start.map(|attempt| Action::CreatePlanJob { inputs, attempt }));
    Resolve {
        condition: Decided {
            kind: ConditionType::SourceResolved,
            status,
            reason,
            message,
        },
        resolved: None,
        attempts,
        actions,
        requeue,
        tally,
    }
}

/// What status holds, as long as it was resolved from this source.
///
/// A source that listed other bytes than were planned is planned anew, once somebody asked to try again: the
/// failure then stands under other inputs than the fetch would have now.
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
        // The Job's time, not now: deciding twice gives the same.
        resolved_time: Time(at),
        source_hash: input.cache.source_hash(),
    }
}

fn done(resolved: Resolved, actions: Vec<Action>) -> Resolve {
    let files = if resolved.files == 1 { "file" } else { "files" };
    Resolve {
        condition: Decided {
            kind: ConditionType::SourceResolved,
            status: Status::True,
            reason: Reason::Resolved,
            message: format!(
                "revision {}: {} {files}, {}",
                resolved.revision, resolved.files, resolved.size
            ),
        },
        resolved: Some(resolved),
        attempts: None,
        actions,
        requeue: RESYNC,
        tally: Tally::default(),
    }
}
