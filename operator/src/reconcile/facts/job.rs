//! A Job of ours, as far as decisions look at it.

use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{Job, JobCondition};
use kube::ResourceExt;
use modelcache_crds::names;

/// Which part of the work a Job does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// List the source.
    Plan,
    /// Fetch, prove and publish.
    Fetch,
}

impl Step {
    /// The step as labels and names carry it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Plan => "plan",
            Self::Fetch => "fetch",
        }
    }

    /// The step that a Job's or pod's label names.
    #[must_use]
    pub fn of(object: &impl ResourceExt) -> Option<Self> {
        let label = object.labels().get(names::LABEL_STEP)?;
        [Self::Plan, Self::Fetch]
            .into_iter()
            .find(|step| step.as_str() == label)
    }
}

/// How far a Job is, by its conditions: `status.failed` counts pods that are still tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobState {
    /// It runs, or will.
    Active,
    /// Its pod ended well.
    Complete,
    /// It is over, without success.
    Failed {
        /// What the Job controller says.
        message: String,
        /// When.
        at: Timestamp,
    },
}

/// A Job of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFacts {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// What it does.
    pub step: Step,
    /// Hash of what its result depends on.
    pub inputs: String,
    /// Which attempt it is, from 1.
    pub attempt: i32,
    /// How far it is.
    pub state: JobState,
    /// When it was created.
    pub created: Timestamp,
    /// When its last pod ended, where it is over.
    pub finished: Option<Timestamp>,
    /// Whether it is being deleted.
    pub deleting: bool,
}

impl JobFacts {
    /// The facts of a Job; `None` when it lacks the labels that ours carry.
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
            deleting: job.metadata.deletion_timestamp.is_some(),
        })
    }

    /// Whether it is over.
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
