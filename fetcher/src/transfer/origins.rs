//! The origins of a running fetch: what each offers, how many connections it has, and which ones were dropped.

pub(crate) mod connections;
pub(crate) mod locations;
pub(crate) mod steering;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use modelcache_crds::report::{FailureClass, OriginFault};
use tokio::sync::Notify;

use self::steering::{Sample, Steering, Verdict};
use super::schedule::shared::Withdrawal;
use super::schedule::{Demand, OriginNumber};
use crate::model::digest::ContentDigest;
use crate::model::error::SourceError;
use crate::model::remote_file::RemoteFile;
use crate::observe::progress::{OriginProgress, OriginSnapshot, Progress};
use crate::source::Source;

/// A place that serves files of the model: the source or a mirror.
#[derive(Clone)]
pub struct Origin {
    /// Its name in logs and reports.
    pub name: String,
    /// Locates its bytes.
    pub source: Arc<dyn Source>,
    /// Its own name for the revision.
    pub revision: String,
    /// The files that it lists. It serves a file only if it lists the same digest and size.
    pub files: Vec<RemoteFile>,
}

/// All origins of a fetch.
pub(crate) struct Origins {
    all: Vec<Origin>,
    offers: Vec<HashMap<(ContentDigest, u64), RemoteFile>>,
    started: Instant,
    progress: Vec<Arc<OriginProgress>>,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    steering: Steering,
    /// Connections that hold a slot, by origin.
    held: Vec<usize>,
    /// Connections with a slot that have a piece, by origin.
    busy: Vec<usize>,
    /// Bytes received up to the last sample, by origin.
    sampled: Vec<u64>,
}

/// The decisions that follow from a sample of the origins.
pub(crate) struct Steered {
    /// Origins that must not be used now.
    pub(crate) closed: Vec<OriginNumber>,
    /// An origin that must give up a connection that another one needs.
    pub(crate) surplus: Option<OriginNumber>,
    /// Connections over all origins from now on.
    pub(crate) connections: usize,
}

/// The right to use an origin with one connection.
pub(crate) struct Slot<'a> {
    pub(crate) origin: OriginNumber,
    origins: &'a Origins,
}

/// Marks a slot as busy until it is dropped.
pub(crate) struct Busy<'a>(&'a Slot<'a>);

impl Origins {
    /// Origins that share at most `connections`. One that fails `attempts` times in a row is dropped.
    pub(crate) fn new(all: Vec<Origin>, connections: usize, attempts: u32, progress: &Progress) -> Self {
        let offers = all
            .iter()
            .map(|origin| {
                origin
                    .files
                    .iter()
                    .map(|file| ((file.digest, file.size), file.clone()))
                    .collect()
            })
            .collect();
        Self {
            offers,
            started: Instant::now(),
            progress: progress.set_origins(all.iter().map(|origin| origin.name.as_str())),
            state: Mutex::new(State {
                steering: Steering::new(all.len(), connections, attempts),
                held: vec![0; all.len()],
                busy: vec![0; all.len()],
                sampled: vec![0; all.len()],
            }),
            changed: Notify::new(),
            all,
        }
    }

    fn state<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        let acted = act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_waiters();
        acted
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether there is only one origin.
    pub(crate) fn is_single(&self) -> bool {
        self.all.len() == 1
    }

    /// Whether several connections use an origin now.
    pub(crate) fn is_shared(&self, origin: OriginNumber) -> bool {
        self.state(|state| state.busy.get(origin).is_some_and(|busy| *busy > 1))
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn get(&self, origin: OriginNumber) -> Option<&Origin> {
        self.all.get(origin)
    }

    /// The name of an origin in logs and reports.
    pub(crate) fn name(&self, origin: OriginNumber) -> &str {
        self.all.get(origin).map_or("", |origin| origin.name.as_str())
    }

    /// The failure of a file when every origin that offered it was dropped.
    pub(crate) fn no_origin_left(&self) -> Withdrawal {
        let reasons: Vec<String> = self
            .statistics()
            .iter()
            .filter_map(|origin| Some(format!("{} {}", origin.name, origin.dropped()?)))
            .collect();
        Withdrawal {
            offset: None,
            error: SourceError::new(
                FailureClass::SourceUnreachable,
                format!("no origin left: {}", reasons.join("; ")),
            ),
        }
    }

    /// The file that an origin lists with the same digest and size.
    pub(crate) fn offer(&self, origin: OriginNumber, file: &RemoteFile) -> Option<&RemoteFile> {
        self.offers.get(origin)?.get(&(file.digest, file.size))
    }

    /// The origins that offer a file and are not dropped.
    pub(crate) fn offering(&self, file: &RemoteFile) -> Vec<OriginNumber> {
        let offering = (0..self.all.len()).filter(|origin| self.offer(*origin, file).is_some());
        self.state(|state| offering.filter(|origin| !state.steering.is_dropped(*origin)).collect())
    }

    /// Whether an origin was dropped for the rest of the fetch.
    pub(crate) fn is_dropped(&self, origin: OriginNumber) -> bool {
        self.state(|state| state.steering.is_dropped(origin))
    }

    /// Waits for a slot at the origin that is furthest below its target of connections.
    pub(crate) async fn slot(&self) -> Slot<'_> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(origin) = self.take_slot() {
                return Slot { origin, origins: self };
            }
            changed.await;
        }
    }

    fn take_slot(&self) -> Option<OriginNumber> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let targets = state.steering.targets();
        let (origin, _) = targets
            .iter()
            .zip(&state.held)
            .enumerate()
            .filter(|(_, (target, held))| target > held)
            .max_by_key(|(origin, (target, held))| (*target - *held, std::cmp::Reverse(*origin)))?;
        state.held[origin] += 1;
        Some(origin)
    }

    /// Connections over all origins now.
    pub(crate) fn connections(&self) -> usize {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .steering
            .connections()
    }

    /// Samples the origins and steers their connections. `is_enough`: more connections would gain nothing.
    pub(crate) fn steer(&self, demands: &[Demand], is_enough: bool) -> Steered {
        let now = self.now();
        let received: Vec<u64> = self.progress.iter().map(|origin| origin.bytes()).collect();
        let steered = self.state(|state| {
            let samples: Vec<Sample> = received
                .iter()
                .zip(&state.sampled)
                .zip(&state.busy)
                .map(|((received, sampled), busy)| Sample {
                    bytes: received - sampled,
                    busy: *busy,
                })
                .collect();
            state.sampled = received;
            state.steering.steer(now, &samples, demands, is_enough);
            Steered {
                closed: (0..samples.len())
                    .filter(|origin| !state.steering.is_open(*origin))
                    .collect(),
                surplus: state.steering.surplus_holder(&state.held),
                connections: state.steering.connections(),
            }
        });
        for (number, origin) in self.progress.iter().enumerate() {
            origin.set_resting(steered.closed.contains(&number));
        }
        steered
    }

    /// Counts bytes received from an origin.
    pub(crate) fn received(&self, origin: OriginNumber, bytes: u64) {
        if let Some(origin) = self.progress.get(origin) {
            origin.received(bytes);
        }
    }

    /// Counts a failed request in the statistics of its origin.
    pub(crate) fn record_failure(&self, origin: OriginNumber, error: &SourceError) {
        if let Some(origin) = self.progress.get(origin) {
            origin.failed(&error.message);
        }
    }

    /// Records that an origin refused a request because it has too many.
    pub(crate) fn refused(&self, origin: OriginNumber) {
        let now = self.now();
        self.state(|state| {
            let busy = state.busy.get(origin).copied().unwrap_or(1);
            state.steering.refused(origin, busy, now);
        });
    }

    /// Records that an origin delivered a block.
    pub(crate) fn delivered(&self, origin: OriginNumber) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.steering.delivered(origin);
    }

    /// Records a failure of an origin, and returns whether the origin is dropped for it.
    pub(crate) fn failed(&self, origin: OriginNumber, error: &SourceError) -> Verdict {
        let now = self.now();
        let verdict = self.state(|state| state.steering.failed(origin, now, error.retry_after));
        if verdict == Verdict::Dropped {
            self.drop_origin(origin, OriginFault::KeptFailing, &error.message);
        }
        verdict
    }

    /// Drops an origin for the rest of the fetch. The first reason is the one that is reported.
    pub(crate) fn drop_origin(&self, origin: OriginNumber, fault: OriginFault, reason: &str) {
        self.state(|state| state.steering.drop_origin(origin));
        let is_first = self
            .progress
            .get(origin)
            .is_some_and(|origin| origin.drop_for(fault, reason));
        if is_first {
            tracing::warn!(origin = self.name(origin), reason, "origin dropped");
        }
    }

    /// The statistics of each origin.
    pub(crate) fn statistics(&self) -> Vec<OriginSnapshot> {
        self.progress.iter().map(|origin| origin.snapshot()).collect()
    }
}

impl<'a> Slot<'a> {
    /// Marks the slot as busy, until the result is dropped.
    pub(crate) fn busy(&'a self) -> Busy<'a> {
        self.origins.state(|state| state.busy[self.origin] += 1);
        Busy(self)
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        self.origins.state(|state| state.held[self.origin] -= 1);
    }
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        let Self(slot) = self;
        slot.origins.state(|state| state.busy[slot.origin] -= 1);
    }
}
