//! Where files under way and the connections that fetch them meet.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::active::ActiveFile;
use super::schedule::{FileNumber, Limits, Piece, Schedule};

/// The files under way, and what is to be asked for next.
#[derive(Debug)]
pub(super) struct Board {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    schedule: Schedule,
    files: HashMap<FileNumber, Arc<ActiveFile>>,
    next_number: FileNumber,
    closed: bool,
}

impl Board {
    pub(super) fn new(limits: Limits) -> Self {
        let state = State {
            schedule: Schedule::new(limits),
            files: HashMap::new(),
            next_number: 0,
            closed: false,
        };
        Self {
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a file up, of which some blocks are there already and the first ones are hashed.
    pub(super) fn add(
        &self,
        file: Arc<ActiveFile>,
        blocks: u64,
        written: impl IntoIterator<Item = u64>,
        hashed: u64,
    ) -> FileNumber {
        let mut state = self.state();
        let number = state.next_number;
        state.next_number += 1;
        state.schedule.add(number, blocks, written, hashed);
        state.files.insert(number, file);
        drop(state);
        self.changed.notify_waiters();
        number
    }

    /// Lets go of a file.
    pub(super) fn remove(&self, file: FileNumber) {
        let mut state = self.state();
        state.schedule.remove(file);
        state.files.remove(&file);
    }

    /// How many files are under way.
    pub(super) fn files(&self) -> u64 {
        self.state().files.len() as u64
    }

    /// The next piece and its file, waited for; `None` when nothing will come any more.
    pub(super) async fn next(&self) -> Option<(Piece, Arc<ActiveFile>)> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Before looking, so that no change between looking and waiting is missed.
            changed.as_mut().enable();
            {
                let mut state = self.state();
                if state.closed {
                    return None;
                }
                if let Some(piece) = state.schedule.next()
                    && let Some(file) = state.files.get(&piece.file).cloned()
                {
                    return Some((piece, file));
                }
            }
            changed.await;
        }
    }

    /// From now on pieces have this many blocks.
    pub(super) fn set_piece_blocks(&self, blocks: u64) {
        self.state().schedule.set_piece_blocks(blocks);
    }

    /// A block of a piece under way is written.
    pub(super) fn written(&self, file: FileNumber, block: u64) {
        self.state().schedule.written(file, block);
    }

    /// A piece has ended.
    pub(super) fn ended(&self, piece: &Piece) {
        self.state().schedule.ended(piece);
        self.changed.notify_waiters();
    }

    /// The hash of a file has come to a block.
    pub(super) fn hashed(&self, file: FileNumber, blocks: u64) {
        self.state().schedule.hashed(file, blocks);
        self.changed.notify_waiters();
    }

    /// The server of a file ignores ranges.
    pub(super) fn read_in_sequence(&self, file: FileNumber) {
        self.state().schedule.read_in_sequence(file);
    }

    /// Nothing will come any more.
    pub(super) fn close(&self) {
        self.state().closed = true;
        self.changed.notify_waiters();
    }
}
