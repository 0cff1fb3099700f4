//! The schedule behind a lock, where file workers and connections meet. A file is whatever its connections need of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::piece_length::Distance;
use super::{Claim, Demand, FileNumber, Limits, OriginNumber, Piece, PieceNumber, Schedule};
use crate::model::error::{FetchError, SourceError};
use crate::model::path::FilePath;

/// How often a connection without work looks whether there is a slow piece to take over.
const GLANCE: Duration = Duration::from_millis(200);

/// The files under way, and what is to be asked for next.
#[derive(Debug)]
pub(crate) struct SharedSchedule<F> {
    begun: Instant,
    state: Mutex<State<F>>,
    changed: Notify,
}

#[derive(Debug)]
struct State<F> {
    schedule: Schedule,
    files: HashMap<FileNumber, Arc<F>>,
    /// Ends the work on a piece that nobody needs any more, or not from its origin.
    needless: HashMap<PieceNumber, CancellationToken>,
    next_number: FileNumber,
    /// The failures after which no origin offers a file any more.
    orphans: HashMap<FileNumber, Withdrawal>,
    /// There is one origin, that every connection asks.
    is_single: bool,
}

/// Why an origin no longer offers a file.
#[derive(Clone, Debug)]
pub(crate) struct Withdrawal {
    /// Where in the file it failed, if it did.
    pub(crate) offset: Option<u64>,
    pub(crate) error: SourceError,
}

impl Withdrawal {
    /// The error of the file that is concerned.
    pub(crate) fn of(self, file: &FilePath) -> FetchError {
        FetchError::Source {
            file: Some(file.clone()),
            offset: self.offset,
            source: self.error,
        }
    }
}

/// A piece to fetch.
#[derive(Debug)]
pub(crate) struct Task<F> {
    pub(crate) piece: Piece,
    pub(crate) file: Arc<F>,
    /// Nobody needs the piece any more, or not from this origin.
    pub(crate) needless: CancellationToken,
}

impl<F> SharedSchedule<F> {
    pub(crate) fn new(limits: Limits, origins: usize) -> Self {
        let state = State {
            schedule: Schedule::new(limits),
            files: HashMap::new(),
            needless: HashMap::new(),
            next_number: 0,
            orphans: HashMap::new(),
            is_single: origins == 1,
        };
        Self {
            begun: Instant::now(),
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<F>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes up a file that some origins offer, of which some blocks are there already and the first ones are hashed. One
    /// that is in sequence is read from its beginning to its end only.
    pub(crate) fn add(
        &self,
        file: Arc<F>,
        origins: Vec<OriginNumber>,
        blocks: u64,
        written: impl IntoIterator<Item = u64>,
        hashed: u64,
        in_sequence: bool,
    ) -> FileNumber {
        let mut state = self.state();
        let number = state.next_number;
        state.next_number += 1;
        state.schedule.add(number, origins, blocks, written, hashed);
        if in_sequence {
            state.schedule.write_in_sequence(number);
        }
        state.files.insert(number, file);
        drop(state);
        self.changed.notify_waiters();
        number
    }

    /// Lets go of a file.
    pub(crate) fn remove(&self, file: FileNumber) {
        let mut state = self.state();
        // A connection that has all of its piece reads the body to its end, so that it can be used again.
        state.cancel_incomplete(file);
        state.schedule.remove(file);
        state.files.remove(&file);
        state.orphans.remove(&file);
    }

    /// Lets go of everything an origin was asked for; others are asked in its place.
    pub(crate) fn leave(&self, origin: OriginNumber) {
        self.state().cancel(|asked, _| asked == origin);
    }

    /// Lets go of the piece that an origin would take longest for, if that is long.
    pub(crate) fn leave_slowest(&self, origin: OriginNumber) {
        let now = self.begun.elapsed();
        let mut state = self.state();
        if let Some(piece) = state.schedule.slowest(origin, now) {
            state.cancel_piece(piece);
        }
    }

    /// An origin no longer offers a file, after a failure.
    pub(crate) fn withdraw(&self, file: FileNumber, origin: OriginNumber, failure: Withdrawal) {
        self.state().withdraw(file, origin, failure);
    }

    /// An origin no longer offers anything, for a reason.
    pub(crate) fn withdraw_all(&self, origin: OriginNumber, reason: &SourceError) {
        let mut state = self.state();
        state.cancel(|asked, _| asked == origin);
        let files: Vec<_> = state.files.keys().copied().collect();
        for file in files {
            let failure = Withdrawal {
                offset: None,
                error: reason.clone(),
            };
            state.withdraw(file, origin, failure);
        }
    }

    /// Whether nobody offers a file any more, and nothing of it is on its way.
    pub(crate) fn is_orphaned(&self, file: FileNumber) -> bool {
        let state = self.state();
        state.orphans.contains_key(&file) && state.schedule.is_idle(file)
    }

    /// The failure after which nobody offers a file any more.
    pub(crate) fn take_failure(&self, file: FileNumber) -> Option<Withdrawal> {
        self.state().orphans.remove(&file)
    }

    /// What there is to ask each origin for.
    pub(crate) fn demands(&self, origins: usize) -> Vec<Demand> {
        let state = self.state();
        (0..origins)
            .map(|origin| {
                let (is_any, is_alone) = state.schedule.demand(origin);
                Demand { is_any, is_alone }
            })
            .collect()
    }

    /// How many files of more than a block are arriving.
    pub(crate) fn arriving_files(&self) -> u64 {
        self.state().schedule.arriving_files()
    }

    /// The next piece for an origin, waited for a little. `None` when there is nothing for it at the moment.
    pub(crate) async fn next(&self, origin: OriginNumber) -> Option<Task<F>> {
        let changed = self.changed.notified();
        tokio::pin!(changed);
        // Before looking, so that no change between looking and waiting is missed.
        changed.as_mut().enable();
        if let Some(task) = self.take(origin) {
            return Some(task);
        }
        let _ = timeout(GLANCE, changed).await;
        self.take(origin)
    }

    fn take(&self, origin: OriginNumber) -> Option<Task<F>> {
        let now = self.begun.elapsed();
        let mut state = self.state();
        let piece = state.schedule.next(origin, now)?;
        let file = state.files.get(&piece.file).cloned()?;
        let needless = CancellationToken::new();
        state.needless.insert(piece.number, needless.clone());
        if state.is_single {
            // Each wakes the next, for as long as there is something to do.
            self.wake(&state);
        }
        Some(Task { piece, file, needless })
    }

    /// From now on so many pieces may be under way.
    pub(crate) fn set_connections(&self, connections: usize) {
        self.state().schedule.set_connections(connections as u64);
    }

    /// Whether the hash of some file is busy with what comes.
    pub(crate) fn is_hash_busy(&self) -> bool {
        self.state().schedule.is_hash_busy()
    }

    /// No file of more than a block comes after those under way.
    pub(crate) fn set_last(&self) {
        self.state().schedule.set_last();
    }

    /// From now on pieces have this many blocks, and the last ones at least so many, of sources so far away.
    pub(crate) fn set_pieces(&self, blocks: u64, last: u64, distance: Distance) {
        self.state().schedule.set_pieces(blocks, last, distance);
    }

    /// A block of a piece has arrived whole.
    pub(crate) fn claim(&self, piece: &Piece, block: u64) -> Claim {
        let mut state = self.state();
        let claim = state.schedule.claim(piece, block);
        if claim.is_first
            && let Some(doubled) = state.schedule.doubled(piece, block)
        {
            state.cancel_piece(doubled);
        }
        claim
    }

    /// A block that was claimed is written.
    pub(crate) fn written(&self, file: FileNumber, block: u64) {
        self.state().schedule.written(file, block);
    }

    /// A piece has ended.
    pub(crate) fn ended(&self, piece: &Piece) {
        let now = self.begun.elapsed();
        let mut state = self.state();
        state.needless.remove(&piece.number);
        state.schedule.ended(piece, now);
        self.wake(&state);
    }

    /// The hash of a file has come to a block.
    pub(crate) fn hashed(&self, file: FileNumber, blocks: u64, took: Duration) {
        let now = self.begun.elapsed();
        let mut state = self.state();
        state.schedule.hashed(file, blocks, took, now);
        self.wake(&state);
    }

    /// Wakes a connection if there is a piece for it. Where origins differ in what they offer, all look for themselves.
    fn wake(&self, state: &State<F>) {
        if !state.schedule.has_missing() {
            return;
        }
        if state.is_single {
            self.changed.notify_one();
        } else {
            self.changed.notify_waiters();
        }
    }

    /// An origin of a file ignores ranges; whether the file is read from it in one stream, for want of another one.
    pub(crate) fn ignores_ranges(&self, file: FileNumber, origin: OriginNumber) -> bool {
        self.state().schedule.ignores_ranges(file, origin)
    }
}

impl<F> State<F> {
    /// The lane of a file that no other origin offers hears of the failure.
    fn withdraw(&mut self, file: FileNumber, origin: OriginNumber, failure: Withdrawal) {
        if self.schedule.withdraw(file, origin) {
            return;
        }
        self.orphans.entry(file).or_insert(failure);
        self.cancel(|_, number| number == file);
    }

    /// Ends the work on pieces of some origin and file.
    fn cancel(&self, is_meant: impl Fn(OriginNumber, FileNumber) -> bool) {
        for (number, needless) in &self.needless {
            if self
                .schedule
                .in_flight(*number)
                .is_some_and(|(origin, file)| is_meant(origin, file))
            {
                needless.cancel();
            }
        }
    }

    /// Ends the work on pieces of a file that have not arrived whole.
    fn cancel_incomplete(&self, file: FileNumber) {
        for (number, needless) in &self.needless {
            let is_of_file = self.schedule.in_flight(*number).is_some_and(|(_, of)| of == file);
            if is_of_file && self.schedule.is_incomplete(*number) {
                needless.cancel();
            }
        }
    }

    fn cancel_piece(&self, piece: PieceNumber) {
        if let Some(needless) = self.needless.get(&piece) {
            needless.cancel();
        }
    }
}
