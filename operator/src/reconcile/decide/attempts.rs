//! How far a step is that runs as a Job: which attempt runs, which failed, when the next one starts.
//!
//! A Job is one attempt: its name holds the step, a hash of its inputs and its number, so that creating it twice
//! is harmless, and the number of failures can be read back from the last Job although status was never written.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use modelcache_crds::model_cache::{Attempts, LastFailure};
use modelcache_crds::report::{Failed, FailureClass, Report};

use super::Input;
use crate::backoff;
use crate::reconcile::facts::{FetcherPod, JobFacts, JobState, PodEnd, PodPhase, Step};
use crate::reconcile::failure_reason::failure_reason;

/// The Job's watch may be ahead of its pod's: the report is looked for this long before it counts as lost.
const LOST_REPORT_GRACE: SignedDuration = SignedDuration::from_secs(5);

/// A source that asks for a longer pause than this is asked again anyway.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(1);

/// How far a step is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum StepState<'a> {
    /// The Job of this attempt is to be created now.
    Start {
        /// Its number.
        attempt: i32,
        /// What failed before.
        failed: Option<Attempts>,
    },
    /// A Job runs.
    Running {
        /// The Job.
        job: &'a JobFacts,
        /// Its pod, once it has one.
        pod: Option<&'a FetcherPod>,
        /// What failed before.
        failed: Option<Attempts>,
    },
    /// A Job is over, and its pod's report is not to be seen yet.
    AwaitingReport {
        /// What failed before.
        failed: Option<Attempts>,
    },
    /// The last attempt failed; the next one starts later.
    Pausing {
        /// What failed.
        failed: Attempts,
        /// When the next attempt starts.
        next: Timestamp,
    },
    /// The last attempt failed, and trying again cannot help.
    GivenUp {
        /// What failed.
        failed: Attempts,
    },
    /// A Job ended well.
    Done {
        /// The Job.
        job: &'a JobFacts,
        /// Its report.
        report: &'a Report,
        /// When.
        at: Timestamp,
    },
}

/// How far the step with these inputs is.
pub(crate) fn state<'a>(input: &Input<'a>, step: Step, inputs: &str) -> StepState<'a> {
    let latest = jobs(input, step, inputs).max_by_key(|job| job.attempt);
    let recorded = recorded(input, inputs);
    match latest {
        None => from_record(recorded, step, input.now),
        Some(job) => from_job(input, job, recorded),
    }
}

/// Older attempts than the latest: their logs have been superseded.
pub(crate) fn superseded<'a>(input: &Input<'a>, step: Step, inputs: &str) -> Vec<&'a JobFacts> {
    let latest = jobs(input, step, inputs).map(|job| job.attempt).max();
    jobs(input, step, inputs)
        .filter(|job| Some(job.attempt) < latest)
        .collect()
}

/// What the latest attempt told when it ended.
pub(crate) fn last_report<'a>(input: &Input<'a>, step: Step, inputs: &str) -> Option<&'a Report> {
    let latest = jobs(input, step, inputs).max_by_key(|job| job.attempt)?;
    latest_pod(input, latest)?.report()
}

fn jobs<'a>(input: &Input<'a>, step: Step, inputs: &str) -> impl Iterator<Item = &'a JobFacts> {
    let observed = input.observed;
    observed
        .jobs
        .iter()
        .filter(move |job| job.step == step && job.inputs == inputs && !job.deleting)
}

/// What status says of failures with these inputs.
fn recorded(input: &Input<'_>, inputs: &str) -> Option<Attempts> {
    input
        .status
        .attempts
        .clone()
        .filter(|attempts| attempts.count > 0 && attempts.inputs.as_deref() == Some(inputs))
}

/// Without a Job, status remembers: somebody may have deleted the failed Job by hand.
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
    // The pod's own word is enough: the Job controller takes a second or two to repeat it.
    if let Some(report) = pod.and_then(FetcherPod::report)
        && answers(job.step, report)
    {
        let at = pod.and_then(|pod| pod.ended).or(job.finished).unwrap_or(job.created);
        return StepState::Done { job, report, at };
    }
    match job.state {
        JobState::Active => StepState::Running {
            job,
            pod,
            failed: recorded,
        },
        JobState::Complete | JobState::Failed { .. } => over_without_success(input, job, pod, recorded),
    }
}

fn answers(step: Step, report: &Report) -> bool {
    match (step, report) {
        (Step::Plan, Report::Planned(_)) | (Step::Fetch, Report::Published(_)) => true,
        (Step::Plan | Step::Fetch, _) => false,
    }
}

fn over_without_success<'a>(
    input: &Input<'a>,
    job: &JobFacts,
    pod: Option<&FetcherPod>,
    recorded: Option<Attempts>,
) -> StepState<'a> {
    // Counted already: what was written then holds, also when its pod has gone since.
    if let Some(failed) = recorded
        .clone()
        .filter(|failed| failed.last_job.as_deref() == Some(job.name.as_str()))
    {
        return after_failure(failed, job.step, input.now);
    }
    let at = job.finished.unwrap_or(job.created);
    let failure = match pod.map(|pod| &pod.phase) {
        Some(PodPhase::Ended(PodEnd::Reported(report))) => match report.as_ref() {
            Report::Failed(failed) => failed.clone(),
            Report::Planned(_) | Report::Published(_) => unreported(
                FailureClass::Internal,
                "the fetcher's report answers another step: its image does not fit this operator".to_owned(),
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
        format!("the fetcher's pod went away without a report{why}"),
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

/// An evicted pod is followed by another one of the same Job: the newest counts.
fn latest_pod<'a>(input: &Input<'a>, job: &JobFacts) -> Option<&'a FetcherPod> {
    let observed = input.observed;
    observed
        .pods
        .iter()
        .filter(|pod| pod.job_uid == job.uid)
        .max_by_key(|pod| (pod.created, !pod.is_over(), pod.name.clone()))
}
