//! Decides actions and status: a pure function of spec, previous status, observed facts and `now`.
//!
//! One file per step, in the order of the flow: resolve, fit, storage, fetch; `ready` summarizes them. An unfinished
//! step holds back the later ones. Nothing is kept in memory: after a crash at any moment the same function reaches the
//! same result from the cluster's state.

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

/// A change to the cluster. Each is idempotent, and any may be the last before a crash.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Create or update the claim.
    ApplyClaim {
        /// Bytes to request.
        bytes: i64,
        /// The current claim, when it exists.
        current: Option<Box<ClaimFacts>>,
        /// Whether the fetch needs the change; a claim that is large enough serves without growing.
        required: bool,
    },
    /// Create the Job that lists the source.
    CreatePlanJob {
        /// Hash of its inputs.
        inputs: String,
        /// Number of the attempt, from 1.
        attempt: i32,
    },
    /// Create the Job that fetches.
    CreateFetchJob {
        /// Hash of its inputs.
        inputs: String,
        /// Number of the attempt, from 1.
        attempt: i32,
        /// The revision to fetch.
        resolved: Box<Resolved>,
    },
    /// Delete a Job and its pods.
    DeleteJob {
        /// Its name.
        name: String,
        /// Its uid, so that a Job recreated under the name is kept.
        uid: String,
        /// Whether the Job stays until its pods are gone.
        ///
        /// The next writer then waits for the last one.
        wait_for_pods: bool,
    },
}

/// The result of a decision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decision {
    /// Every condition, before the merge with those in `status`.
    pub conditions: Vec<Decided>,
    /// The next status, still with the previous conditions.
    ///
    /// It starts as the previous status; each step replaces the fields that it decides.
    pub status: ModelCacheStatus,
    /// The actions, in order.
    pub actions: Vec<Action>,
    /// Pause until the next reconcile without a change.
    pub requeue: Duration,
    /// Metrics to count when the status is written.
    pub tally: Tally,
}

/// Metrics that a decision counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Class of a failed run that was not counted before.
    pub failed: Option<FailureClass>,
    /// Bytes that a published model fetched over the network.
    pub published_bytes: Option<i64>,
}

/// The inputs of a decision.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The validated ModelCache.
    pub cache: &'a ValidatedCache,
    /// The current status.
    pub status: &'a ModelCacheStatus,
    /// The observed facts.
    pub observed: &'a Observation,
    /// The fetcher's image.
    pub image: &'a FetcherImage,
    /// The current time, in whole seconds.
    pub now: Timestamp,
}

impl Input<'_> {
    /// Whether status shows this revision as published, in the wanted layout.
    fn is_published(&self, resolved: &Resolved) -> bool {
        self.status.published_digest.as_deref() == Some(resolved.digest.as_str())
            && self.status.hub_cache == self.cache.hub_cache(resolved)
    }
}

/// Pause while no change is expected: a watch can miss an event.
pub(crate) const RESYNC_INTERVAL: Duration = Duration::from_mins(10);

/// Pause while the expected change sends no watch event.
pub(crate) const UNWATCHED_POLL_INTERVAL: Duration = Duration::from_secs(15);

/// Decides actions and status of one ModelCache.
#[must_use]
pub fn decide(input: &Input<'_>) -> Decision {
    let mut decision = Decision::from_previous(input.status);
    let resolved = resolve::decide(input, &mut decision);
    decision.actions.extend(storage::keep_metadata(input));
    match resolved {
        // A running fetcher fetches what the spec no longer asks for.
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

/// The decision for an invalid spec: starts nothing, stops nothing, keeps what is published.
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
    /// Starts from the previous status.
    ///
    /// Fields that hold only while their step sets them are cleared.
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

/// Stops every fetcher and sets this condition and the later ones pending.
fn hold_back(input: &Input<'_>, decision: &mut Decision, from: ConditionType) {
    decision
        .actions
        .extend(delete_jobs(input, |job| job.step == Step::Fetch));
    pend(decision, from);
}

/// Sets this condition and the later ones pending.
fn pend(decision: &mut Decision, from: ConditionType) {
    let before = decision
        .conditions
        .last()
        .map_or("the previous step", |last| last.kind.as_str());
    let message = format!("waiting for {before}");
    let rest = ConditionType::FLOW.into_iter().filter(|kind| *kind >= from);
    decision.conditions.extend(rest.map(|kind| Decided {
        kind,
        status: Status::Unknown,
        reason: Reason::Pending,
        message: message.clone(),
    }));
}

/// Deletes the chosen Jobs of the cache that are not being deleted yet.
fn delete_jobs(input: &Input<'_>, chosen: impl Fn(&JobFacts) -> bool) -> Vec<Action> {
    input
        .observed
        .jobs
        .iter()
        .filter(|job| chosen(job) && !job.is_deleting)
        .map(|job| Action::DeleteJob {
            name: job.name.clone(),
            uid: job.uid.clone(),
            wait_for_pods: !job.is_over(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
