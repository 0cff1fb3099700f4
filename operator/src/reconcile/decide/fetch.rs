//! Step four: a fetch Job fetches, verifies and publishes every file.

use std::time::Duration;

use modelcache_crds::conditions::{ConditionType, Decided, Reason, Status};
use modelcache_crds::model_cache::{Progress, Resolved};
use modelcache_crds::quantity;
use modelcache_crds::report::{OriginReport, Published, Report};

use super::attempts::{self, StepState};
use super::unfinished_step::{self, Unfinished};
use super::{Action, Decision, Input, delete_jobs, progress};
use crate::reconcile::facts::{JobFacts, Step};

/// Pause between clearing the published digest in status and creating the fetch Job.
const STATUS_WRITE_REQUEUE: Duration = Duration::from_secs(1);

pub(super) fn decide(input: &Input<'_>, resolved: &Resolved, inputs: &str, decision: &mut Decision) {
    if decision.status.published_digest.is_some() && input.is_published(resolved) {
        // Status holds the result, so the Jobs behind it can go.
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
            return wait_for_previous_fetcher(decision);
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
        return wait_for_previous_fetcher(decision);
    }
    // Once a fetcher can replace the published files, status must not name them: the fetcher may succeed and be deleted
    // unread when the spec changes again. So the digest is cleared in status before the Job is created.
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
    report_unfinished(unfinished, decision);
}

/// Origin statistics of the latest ended fetch; empty for the first attempt, `None` keeps those in status.
fn sources(input: &Input<'_>, state: &StepState<'_>, inputs: &str) -> Option<Vec<OriginReport>> {
    match state {
        StepState::Start { failed: None, .. } => Some(Vec::new()),
        StepState::Start { failed: Some(_), .. }
        | StepState::Running { .. }
        | StepState::AwaitingReport { .. }
        | StepState::Pausing { .. }
        | StepState::GivenUp { .. }
        | StepState::Done { .. } => {
            attempts::last_report(input, Step::Fetch, inputs).map(|report| report.origins().to_vec())
        }
    }
}

fn show_progress(input: &Input<'_>, state: &StepState<'_>, resolved: &Resolved) -> Option<Progress> {
    let last = input.status.progress.as_ref();
    match (state, &input.observed.progress) {
        (StepState::Running { .. }, Some(report)) => Some(progress::reported(report, resolved, input.now)),
        // It runs, and did not respond this time.
        (StepState::Running { .. }, None) => last.filter(|last| last.bytes_total == resolved.bytes).cloned(),
        (
            StepState::Start { .. }
            | StepState::AwaitingReport { .. }
            | StepState::Pausing { .. }
            | StepState::GivenUp { .. }
            | StepState::Done { .. },
            _,
        ) => progress::resting(last, resolved),
    }
}

fn report_unfinished(unfinished: Unfinished, decision: &mut Decision) {
    decision.requeue = decision.requeue.min(unfinished.requeue);
    decision.status.attempts = unfinished.attempts;
    // Every byte arrived, and they are wrong.
    if matches!(unfinished.reason, Reason::DigestMismatch | Reason::InvalidFormat) {
        decision.conditions.push(Decided {
            kind: ConditionType::Fetched,
            status: Status::True,
            reason: Reason::Fetched,
            message: "all bytes are on the claim".to_owned(),
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

/// Waits for the previous fetcher: one writer at a time.
fn wait_for_previous_fetcher(decision: &mut Decision) {
    decision.requeue = decision.requeue.min(super::UNWATCHED_POLL_INTERVAL);
    decision.conditions.push(Decided {
        kind: ConditionType::Fetched,
        status: Status::Unknown,
        reason: Reason::FetcherStarting,
        message: "waiting until the previous fetcher has stopped".to_owned(),
    });
    not_yet_verified(decision);
}

fn not_yet_verified(decision: &mut Decision) {
    decision.conditions.push(Decided {
        kind: ConditionType::Verified,
        status: Status::Unknown,
        reason: Reason::NotYetVerified,
        message: "verifying files as they arrive".to_owned(),
    });
}

/// Whether a fetcher may still write to the claim.
fn is_written_to(input: &Input<'_>) -> bool {
    let jobs = input.observed.jobs.iter();
    let pods = input.observed.pods.iter();
    jobs.filter(|job| job.step == Step::Fetch).any(|job| !job.is_over())
        || pods.filter(|pod| pod.step == Step::Fetch).any(|pod| !pod.is_over())
}

/// Whether the Job wrote to a former claim of that name: a claim is always created before its Job.
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
