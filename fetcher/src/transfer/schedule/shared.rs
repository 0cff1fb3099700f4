//! The schedule behind a lock, shared by file workers and connections. `F` is what a connection needs to fetch a file.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::piece::InFlight;
use super::piece_length::Distance;
use super::{Claim, Demand, FileNumber, Limits, OriginNumber, Piece, PieceNumber, Schedule};
use crate::model::error::{FetchError, SourceError};
use crate::model::path::FilePath;

/// How often an idle connection checks for a slow piece to steal from.
const STEAL_CHECK_INTERVAL: Duration = Duration::from_millis(200);

/// The active files, and which pieces to request next.
#[derive(Debug)]
pub(crate) struct SharedSchedule<F> {
    started: Instant,
    state: Mutex<State<F>>,
    changed: Notify,
}

#[derive(Debug)]
struct State<F> {
    schedule: Schedule,
    files: HashMap<FileNumber, Arc<F>>,
    /// Cancels the fetch of a piece in flight.
    tokens: HashMap<PieceNumber, CancellationToken>,
    next_number: FileNumber,
    /// Files that no origin offers any more, each with the last failure.
    orphans: HashMap<FileNumber, Withdrawal>,
    /// Whether the fetch has only one origin.
    is_single: bool,
}

/// Why an origin no longer offers a file.
#[derive(Clone, Debug)]
pub(crate) struct Withdrawal {
    /// The byte at which a request failed, if one did.
    pub(crate) offset: Option<u64>,
    pub(crate) error: SourceError,
}

impl Withdrawal {
    /// The error of the fetch for the given file.
    pub(crate) fn for_file(self, file: &FilePath) -> FetchError {
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
    /// Cancelled when the piece is no longer needed, or no longer from this origin.
    pub(crate) token: CancellationToken,
}

impl<F> SharedSchedule<F> {
    pub(crate) fn new(limits: Limits, origins: usize) -> Self {
        let state = State {
            schedule: Schedule::new(limits),
            files: HashMap::new(),
            tokens: HashMap::new(),
            next_number: 0,
            orphans: HashMap::new(),
            is_single: origins == 1,
        };
        Self {
            started: Instant::now(),
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<F>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a file: the origins that offer it, its blocks on disk, and how many are hashed. With `in_sequence` it is read from
    /// start to end, one request at a time.
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

    /// Removes a file and cancels its incomplete pieces.
    pub(crate) fn remove(&self, file: FileNumber) {
        let mut state = self.state();
        // A connection with a complete piece still reads the body to its end, so that it can be reused.
        state.cancel(|piece| piece.file == file && piece.left() > 0);
        state.schedule.remove(file);
        state.files.remove(&file);
        state.orphans.remove(&file);
    }

    /// Cancels all pieces of an origin, so that others fetch them.
    pub(crate) fn cancel_origin(&self, origin: OriginNumber) {
        self.state().cancel(|piece| piece.origin == origin);
    }

    /// Cancels the piece of an origin that would end last, if that is worth it.
    pub(crate) fn cancel_slowest(&self, origin: OriginNumber) {
        let now = self.started.elapsed();
        let mut state = self.state();
        if let Some(piece) = state.schedule.slowest(origin, now) {
            state.cancel_piece(piece);
        }
    }

    /// Records that an origin no longer offers a file, because of a failure.
    pub(crate) fn withdraw(&self, file: FileNumber, origin: OriginNumber, failure: Withdrawal) {
        self.state().withdraw(file, origin, failure);
    }

    /// Records that an origin no longer offers any file, and cancels its pieces.
    pub(crate) fn withdraw_all(&self, origin: OriginNumber, reason: &SourceError) {
        let mut state = self.state();
        state.cancel(|piece| piece.origin == origin);
        let files: Vec<_> = state.files.keys().copied().collect();
        for file in files {
            let failure = Withdrawal {
                offset: None,
                error: reason.clone(),
            };
            state.withdraw(file, origin, failure);
        }
    }

    /// Whether no origin offers a file any more, and none of its blocks is on the way.
    pub(crate) fn is_orphaned(&self, file: FileNumber) -> bool {
        let state = self.state();
        state.orphans.contains_key(&file) && state.schedule.is_idle(file)
    }

    /// Takes the failure after which no origin offered a file any more.
    pub(crate) fn take_failure(&self, file: FileNumber) -> Option<Withdrawal> {
        self.state().orphans.remove(&file)
    }

    /// What there is to request from each origin.
    pub(crate) fn demands(&self, origins: usize) -> Vec<Demand> {
        let state = self.state();
        (0..origins)
            .map(|origin| {
                let (is_any, is_exclusive) = state.schedule.demand(origin);
                Demand { is_any, is_exclusive }
            })
            .collect()
    }

    /// Number of files of more than one block that have pieces in flight.
    pub(crate) fn arriving_files(&self) -> u64 {
        self.state().schedule.arriving_files()
    }

    /// The next piece for an origin. Waits a moment for one; `None` if there is none.
    pub(crate) async fn next(&self, origin: OriginNumber) -> Option<Task<F>> {
        let changed = self.changed.notified();
        tokio::pin!(changed);
        // Registered before the check, so that no change between the check and the wait is missed.
        changed.as_mut().enable();
        if let Some(task) = self.try_next(origin) {
            return Some(task);
        }
        let _ = timeout(STEAL_CHECK_INTERVAL, changed).await;
        self.try_next(origin)
    }

    fn try_next(&self, origin: OriginNumber) -> Option<Task<F>> {
        let now = self.started.elapsed();
        let mut state = self.state();
        let piece = state.schedule.next(origin, now)?;
        let file = state.files.get(&piece.file).cloned()?;
        let token = CancellationToken::new();
        state.tokens.insert(piece.number, token.clone());
        if state.is_single {
            // Each connection wakes the next one as long as there are pieces.
            self.wake(&state);
        }
        Some(Task { piece, file, token })
    }

    /// Sets the number of pieces that may be in flight.
    pub(crate) fn set_connections(&self, connections: usize) {
        self.state().schedule.set_connections(connections as u64);
    }

    /// Whether the source of some file is fast compared to the hash.
    pub(crate) fn is_hash_busy(&self) -> bool {
        self.state().schedule.is_hash_busy()
    }

    /// Records that no further file of more than one block will be added.
    pub(crate) fn set_all_files_added(&self) {
        self.state().schedule.set_all_files_added();
    }

    /// Sets the blocks of a piece, the least of the last pieces, and the sources' distance.
    pub(crate) fn set_pieces(&self, blocks: u64, last: u64, distance: Distance) {
        self.state().schedule.set_pieces(blocks, last, distance);
    }

    /// Records that a block of a piece has arrived completely. Cancels a duplicate of it.
    pub(crate) fn claim(&self, piece: &Piece, block: u64) -> Claim {
        let mut state = self.state();
        let claim = state.schedule.claim(piece, block);
        if claim.is_first
            && let Some(duplicate) = state.schedule.duplicate_of(piece, block)
        {
            state.cancel_piece(duplicate);
        }
        claim
    }

    /// Records that a claimed block is written.
    pub(crate) fn written(&self, file: FileNumber, block: u64) {
        self.state().schedule.written(file, block);
    }

    /// Records the end of a piece.
    pub(crate) fn ended(&self, piece: &Piece) {
        let now = self.started.elapsed();
        let mut state = self.state();
        state.tokens.remove(&piece.number);
        state.schedule.ended(piece, now);
        self.wake(&state);
    }

    /// Records that the first `blocks` of a file are hashed, and how long the last one took.
    pub(crate) fn hashed(&self, file: FileNumber, blocks: u64, took: Duration) {
        let now = self.started.elapsed();
        let mut state = self.state();
        state.schedule.hashed(file, blocks, took, now);
        self.wake(&state);
    }

    /// Wakes a connection if there is a piece for it. With several origins it wakes all, since they offer different files.
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

    /// Records that an origin ignores ranges. Returns whether the file is read from it in one stream, as no other is left.
    pub(crate) fn ignores_ranges(&self, file: FileNumber, origin: OriginNumber) -> bool {
        self.state().schedule.ignores_ranges(file, origin)
    }
}

impl<F> State<F> {
    /// Withdraws a file from an origin. If no other origin offers it, keeps the failure for the file worker.
    fn withdraw(&mut self, file: FileNumber, origin: OriginNumber, failure: Withdrawal) {
        if self.schedule.withdraw(file, origin) {
            return;
        }
        self.orphans.entry(file).or_insert(failure);
        self.cancel(|piece| piece.file == file);
    }

    /// Cancels the pieces in flight that match.
    fn cancel(&self, is_meant: impl Fn(&InFlight) -> bool) {
        for (number, token) in &self.tokens {
            if self.schedule.in_flight(*number).is_some_and(&is_meant) {
                token.cancel();
            }
        }
    }

    fn cancel_piece(&self, piece: PieceNumber) {
        if let Some(token) = self.tokens.get(&piece) {
            token.cancel();
        }
    }
}
