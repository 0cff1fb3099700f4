//! What the connections of a fetch share.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use super::bandwidth::Bandwidth;
use super::local::Readers;
use super::patience::Patience;
use super::pauses::Pauses;
use crate::observe::progress::Progress;
use crate::transfer::file::active::ActiveFile;
use crate::transfer::file::buffers::Buffers;
use crate::transfer::origins::Origins;
use crate::transfer::schedule::piece_length::{Bounds, PieceLength};
use crate::transfer::schedule::shared::SharedSchedule;
use crate::transfer::settings::Settings;
use crate::transfer::stop::Stop;

/// What the connections of a fetch share.
pub(crate) struct Requests {
    pub(crate) settings: Arc<Settings>,
    pub(crate) client: reqwest::Client,
    pub(crate) origins: Arc<Origins>,
    pub(crate) schedule: Arc<SharedSchedule<ActiveFile>>,
    pub(crate) buffers: Arc<Buffers>,
    pub(crate) progress: Progress,
    pub(crate) piece_length: Mutex<PieceLength>,
    /// One permit per block that is started but not durable. A kill loses these blocks.
    pub(crate) unsynced: Arc<Semaphore>,
    /// Running writes, including those of connections that have ended.
    pub(crate) writes: TaskTracker,
    pub(crate) pauses: Pauses,
    pub(crate) readers: Readers,
    pub(crate) bandwidth: Option<Bandwidth>,
    pub(crate) seeds: AtomicU64,
    pub(crate) stop: Arc<Stop>,
}

impl Requests {
    /// Adjusts the length of pieces to a response. One of less than a block is ignored: it says little about throughput.
    pub(super) fn learn_piece_length(&self, first_byte: Duration, bytes: u64, body: Duration) {
        if bytes < self.settings.block_bytes {
            return;
        }
        let mut length = self.piece_length.lock().unwrap_or_else(PoisonError::into_inner);
        length.observe(first_byte, bytes, body);
        let blocks = |bytes| bytes / self.settings.block_bytes;
        self.schedule
            .set_pieces(blocks(length.bytes()), blocks(length.last_bytes()), length.distance());
    }

    /// Sets the number of connections, and adapts the bounds of pieces to it.
    pub(crate) fn set_connections(&self, connections: usize) {
        self.schedule.set_connections(connections);
        self.piece_length
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .set_bounds(Bounds::new(&self.settings, connections));
    }

    /// The retries of a new piece.
    pub(super) fn patience(&self) -> Patience {
        Patience::new(self.origins.is_single(), self.settings.retry, self.next_seed())
    }

    /// The seed of the jitter of a new sequence of pauses.
    pub(super) fn next_seed(&self) -> u64 {
        self.seeds.fetch_add(1, Ordering::Relaxed)
    }
}
