//! Step four: every byte on the claim, proven and published, by a fetch Job.

use std::time::Duration;

use modelcache_crds::conditions::{ConditionType, Decided, Reason, Status};
use modelcache_crds::model_cache::{Progress, Resolved};
use modelcache_crds::quantity;
use modelcache_crds::report::{OriginReport, Published, Report};

use super::attempts::{self, StepState};
use super::unfinished_step::{self, Unfinished};
use super::{Action, Decision, Input, delete_jobs, progress};
use crate::reconcile::facts::{JobFacts, Step};

/// A fetch Job waits this long until status no longer claims to know what is published.
const STATUS_WRITE_REQUEUE: Duration = Duration::from_secs(1);

pub(super) fn decide(input: &Input<'_>, resolved: &Resolved, inputs: &str, decision: &mut Decision) {
    if decision.status.published_digest.is_some() && input.is_published(resolved) {
        // Status holds the result: the Jobs that brought it have done their duty.
        decision
            .actions
            .extend(delete_jobs(input, |job| job.step == Step::Fetch));
        return published(input, resolved, decision);
    }

    let is_current = |job: &JobFacts| job.inputs == inputs && !is_of_former_claim(input, job);
    let others = delete_jobs(input, |job| job.step == Step::Fetch && !is_current(job));
    decision.actions.extend(others);

    let state = match attempts::state(input, Step::Fetch, inputs) {
        StepState::Running { job, .. } | StepState::Done { job, .. } if !is_current(job) => {
            return wait_for_former(decision);
        }
        state => state,
    };
    if let Some(sources) = sources(input, &state, inputs) {
        decision.status.sources = sources;
    }
    if let StepState::Done {
        report: Report::Published(report),
        ..
    } = state
        && report.digest == resolved.digest
    {
        decision.status.published_digest = Some(report.digest.clone());
        decision.status.path = Some(path(input, report));
        decision.status.hub_cache = input.cache.hub_cache(resolved);
        decision.tally.published_bytes = Some(report.bytes_fetched);
        return published(input, resolved, decision);
    }

    let starts = matches!(state, StepState::Start { .. });
    decision
        .actions
        .extend(unfinished_step::delete_superseded(input, Step::Fetch, inputs));
    decision.tally = unfinished_step::tally(input, &state);
    decision.status.progress = show_progress(input, &state, resolved);
    let unfinished = unfinished_step::describe(input, Step::Fetch, &state);
    if starts && is_written_to(input) {
        decision.status.attempts = unfinished.attempts;
        return wait_for_former(decision);
    }
    // From the moment a fetcher may replace what is published, status must not claim to know it: the fetcher may
    // succeed and be deleted unread, when the spec changes once more. So that is written before the Job is made.
    let is_known = input.status.published_digest.is_some();
    decision.status.published_digest = None;
    decision.status.hub_cache = None;
    if let Some(attempt) = unfinished.start {
        if is_known {
            decision.requeue = STATUS_WRITE_REQUEUE;
        } else {
            decision.actions.push(Action::CreateFetchJob {
                inputs: inputs.to_owned(),
                attempt,
                resolved: Box::new(resolved.clone()),
            });
        }
    }
    say(unfinished, decision);
}

/// What the origins of the latest fetch were good for, once it has ended; nothing is known of a fetch that starts anew.
/// Otherwise what was written last holds.
fn sources(input: &Input<'_>, state: &StepState<'_>, inputs: &str) -> Option<Vec<OriginReport>> {
    match state {
        StepState::Start { failed: None, .. } => Some(Vec::new()),
        _ => attempts::last_report(input, Step::Fetch, inputs).map(|report| report.origins().to_vec()),
    }
}

fn show_progress(input: &Input<'_>, state: &StepState<'_>, resolved: &Resolved) -> Option<Progress> {
    let last = input.status.progress.as_ref();
    match (state, &input.observed.progress) {
        (StepState::Running { .. }, Some(report)) => Some(progress::reported(report, resolved, input.now)),
        // It runs, and did not answer just now.
        (StepState::Running { .. }, None) => last.filter(|last| last.bytes_total == resolved.bytes).cloned(),
        _ => progress::resting(last, resolved),
    }
}

fn say(unfinished: Unfinished, decision: &mut Decision) {
    decision.requeue = decision.requeue.min(unfinished.requeue);
    decision.status.attempts = unfinished.attempts;
    // The bytes are all there, and are the wrong ones.
    if matches!(unfinished.reason, Reason::DigestMismatch | Reason::InvalidFormat) {
        decision.conditions.push(Decided {
            kind: ConditionType::Fetched,
            status: Status::True,
            reason: Reason::Fetched,
            message: "every byte arrived".to_owned(),
        });
        decision.conditions.push(Decided {
            kind: ConditionType::Verified,
            status: unfinished.status,
            reason: unfinished.reason,
            message: unfinished.message,
        });
        return;
    }
    decision.conditions.push(Decided {
        kind: ConditionType::Fetched,
        status: unfinished.status,
        reason: unfinished.reason,
        message: unfinished.message,
    });
    not_yet_verified(decision);
}

/// One writer at a time: whoever writes to the claim for another spec has to be gone first.
fn wait_for_former(decision: &mut Decision) {
    decision.requeue = decision.requeue.min(super::UNWATCHED_POLL_INTERVAL);
    decision.conditions.push(Decided {
        kind: ConditionType::Fetched,
        status: Status::Unknown,
        reason: Reason::FetcherStarting,
        message: "waits until the fetcher before this one has stopped".to_owned(),
    });
    not_yet_verified(decision);
}

fn not_yet_verified(decision: &mut Decision) {
    decision.conditions.push(Decided {
        kind: ConditionType::Verified,
        status: Status::Unknown,
        reason: Reason::NotYetVerified,
        message: "files are hashed as they arrive".to_owned(),
    });
}

/// Whether a fetcher may still write to the claim.
fn is_written_to(input: &Input<'_>) -> bool {
    let jobs = input.observed.jobs.iter();
    let pods = input.observed.pods.iter();
    jobs.filter(|job| job.step == Step::Fetch).any(|job| !job.is_over())
        || pods.filter(|pod| pod.step == Step::Fetch).any(|pod| !pod.is_over())
}

/// A Job older than the claim wrote to another claim of that name; the claim is always made before the Job.
fn is_of_former_claim(input: &Input<'_>, job: &JobFacts) -> bool {
    input
        .observed
        .claim
        .as_ref()
        .is_none_or(|claim| job.created < claim.created)
}

fn path(input: &Input<'_>, report: &Published) -> String {
    match input.cache.claim.sub_path() {
        None => report.path.clone(),
        Some(folder) => format!("{folder}/{}", report.path),
    }
}

fn published(input: &Input<'_>, resolved: &Resolved, decision: &mut Decision) {
    decision.status.progress = Some(progress::complete(resolved));
    decision.status.attempts = None;
    let size = quantity::human_bytes(resolved.bytes);
    let path = decision.status.path.as_deref().unwrap_or_default();
    decision.conditions.push(Decided {
        kind: ConditionType::Fetched,
        status: Status::True,
        reason: Reason::Fetched,
        message: format!("{size} on claim {} at {path}", input.cache.claim.name()),
    });
    decision.conditions.push(Decided {
        kind: ConditionType::Verified,
        status: Status::True,
        reason: Reason::DigestsMatch,
        message: format!(
            "files: {}, each with the digest that the source lists for revision {}",
            resolved.files, resolved.revision
        ),
    });
}
