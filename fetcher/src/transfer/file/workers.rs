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
    /// The contents that wait.
    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Bytes of whole blocks that may be written and not yet durable.
    pub(super) fn unsynced_bytes(&self) -> u64 {
        self.budget.written_bytes(self.origins.connections())
    }
}

/// Which part of the revision is staged, and which is published in place.
#[derive(Debug, Default)]
pub(crate) struct StagingState {
    is_any_staged: AtomicBool,
    in_place: Mutex<Vec<Content>>,
}

impl StagingState {
    /// Begins with what others stage.
    pub(crate) fn new(is_any_staged: bool) -> Self {
        Self {
            is_any_staged: AtomicBool::new(is_any_staged),
            in_place: Mutex::default(),
        }
    }

    /// A content is staged.
    pub(super) fn staged(&self) {
        self.is_any_staged.store(true, Ordering::Release);
    }

    /// A content is published in this very revision.
    pub(super) fn in_place(&self, content: Content) {
        self.in_place
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(content);
    }

    /// A revision that is published whole and intact stays as it is. One of which something was staged, or that lacks a
    /// link to its files, is staged whole, to replace the published one.
    pub(crate) fn settle(&self, store: &Store, reuse: &Reuse, arrangement: &Arrangement) -> Result<(), FetchError> {
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
