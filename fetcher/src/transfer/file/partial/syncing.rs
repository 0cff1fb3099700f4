//! Makes what was written durable, and ends a file: staged or discarded.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::Partial;
use crate::disk::files::create_folders;
use crate::disk::page_cache::forget;
use crate::model::error::{FetchError, StorageError};
use crate::store::Store;
use crate::store::journal::Checkpoint;
use crate::transfer::file::durable::Durable;

impl Partial {
    /// How long the worker may wait before a sync is due.
    pub(crate) fn sync_due_in(&self, unsynced_bytes: u64, interval: Duration) -> Option<Duration> {
        let oldest = self.oldest_unsynced?;
        if self.unsynced.blocks.len() as u64 * self.key.block_bytes >= unsynced_bytes {
            return Some(Duration::ZERO);
        }
        Some(interval.saturating_sub(oldest.elapsed()))
    }

    /// Whether a sync would begin at once.
    pub(crate) fn can_sync(&self) -> bool {
        self.durable.as_ref().is_none_or(Durable::is_idle)
    }

    /// Starts to make written blocks durable and to journal them.
    pub(crate) fn sync(&mut self) -> Result<(), FetchError> {
        self.oldest_unsynced = None;
        let Some(durable) = self.durable.as_mut().filter(|_| !self.unsynced.blocks.is_empty()) else {
            return Ok(());
        };
        let mut batch = std::mem::take(&mut self.unsynced);
        batch.checkpoint = (self.hashed > self.noted)
            .then(|| self.hasher.state())
            .flatten()
            .map(|state| Checkpoint {
                blocks: self.hashed,
                state,
            });
        let from = self.noted * self.key.block_bytes;
        batch.done_with = (from, (self.hashed * self.key.block_bytes).saturating_sub(from));
        self.noted = self.hashed;
        durable.begin(batch)
    }

    /// Waits until every started sync has ended.
    pub(crate) fn finish(&mut self) -> Result<(), FetchError> {
        self.durable.as_mut().map_or(Ok(()), Durable::finish)
    }

    /// Makes a verified file durable and moves it to the staging.
    pub(crate) fn stage(mut self, to: &Path) -> Result<(), FetchError> {
        self.finish()?;
        let label = Path::new(&self.label);
        self.disk.file().sync_all().map_err(StorageError::at("sync", label))?;
        forget(self.disk.file(), 0, 0);
        if let Some(folder) = to.parent() {
            create_folders(folder)?;
        }
        fs::rename(&self.path, to).map_err(StorageError::at("rename", label))?;
        Ok(())
    }

    /// Removes the journal, then the file.
    pub(crate) fn discard(mut self, store: &Store) -> Result<(), FetchError> {
        self.finish()?;
        remove(&store.journal(&self.key.digest))?;
        remove(&self.path)?;
        Ok(())
    }
}

/// Removes a file that may be missing.
pub(super) fn remove(path: &Path) -> Result<(), StorageError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StorageError::at("remove", path)(error)),
        _ => Ok(()),
    }
}
