//! The facts about a Job of the operator.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition};
use kube::ResourceExt;
use modelcache_crds::names;

/// The step of the flow that a Job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// List the source.
    Plan,
    /// Fetch, verify and publish.
    Fetch,
}

impl Step {
    /// The step in labels and names.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Fetch => "fetch",
        }
    }

    /// The step on a Job's or pod's label.
    #[must_use]
    pub fn of(object: &impl ResourceExt) -> Option<Self> {
        let label = object.labels().get(names::LABEL_STEP)?;
        [Self::Plan, Self::Fetch]
            .into_iter()
            .find(|step| step.as_str() == label)
    }
}

/// State of a Job by its conditions; `status.failed` also counts pods that the Job replaces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// It runs, or will run.
    Active,
    /// Its pod succeeded.
    Complete,
    /// It ended without success.
    Failed {
        /// Message of the Job controller.
        message: String,
        /// When it failed.
        at: Timestamp,
    },
}

/// The facts about a Job of the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFacts {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// Its step.
    pub step: Step,
    /// Hash of its inputs.
    pub inputs: String,
    /// Number of the attempt, from 1.
    pub attempt: i32,
    /// Its state.
    pub state: JobState,
    /// When it was created.
    pub created: Timestamp,
    /// When it ended.
    pub finished: Option<Timestamp>,
    /// Whether it is being deleted.
    pub is_deleting: bool,
}

impl JobFacts {
    /// The facts about a Job; `None` when it lacks the operator's labels.
    #[must_use]
    pub fn of(job: &Job) -> Option<Self> {
        let failed = condition(job, "Failed");
        let complete = condition(job, "Complete");
        let created = job.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |time| time.0);
        let ended = failed
            .or(complete)
            .map(|end| end.last_transition_time.as_ref().map_or(created, |time| time.0));
        let state = match (failed, complete) {
            (Some(failed), _) => JobState::Failed {
                message: failed.message.clone().unwrap_or_default(),
                at: ended.unwrap_or(created),
            },
            (None, Some(_)) => JobState::Complete,
            (None, None) => JobState::Active,
        };
        Some(Self {
            name: job.name_any(),
            uid: job.uid()?,
            step: Step::of(job)?,
            inputs: job.labels().get(names::LABEL_INPUTS)?.clone(),
            attempt: job.labels().get(names::LABEL_ATTEMPT)?.parse().ok()?,
            state,
            created,
            finished: ended,
            is_deleting: job.metadata.deletion_timestamp.is_some(),
        })
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self.state {
            JobState::Active => false,
            JobState::Complete | JobState::Failed { .. } => true,
        }
    }
}

fn condition<'a>(job: &'a Job, kind: &str) -> Option<&'a JobCondition> {
    job.status
        .as_ref()?
        .conditions
        .as_ref()?
        .iter()
        .find(|condition| condition.type_ == kind && condition.status == "True")
}
