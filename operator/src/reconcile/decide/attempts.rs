//! The state of a step that runs as Jobs: the running attempt, failures, the next start.
//!
//! A Job is one attempt. Its name holds the step, a hash of its inputs and its number, so that creating it twice is
//! harmless and the last Job shows the number of failures even when status was never written.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use modelcache_crds::model_cache::{Attempts, LastFailure};
use modelcache_crds::report::{Failed, FailureClass, Report};

use super::Input;
use crate::backoff;
use crate::reconcile::facts::{FetcherPod, JobFacts, JobState, PodEnd, PodPhase, Step};
use crate::reconcile::failure_reason::failure_reason;

/// Time until a missing report counts as lost: the Job's watch can be ahead of its pod's.
const LOST_REPORT_GRACE: SignedDuration = SignedDuration::from_secs(5);

/// Longest pause that a source's `Retry-After` can set.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

/// State of a step.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum StepState<'a> {
    /// The attempt's Job is due.
    Start {
        /// Number of the attempt.
        attempt: i32,
        /// Failed attempts before it.
        failed: Option<Attempts>,
    },
    /// A Job is running.
    Running {
        /// The Job.
        job: &'a JobFacts,
        /// Its pod, once created.
        pod: Option<&'a FetcherPod>,
        /// Failed attempts before it.
        failed: Option<Attempts>,
    },
    /// A Job has ended, and its pod's report has not arrived yet.
    AwaitingReport {
        /// Failed attempts before it.
        failed: Option<Attempts>,
    },
    /// The last attempt failed; the next one starts later.
    Pausing {
        /// Failed attempts.
        failed: Attempts,
        /// When the next attempt starts.
        next: Timestamp,
    },
    /// The last attempt failed, and a retry cannot help.
    GivenUp {
        /// Failed attempts.
        failed: Attempts,
    },
    /// A Job succeeded.
    Done {
        /// The Job.
        job: &'a JobFacts,
        /// Its report.
        report: &'a Report,
        /// When its pod ended.
        at: Timestamp,
    },
}

/// The state of the step with these inputs.
pub(crate) fn state<'a>(input: &Input<'a>, step: Step, inputs: &str) -> StepState<'a> {
    let latest = jobs(input, step, inputs).max_by_key(|job| job.attempt);
    let recorded = recorded(input, inputs);
    match latest {
        None => from_record(recorded, step, input.now),
        Some(job) => from_job(input, job, recorded),
    }
}

/// Attempts older than the latest, whose logs nobody needs any more.
pub(crate) fn superseded<'a>(input: &Input<'a>, step: Step, inputs: &str) -> Vec<&'a JobFacts> {
    let latest = jobs(input, step, inputs).map(|job| job.attempt).max();
    jobs(input, step, inputs)
        .filter(|job| Some(job.attempt) < latest)
        .collect()
}

/// The report of the latest attempt.
pub(crate) fn last_report<'a>(input: &Input<'a>, step: Step, inputs: &str) -> Option<&'a Report> {
    let latest = jobs(input, step, inputs).max_by_key(|job| job.attempt)?;
    latest_pod(input, latest)?.report()
}

fn jobs<'a>(input: &Input<'a>, step: Step, inputs: &str) -> impl Iterator<Item = &'a JobFacts> {
    let observed = input.observed;
    observed
        .jobs
        .iter()
        .filter(move |job| job.step == step && job.inputs == inputs && !job.is_deleting)
}

/// The failures with these inputs in status.
fn recorded(input: &Input<'_>, inputs: &str) -> Option<Attempts> {
    input
        .status
        .attempts
        .clone()
        .filter(|attempts| attempts.count > 0 && attempts.inputs.as_deref() == Some(inputs))
}

/// The state by status alone, after a person deleted the failed Job.
fn from_record<'a>(recorded: Option<Attempts>, step: Step, now: Timestamp) -> StepState<'a> {
    match recorded {
        None => StepState::Start {
            attempt: 1,
            failed: None,
        },
        Some(failed) => after_failure(failed, step, now),
    }
}

fn from_job<'a>(input: &Input<'a>, job: &'a JobFacts, recorded: Option<Attempts>) -> StepState<'a> {
    let pod = latest_pod(input, job);
    // The pod's report is enough: the Job controller is a second or two behind.
    if let Some(report) = pod.and_then(FetcherPod::report)
        && is_result_of(job.step, report)
    {
        let at = pod.and_then(|pod| pod.ended).or(job.finished).unwrap_or(job.created);
        return StepState::Done { job, report, at };
    }
    match job.state {
        // A sidecar may keep the pod and with it the Job running after the fetcher has ended.
        JobState::Active if !pod.is_some_and(FetcherPod::is_over) => StepState::Running {
            job,
            pod,
            failed: recorded,
        },
        JobState::Active | JobState::Complete | JobState::Failed { .. } => {
            over_without_success(input, job, pod, recorded)
        }
    }
}

fn is_result_of(step: Step, report: &Report) -> bool {
    match (step, report) {
        (Step::Plan, Report::Planned(_)) | (Step::Fetch, Report::Published(_)) => true,
        (Step::Plan, Report::Published(_) | Report::Failed(_))
        | (Step::Fetch, Report::Planned(_) | Report::Failed(_)) => false,
    }
}

fn over_without_success<'a>(
    input: &Input<'a>,
    job: &JobFacts,
    pod: Option<&FetcherPod>,
    recorded: Option<Attempts>,
) -> StepState<'a> {
    // This failure is in status already, which holds even after its pod is gone.
    if let Some(failed) = recorded
        .clone()
        .filter(|failed| failed.last_job.as_deref() == Some(job.name.as_str()))
    {
        return after_failure(failed, job.step, input.now);
    }
    let at = job.finished.or(pod.and_then(|pod| pod.ended)).unwrap_or(job.created);
    let failure = match pod.map(|pod| &pod.phase) {
        Some(PodPhase::Ended(PodEnd::Reported(report))) => match report.as_ref() {
            Report::Failed(failed) => failed.clone(),
            Report::Planned(_) | Report::Published(_) => unreported(
                FailureClass::Internal,
                "the fetcher's report is for another step: fetcher and operator versions differ, install both from one \
                 release"
                    .to_owned(),
            ),
        },
        Some(PodPhase::Ended(PodEnd::Unreported { class, message })) => unreported(*class, message.clone()),
        Some(PodPhase::Starting(_) | PodPhase::Running) | None => {
            if input.now.duration_since(at) < LOST_REPORT_GRACE {
                return StepState::AwaitingReport { failed: recorded };
            }
            lost(job)
        }
    };
    after_failure(record(input, job, &failure, at), job.step, input.now)
}

fn lost(job: &JobFacts) -> Failed {
    let why = match &job.state {
        JobState::Failed { message, .. } if !message.is_empty() => format!(": {message}"),
        JobState::Failed { .. } | JobState::Complete | JobState::Active => String::new(),
    };
    unreported(
        FailureClass::Killed,
        format!("the fetcher's pod disappeared without a report{why}"),
    )
}

fn unreported(class: FailureClass, message: String) -> Failed {
    Failed {
        class,
        message,
        file: None,
        offset: None,
        retry_after_seconds: None,
        origins: Vec::new(),
    }
}

fn record(input: &Input<'_>, job: &JobFacts, failure: &Failed, at: Timestamp) -> Attempts {
    let asked = u64::try_from(failure.retry_after_seconds.unwrap_or(0)).unwrap_or(0);
    let asked = Duration::from_secs(asked).min(RETRY_AFTER_MAX);
    let pause = backoff::attempt_backoff(job.attempt, &input.cache.uid).max(asked);
    let next = SignedDuration::try_from(pause)
        .ok()
        .and_then(|pause| at.checked_add(pause).ok())
        .unwrap_or(at);
    let is_permanent = failure_reason(job.step, failure.class).is_permanent();
    Attempts {
        count: job.attempt,
        last_failure: Some(LastFailure {
            class: failure.class,
            message: failure.message.clone(),
            file: failure.file.clone(),
            offset: failure.offset,
            time: Time(at),
        }),
        next_attempt_time: (!is_permanent).then_some(Time(next)),
        last_job: Some(job.name.clone()),
        inputs: Some(job.inputs.clone()),
    }
}

fn after_failure<'a>(failed: Attempts, step: Step, now: Timestamp) -> StepState<'a> {
    let is_permanent = failed
        .last_failure
        .as_ref()
        .is_some_and(|failure| failure_reason(step, failure.class).is_permanent());
    if is_permanent {
        return StepState::GivenUp { failed };
    }
    match failed.next_attempt_time.as_ref().map(|time| time.0) {
        Some(next) if next > now => StepState::Pausing { failed, next },
        Some(_) | None => StepState::Start {
            attempt: failed.count.saturating_add(1),
            failed: Some(failed),
        },
    }
}

/// The newest pod of a Job: the Job replaces an evicted one.
fn latest_pod<'a>(input: &Input<'a>, job: &JobFacts) -> Option<&'a FetcherPod> {
    let observed = input.observed;
    observed
        .pods
        .iter()
        .filter(|pod| pod.job_uid == job.uid)
        .max_by_key(|pod| (pod.created, !pod.is_over(), pod.name.clone()))
}
