//! What the file workers of a fetch share.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::active::ActiveFile;
use super::buffers::Buffers;
use super::queue::Queue;
use crate::model::error::FetchError;
use crate::observe::progress::Progress;
use crate::store::{Arrangement, Store};
use crate::transfer::budget::Budget;
use crate::transfer::origins::Origins;
use crate::transfer::reuse::Reuse;
use crate::transfer::reuse::content::Content;
use crate::transfer::schedule::shared::SharedSchedule;
use crate::transfer::settings::Settings;
use crate::transfer::stop::Stop;

/// What the file workers of a fetch share.
pub(crate) struct Workers {
    pub(crate) settings: Arc<Settings>,
    pub(crate) budget: Budget,
    pub(crate) origins: Arc<Origins>,
    pub(crate) schedule: Arc<SharedSchedule<ActiveFile>>,
    pub(crate) buffers: Arc<Buffers>,
    pub(crate) progress: Progress,
    pub(crate) store: Store,
    pub(crate) arrangement: Arrangement,
    pub(crate) reuse: Reuse,
    pub(crate) queue: Mutex<Queue>,
    pub(crate) staging: StagingState,
    pub(crate) stop: Arc<Stop>,
}

impl Workers {
    /// Locks the queue of contents.
    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of complete blocks that may be written but not durable.
    pub(super) fn unsynced_bytes(&self) -> u64 {
        self.budget.written_bytes(self.origins.connections())
    }
}

/// Which contents of the revision are staged, and which are published in place.
#[derive(Debug, Default)]
pub(crate) struct StagingState {
    is_any_staged: AtomicBool,
    in_place: Mutex<Vec<Content>>,
}

impl StagingState {
    /// The initial state; `is_any_staged` says whether others stage a part of the revision.
    pub(crate) fn new(is_any_staged: bool) -> Self {
        Self {
            is_any_staged: AtomicBool::new(is_any_staged),
            in_place: Mutex::default(),
        }
    }

    /// Records that a content is staged.
    pub(super) fn set_staged(&self) {
        self.is_any_staged.store(true, Ordering::Release);
    }

    /// Records that a content is published in this same revision.
    pub(super) fn add_in_place(&self, content: Content) {
        self.in_place
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(content);
    }

    /// Completes the staging of a revision that is published in part. If nothing was staged and no link is missing, the
    /// published revision stays as it is; else all of it is staged, to replace the published one.
    pub(crate) fn finish(&self, store: &Store, reuse: &Reuse, arrangement: &Arrangement) -> Result<(), FetchError> {
        let in_place = self.in_place.lock().unwrap_or_else(PoisonError::into_inner);
        if in_place.is_empty() {
            return Ok(());
        }
        if !self.is_any_staged.load(Ordering::Acquire) && store.is_laid_out(arrangement) {
            return Ok(store.unstage(&arrangement.id)?);
        }
        for content in in_place.iter() {
            reuse.stage_in_place(store, content)?;
        }
        Ok(())
    }
}
