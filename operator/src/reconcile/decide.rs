//! What to do and what to say, as a pure function of the spec, the status before, what was observed, and `now`.
//!
//! One file per step, in the order of the flow: resolve, fit, storage, fetch; `ready` sums them up. A step that
//! is not done keeps the later ones from starting. Nothing here is remembered: after a crash at any moment the
//! same function reaches the same end from what stands in the cluster.

pub(crate) mod attempts;
mod fetch;
mod fit;
pub(crate) mod progress;
mod ready;
mod resolve;
mod storage;
mod unfinished_step;

use std::time::Duration;

use jiff::Timestamp;
use modelcache_crds::ModelCacheStatus;
use modelcache_crds::conditions::{ConditionType, Decided, Reason, Status};
use modelcache_crds::model_cache::Resolved;
use modelcache_crds::report::FailureClass;

use crate::context::FetcherImage;
use crate::reconcile::facts::{ClaimFacts, JobFacts, Observation, Step};
use crate::reconcile::validate::{InvalidSpec, ValidatedCache};

pub use ready::summarize;

/// Something to do in the cluster. Each may be done twice, and any may be the last before a crash.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make the claim, or bring it up to date.
    ApplyClaim {
        /// Bytes to ask for.
        bytes: i64,
        /// The claim as it is, when it is there.
        current: Option<Box<ClaimFacts>>,
        /// Whether the fetch needs it: one that is large enough already serves although it cannot grow.
        required: bool,
    },
    /// Create the Job that lists the source.
    CreatePlanJob {
        /// Hash of what its result depends on.
        inputs: String,
        /// Which attempt.
        attempt: i32,
    },
    /// Create the Job that fetches.
    CreateFetchJob {
        /// Hash of what its result depends on.
        inputs: String,
        /// Which attempt.
        attempt: i32,
        /// What to fetch.
        resolved: Box<Resolved>,
    },
    /// Delete a Job and its pods.
    DeleteJob {
        /// Its name.
        name: String,
        /// Its uid, so that one made anew under the name is left alone.
        uid: String,
        /// Whether the Job stands until its pods are gone: then the next writer waits for the last one.
        wait_for_pods: bool,
    },
}

/// What was decided.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// Every condition, not yet merged with those in `status`.
    pub conditions: Vec<Decided>,
    /// The previous status, with every field that a step decided replaced; its conditions are still the previous ones.
    pub status: ModelCacheStatus,
    /// What to do, in this order.
    pub actions: Vec<Action>,
    /// When to look again although nothing changed.
    pub requeue: Duration,
    /// What to count, when this decision is written for the first time.
    pub tally: Tally,
}

/// Things that happened, for the metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// A run failed that had not been counted.
    pub failed: Option<FailureClass>,
    /// A model was published; bytes that came over the network.
    pub published_bytes: Option<i64>,
}

/// All that a decision may look at.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// What is wanted.
    pub cache: &'a ValidatedCache,
    /// The status as it stands.
    pub status: &'a ModelCacheStatus,
    /// What is there.
    pub observed: &'a Observation,
    /// The fetcher's image.
    pub image: &'a FetcherImage,
    /// The time.
    pub now: Timestamp,
}

impl Input<'_> {
    /// Whether status holds that this is what is published, and in the layout that is wanted.
    fn is_published(&self, resolved: &Resolved) -> bool {
        self.status.published_digest.as_deref() == Some(resolved.digest.as_str())
            && self.status.hub_cache == self.cache.hub_cache(resolved)
    }
}

/// Nothing is expected to happen: look again now and then, as a watch can miss something.
pub(crate) const RESYNC_INTERVAL: Duration = Duration::from_mins(10);

/// Something is expected that no watch tells of.
pub(crate) const UNWATCHED_POLL_INTERVAL: Duration = Duration::from_secs(15);

/// Decides what to do and what to say.
#[must_use]
pub fn decide(input: &Input<'_>) -> Decision {
    let mut decision = Decision::from_previous(input.status);
    let resolved = resolve::decide(input, &mut decision);
    decision.actions.extend(storage::keep_metadata(input));
    match resolved {
        // The spec no longer asks for what a running fetcher fetches.
        None => hold_back(input, &mut decision, ConditionType::CapacityAvailable),
        Some(resolved) => after_resolve(input, &resolved, &mut decision),
    }
    summarize(&mut decision.conditions);
    decision
}

fn after_resolve(input: &Input<'_>, resolved: &Resolved, decision: &mut Decision) {
    let inputs = input.cache.fetch_inputs(resolved, input.image);
    if fit::decide(input, resolved, &inputs, decision).is_break() {
        return hold_back(input, decision, ConditionType::StorageReady);
    }
    if storage::decide(input, resolved, decision).is_break() {
        return hold_back(input, decision, ConditionType::Fetched);
    }
    fetch::decide(input, resolved, &inputs, decision);
}

/// What an invalid spec leads to: nothing is started, nothing running is stopped, nothing published is forgotten.
#[must_use]
pub fn refuse(invalid: &InvalidSpec, status: &ModelCacheStatus) -> Decision {
    let mut decision = Decision::from_previous(status);
    decision.conditions.push(Decided {
        kind: ConditionType::SourceResolved,
        status: Status::False,
        reason: Reason::InvalidSpec,
        message: invalid.to_string(),
    });
    pend(&mut decision, ConditionType::CapacityAvailable);
    summarize(&mut decision.conditions);
    decision
}

impl Decision {
    /// Keeps what was published and where; what holds only while its step decides it is cleared.
    fn from_previous(status: &ModelCacheStatus) -> Self {
        Self {
            status: ModelCacheStatus {
                progress: None,
                capacity: None,
                attempts: None,
                ..status.clone()
            },
            requeue: RESYNC_INTERVAL,
            ..Self::default()
        }
    }
}

/// Stops every fetcher; this condition and those after it wait.
fn hold_back(input: &Input<'_>, decision: &mut Decision, from: ConditionType) {
    decision
        .actions
        .extend(delete_jobs(input, |job| job.step == Step::Fetch));
    pend(decision, from);
}

/// This condition and those after it wait for the ones before.
fn pend(decision: &mut Decision, from: ConditionType) {
    let before = decision
        .conditions
        .last()
        .map_or("the step before", |last| last.kind.as_str());
    let message = format!("waits for {before}");
    let rest = ConditionType::FLOW.into_iter().filter(|kind| *kind >= from);
    decision.conditions.extend(rest.map(|kind| Decided {
        kind,
        status: Status::Unknown,
        reason: Reason::Pending,
        message: message.clone(),
    }));
}

/// Deletes those of the cache's Jobs that are chosen and not being deleted yet.
fn delete_jobs(input: &Input<'_>, chosen: impl Fn(&JobFacts) -> bool) -> Vec<Action> {
    input
        .observed
        .jobs
        .iter()
        .filter(|job| chosen(job) && !job.deleting)
        .map(|job| Action::DeleteJob {
            name: job.name.clone(),
            uid: job.uid.clone(),
            wait_for_pods: !job.is_over(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
