//! The origins of a fetch while it runs: who offers what, who is asked by how many connections, and who was dropped.

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

/// A place that offers files of the model.
#[derive(Clone)]
pub struct Origin {
    /// What it is called where people read.
    pub name: String,
    /// Says where its bytes are.
    pub source: Arc<dyn Source>,
    /// Its name for the revision.
    pub revision: String,
    /// What it lists. Of a file only those origins are asked that list its digest and its size.
    pub files: Vec<RemoteFile>,
}

/// All origins of a fetch.
pub(crate) struct Origins {
    all: Vec<Origin>,
    offers: Vec<HashMap<(ContentDigest, u64), RemoteFile>>,
    begun: Instant,
    progress: Vec<Arc<OriginProgress>>,
    state: Mutex<State>,
    changed: Notify,
}

struct State {
    steering: Steering,
    /// Connections that have a slot.
    held: Vec<usize>,
    /// Of them, those that ask for something.
    busy: Vec<usize>,
    /// Bytes received at the last look.
    looked: Vec<u64>,
}

/// What follows from a sample of the origins.
pub(crate) struct Steered {
    /// They are not to be asked now.
    pub(crate) closed: Vec<OriginNumber>,
    /// It is to let go of a connection that another one lacks.
    pub(crate) surplus: Option<OriginNumber>,
    /// Connections that they share from now on.
    pub(crate) connections: usize,
}

/// The right to ask an origin with one connection.
pub(crate) struct Slot<'a> {
    pub(crate) origin: OriginNumber,
    origins: &'a Origins,
}

/// An origin is being asked.
pub(crate) struct Busy<'a>(&'a Slot<'a>);

impl Origins {
    /// Origins to share so many connections at most; one that fails so often in a row is given up.
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
            begun: Instant::now(),
            progress: progress.set_origins(all.iter().map(|origin| origin.name.as_str())),
            state: Mutex::new(State {
                steering: Steering::new(all.len(), connections, attempts),
                held: vec![0; all.len()],
                busy: vec![0; all.len()],
                looked: vec![0; all.len()],
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
        self.begun.elapsed()
    }

    /// Whether there is no choice.
    pub(crate) fn is_single(&self) -> bool {
        self.all.len() == 1
    }

    /// Whether other connections ask an origin, too.
    pub(crate) fn is_shared(&self, origin: OriginNumber) -> bool {
        self.state(|state| state.busy.get(origin).is_some_and(|busy| *busy > 1))
    }

    pub(crate) fn count(&self) -> usize {
        self.all.len()
    }

    pub(crate) fn get(&self, origin: OriginNumber) -> Option<&Origin> {
        self.all.get(origin)
    }

    /// What an origin is called.
    pub(crate) fn name(&self, origin: OriginNumber) -> &str {
        self.all.get(origin).map_or("", |origin| origin.name.as_str())
    }

    /// Why none of the origins can be asked any more.
    pub(crate) fn no_origin_left(&self) -> Withdrawal {
        let reasons: Vec<String> = self
            .outcome()
            .iter()
            .filter_map(|origin| Some(format!("{} {}", origin.name, origin.dropped()?)))
            .collect();
        Withdrawal {
            offset: None,
            error: SourceError::new(
                FailureClass::SourceUnreachable,
                format!("no origin is left to ask: {}", reasons.join("; ")),
            ),
        }
    }

    /// An origin's own file with the bytes of a file.
    pub(crate) fn offer(&self, origin: OriginNumber, file: &RemoteFile) -> Option<&RemoteFile> {
        self.offers.get(origin)?.get(&(file.digest, file.size))
    }

    /// The origins that offer the bytes of a file and may be asked, now or later.
    pub(crate) fn offering(&self, file: &RemoteFile) -> Vec<OriginNumber> {
        let offering = (0..self.all.len()).filter(|origin| self.offer(*origin, file).is_some());
        self.state(|state| offering.filter(|origin| !state.steering.is_out(*origin)).collect())
    }

    /// Whether an origin will never be asked again.
    pub(crate) fn is_out(&self, origin: OriginNumber) -> bool {
        self.state(|state| state.steering.is_out(origin))
    }

    /// A slot at the origin that is furthest from the connections it is to have, waited for.
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

    /// Connections that they share now.
    pub(crate) fn connections(&self) -> usize {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .steering
            .connections()
    }

    /// Takes in what came since the last look, what there is to ask for, and whether it is as much as can be hashed.
    pub(crate) fn steer(&self, demands: &[Demand], is_enough: bool) -> Steered {
        let now = self.now();
        let received: Vec<u64> = self.progress.iter().map(|origin| origin.bytes()).collect();
        let look = self.state(|state| {
            let samples: Vec<Sample> = received
                .iter()
                .zip(&state.looked)
                .zip(&state.busy)
                .map(|((received, looked), busy)| Sample {
                    bytes: received - looked,
                    busy: *busy,
                })
                .collect();
            state.looked = received;
            state.steering.look(now, &samples, demands, is_enough);
            Steered {
                closed: (0..samples.len())
                    .filter(|origin| !state.steering.is_open(*origin))
                    .collect(),
                surplus: state.steering.surplus_holder(&state.held),
                connections: state.steering.connections(),
            }
        });
        for (number, origin) in self.progress.iter().enumerate() {
            origin.set_resting(look.closed.contains(&number));
        }
        look
    }

    /// Bytes came from an origin.
    pub(crate) fn received(&self, origin: OriginNumber, bytes: u64) {
        if let Some(origin) = self.progress.get(origin) {
            origin.received(bytes);
        }
    }

    /// A request to an origin failed.
    pub(crate) fn troubled(&self, origin: OriginNumber, error: &SourceError) {
        if let Some(origin) = self.progress.get(origin) {
            origin.failed(&error.message);
        }
    }

    /// An origin refused because it is asked too much.
    pub(crate) fn refused(&self, origin: OriginNumber) {
        let now = self.now();
        self.state(|state| {
            let busy = state.busy.get(origin).copied().unwrap_or(1);
            state.steering.refused(origin, busy, now);
        });
    }

    /// An origin brought a block.
    pub(crate) fn brought(&self, origin: OriginNumber) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.steering.brought(origin);
    }

    /// An origin failed, without bytes gained since the last failure.
    pub(crate) fn failed(&self, origin: OriginNumber, error: &SourceError) -> Verdict {
        let now = self.now();
        let verdict = self.state(|state| state.steering.failed(origin, now, error.retry_after));
        if verdict == Verdict::GivenUp {
            self.drop_origin(origin, OriginFault::KeptFailing, &error.message);
        }
        verdict
    }

    /// Does not ask an origin any more; the first reason is the one told.
    pub(crate) fn drop_origin(&self, origin: OriginNumber, fault: OriginFault, reason: &str) {
        self.state(|state| state.steering.give_up(origin));
        let is_news = self
            .progress
            .get(origin)
            .is_some_and(|origin| origin.drop_for(fault, reason));
        if is_news {
            tracing::warn!(origin = self.name(origin), reason, "an origin is not asked any more");
        }
    }

    /// What each was good for.
    pub(crate) fn outcome(&self) -> Vec<OriginSnapshot> {
        self.progress.iter().map(|origin| origin.snapshot()).collect()
    }
}

impl<'a> Slot<'a> {
    /// For as long as the origin is being asked for something.
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
