//! What to do and what to say, as a pure function of the spec, the status before, what was observed, and `now`.
//!
//! One file per step, in the order of the flow: resolve, fit, storage, fetch; `ready` sums them up. A step that
//! is not done keeps the later ones from starting. Nothing here is remembered: after a crash at any moment the
//! same function reaches the same end from what stands in the cluster.

pub(crate) mod attempts;
mod fetch;
mod fit;
mod progress;
mod ready;
mod resolve;
mod storage;
mod unfinished_step;

use std::time::Duration;

use jiff::Timestamp;
use modelcache_crds::ModelCacheStatus;
use modelcache_crds::conditions::{ConditionType, Decided, Reason, Status};
use modelcache_crds::model_cache::{Attempts, CapacityStatus, HubCacheStatus, Progress, Resolved};
use modelcache_crds::report::{FailureClass, OriginReport};

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
    /// Every condition.
    pub conditions: Vec<Decided>,
    /// What the source was resolved to.
    pub resolved: Option<Resolved>,
    /// Digest of what is published on the claim.
    pub published_digest: Option<String>,
    /// The claim a pod mounts.
    pub claim_name: Option<String>,
    /// Its uid.
    pub claim_uid: Option<String>,
    /// Where the files are in it.
    pub path: Option<String>,
    /// What clients find it by, where it is published for them.
    pub hub_cache: Option<HubCacheStatus>,
    /// How far the fetch is.
    pub progress: Option<Progress>,
    /// What each origin of the files was good for.
    pub sources: Vec<OriginReport>,
    /// What the nodes offer.
    pub capacity: Option<CapacityStatus>,
    /// Failed tries of the current step.
    pub attempts: Option<Attempts>,
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
pub(crate) const RESYNC: Duration = Duration::from_mins(10);

/// Something is expected that no watch tells of.
pub(crate) const POLL: Duration = Duration::from_secs(15);

/// Decides what to do and what to say.
#[must_use]
pub fn decide(input: &Input<'_>) -> Decision {
    let resolve = resolve::decide(input);
    let mut decision = Decision {
        conditions: vec![resolve.condition],
        resolved: resolve.resolved.clone(),
        attempts: resolve.attempts,
        actions: resolve.actions,
        requeue: resolve.requeue,
        tally: resolve.tally,
        ..carried_over(input.status)
    };
    decision.actions.extend(storage::keep_metadata(input));
    match resolve.resolved {
        None => {
            // What was asked for before is no longer wanted: whoever still fetches it is stopped.
            decision
                .actions
                .extend(delete_jobs(input, |job| job.step == Step::Fetch));
            pend(&mut decision, ConditionType::CapacityAvailable);
        }
        Some(resolved) => after_resolve(input, &resolved, &mut decision),
    }
    summarize(&mut decision.conditions);
    decision
}

fn after_resolve(input: &Input<'_>, resolved: &Resolved, decision: &mut Decision) {
    let inputs = input.cache.fetch_inputs(resolved, input.image);
    let fit = fit::decide(input, resolved, &inputs);
    decision.capacity = fit.capacity;
    decision.conditions.push(fit.condition);
    if !fit.go {
        decision
            .actions
            .extend(delete_jobs(input, |job| job.step == Step::Fetch));
        pend(decision, ConditionType::StorageReady);
        return;
    }

    let storage = storage::decide(input, resolved);
    decision.conditions.push(storage.condition);
    decision.actions.extend(storage.actions);
    decision.requeue = decision.requeue.min(storage.requeue);
    decision.claim_name = storage.claim_name;
    decision.claim_uid = storage.claim_uid;
    if !storage.keeps_published {
        decision.published_digest = None;
        decision.hub_cache = None;
    }
    if !storage.go {
        decision
            .actions
            .extend(delete_jobs(input, |job| job.step == Step::Fetch));
        pend(decision, ConditionType::Fetched);
        return;
    }

    fetch::decide(input, resolved, &inputs, decision);
}

/// What an invalid spec leads to: nothing is started, nothing running is stopped, nothing published is forgotten.
#[must_use]
pub fn refuse(invalid: &InvalidSpec, status: &ModelCacheStatus) -> Decision {
    let mut decision = Decision {
        conditions: vec![Decided {
            kind: ConditionType::SourceResolved,
            status: Status::False,
            reason: Reason::InvalidSpec,
            message: invalid.to_string(),
        }],
        requeue: RESYNC,
        attempts: None,
        ..carried_over(status)
    };
    pend(&mut decision, ConditionType::CapacityAvailable);
    summarize(&mut decision.conditions);
    decision
}

fn carried_over(status: &ModelCacheStatus) -> Decision {
    Decision {
        resolved: status.resolved.clone(),
        published_digest: status.published_digest.clone(),
        claim_name: status.claim_name.clone(),
        claim_uid: status.claim_uid.clone(),
        path: status.path.clone(),
        hub_cache: status.hub_cache.clone(),
        sources: status.sources.clone(),
        progress: None,
        requeue: RESYNC,
        ..Decision::default()
    }
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
