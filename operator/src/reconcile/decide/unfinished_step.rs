//! Status and actions of a Job's step that is not done.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use modelcache_crds::conditions::{Reason, Status};
use modelcache_crds::model_cache::Attempts;

use super::attempts::{self, StepState};
use super::progress::PROGRESS_INTERVAL;
use super::{Action, Input, RESYNC_INTERVAL, Tally, UNWATCHED_POLL_INTERVAL};
use crate::reconcile::facts::{FetcherPod, JobFacts, PodPhase, Step};
use crate::reconcile::failure_reason::failure_reason;

/// Time until a Job without a pod is reported: the Job controller needs a second, unless something refuses the pod.
const POD_CREATION_DEADLINE: SignedDuration = SignedDuration::from_secs(30);

/// Time until a pod that does not start is reported: pulling and provisioning rarely take longer.
const POD_START_DEADLINE: SignedDuration = SignedDuration::from_secs(120);

/// Added to a deadline, because `now` has whole seconds.
const STATUS_SECOND: Duration = Duration::from_secs(1);

/// Added to a timer, which can fire a moment before its deadline.
const TIMER_SLACK: Duration = Duration::from_millis(500);

/// Interval of looking for the report of an ended fetcher.
const REPORT_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The condition, attempts and next start of an unfinished step.
pub(super) struct Unfinished {
    pub(super) status: Status,
    pub(super) reason: Reason,
    pub(super) message: String,
    pub(super) attempts: Option<Attempts>,
    /// Number of the attempt whose Job is due.
    pub(super) start: Option<i32>,
    pub(super) requeue: Duration,
}

pub(super) fn describe(input: &Input<'_>, step: Step, state: &StepState<'_>) -> Unfinished {
    match state {
        StepState::Start { attempt, failed } => Unfinished {
            start: Some(*attempt),
            ..working(input, step, failed.as_ref(), false, RESYNC_INTERVAL)
        },
        StepState::AwaitingReport { failed } => Unfinished {
            message: "waiting for the report of the ended fetcher".to_owned(),
            ..working(input, step, failed.as_ref(), true, REPORT_POLL_INTERVAL)
        },
        StepState::Running { job, pod, failed } => running(input, job, *pod, failed.as_ref()),
        StepState::Pausing { failed, next } => Unfinished {
            status: Status::False,
            reason: last_failure_reason(step, failed),
            message: format!(
                "{}; attempt {} starts at {}",
                last_failure_message(failed),
                failed.count.saturating_add(1),
                next.strftime("%H:%M:%S UTC")
            ),
            attempts: Some(failed.clone()),
            start: None,
            requeue: until(*next, input.now) + TIMER_SLACK,
        },
        StepState::GivenUp { failed } => Unfinished {
            status: Status::False,
            reason: last_failure_reason(step, failed),
            message: last_failure_message(failed).to_owned(),
            attempts: Some(failed.clone()),
            start: None,
            requeue: RESYNC_INTERVAL,
        },
        StepState::Done { .. } => working(input, step, None, false, UNWATCHED_POLL_INTERVAL),
    }
}

fn running(input: &Input<'_>, job: &JobFacts, pod: Option<&FetcherPod>, failed: Option<&Attempts>) -> Unfinished {
    let step = job.step;
    match pod.map(|pod| &pod.phase) {
        None => {
            let overdue = job.created.checked_add(POD_CREATION_DEADLINE).unwrap_or(job.created);
            if overdue > input.now {
                return working(input, step, failed, false, until(overdue, input.now) + STATUS_SECOND);
            }
            let message = format!(
                "Job {name} has no pod, perhaps a quota or an admission rule refuses it: run kubectl describe job {name} \
                 -n {namespace}",
                name = job.name,
                namespace = input.cache.namespace,
            );
            Unfinished {
                status: Status::False,
                reason: Reason::PodRejected,
                message,
                ..working(input, step, failed, false, UNWATCHED_POLL_INTERVAL)
            }
        }
        Some(PodPhase::Starting(Some(waiting_reason))) => Unfinished {
            status: Status::False,
            reason: waiting_reason.reason,
            message: waiting_reason.message.clone(),
            ..working(input, step, failed, false, RESYNC_INTERVAL)
        },
        Some(PodPhase::Starting(None)) => starting(input, job, pod, failed),
        Some(PodPhase::Running) => working(input, step, failed, true, PROGRESS_INTERVAL),
        Some(PodPhase::Ended(_)) => working(input, step, failed, true, UNWATCHED_POLL_INTERVAL),
    }
}

/// Reports a pod that does not start in time.
///
/// A volume that is attached elsewhere or fails to mount shows in events only, which the operator may not read.
fn starting(input: &Input<'_>, job: &JobFacts, pod: Option<&FetcherPod>, failed: Option<&Attempts>) -> Unfinished {
    let created = pod.map_or(job.created, |pod| pod.created);
    let overdue = created.checked_add(POD_START_DEADLINE).unwrap_or(created);
    if overdue > input.now {
        let again = until(overdue, input.now) + STATUS_SECOND;
        return working(input, job.step, failed, false, again);
    }
    let name = pod.map_or("", |pod| pod.name.as_str());
    Unfinished {
        status: Status::False,
        reason: Reason::FetcherStarting,
        message: format!(
            "the fetcher's pod has not started within {} min, perhaps its volume fails to attach or mount: run kubectl \
             describe pod {name} -n {}",
            POD_START_DEADLINE.as_mins(),
            input.cache.namespace
        ),
        ..working(input, job.step, failed, false, RESYNC_INTERVAL)
    }
}

/// The state of a step that makes progress; `has_started` once its container ran.
fn working(
    input: &Input<'_>,
    step: Step,
    failed: Option<&Attempts>,
    has_started: bool,
    requeue: Duration,
) -> Unfinished {
    let source = input.cache.source.kind();
    let (reason, mut message) = match (step, has_started) {
        (Step::Plan, _) => (
            Reason::Resolving,
            match source.revision() {
                Some(revision) => format!("listing {} at {revision}", source.name()),
                None => format!("listing {}", source.name()),
            },
        ),
        (Step::Fetch, true) => (Reason::Fetching, format!("fetching {}", source.name())),
        (Step::Fetch, false) => (Reason::FetcherStarting, "starting the fetcher's pod".to_owned()),
    };
    if let Some(failed) = failed {
        let number = failed.count.saturating_add(1);
        let before = last_failure_reason(step, failed).as_str();
        message = format!("{message}, attempt {number} after {before}");
    }
    Unfinished {
        status: Status::Unknown,
        reason,
        message,
        attempts: failed.map(|failed| Attempts {
            next_attempt_time: None,
            ..failed.clone()
        }),
        start: None,
        requeue,
    }
}

fn last_failure_reason(step: Step, failed: &Attempts) -> Reason {
    failed
        .last_failure
        .as_ref()
        .map_or(Reason::FetcherFailed, |failure| failure_reason(step, failure.class))
}

fn last_failure_message(failed: &Attempts) -> &str {
    failed.last_failure.as_ref().map_or("", |failure| &failure.message)
}

fn until(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or(Duration::ZERO)
}

/// Deletes superseded Jobs; a failed Job keeps its logs until the next attempt has a Job.
pub(super) fn delete_superseded(input: &Input<'_>, step: Step, inputs: &str) -> Vec<Action> {
    attempts::superseded(input, step, inputs)
        .into_iter()
        .map(|job| Action::DeleteJob {
            name: job.name.clone(),
            uid: job.uid.clone(),
            wait_for_pods: !job.is_over(),
        })
        .collect()
}

/// The failure that this decision sees first.
pub(super) fn tally(input: &Input<'_>, state: &StepState<'_>) -> Tally {
    let failed = match state {
        StepState::Pausing { failed, .. } | StepState::GivenUp { failed } => Some(failed),
        StepState::Start { failed, .. } | StepState::Running { failed, .. } | StepState::AwaitingReport { failed } => {
            failed.as_ref()
        }
        StepState::Done { .. } => None,
    };
    let counted = input
        .status
        .attempts
        .as_ref()
        .and_then(|attempts| attempts.last_job.as_deref());
    Tally {
        failed: failed
            .filter(|failed| failed.last_job.as_deref() != counted)
            .and_then(|failed| failed.last_failure.as_ref())
            .map(|failure| failure.class),
        published_bytes: None,
    }
}
