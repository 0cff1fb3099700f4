//! Makes blocks durable on a separate thread, so that a slow sync does not delay the hash.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::OwnedSemaphorePermit;

use crate::disk::block_file::Disk;
use crate::disk::page_cache::forget;
use crate::model::error::{FetchError, StorageError};
use crate::store::journal::{Checkpoint, Journal};

/// Blocks to make durable with one sync.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Written blocks, each with its CRC-32C.
    pub(crate) blocks: Vec<(u64, u32)>,
    /// The permits of these blocks, released when they are durable.
    pub(crate) permits: Vec<OwnedSemaphorePermit>,
    /// How far the file is hashed.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// Offset and length of the bytes that will not be read again.
    pub(crate) done_with: (u64, u64),
}

/// A journal that a separate thread writes, one batch after the other.
#[derive(Debug)]
pub(crate) struct Durable {
    disk: Arc<Disk>,
    /// Name for error messages.
    label: PathBuf,
    /// `None` while a batch is running, and after one failed.
    journal: Option<Journal>,
    running: Option<JoinHandle<Result<Journal, StorageError>>>,
}

impl Durable {
    pub(crate) fn new(disk: Arc<Disk>, label: &str, journal: Journal) -> Self {
        Self {
            disk,
            label: label.into(),
            journal: Some(journal),
            running: None,
        }
    }

    /// Whether the next batch would start without waiting.
    pub(crate) fn is_idle(&self) -> bool {
        self.running.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the previous batch, then starts to sync and journal this one.
    pub(crate) fn begin(&mut self, batch: Batch) -> Result<(), FetchError> {
        self.finish()?;
        let Some(journal) = self.journal.take() else {
            return Err(FetchError::Internal("journal used after it failed".to_owned()));
        };
        let (disk, label) = (Arc::clone(&self.disk), self.label.clone());
        let started = std::thread::Builder::new()
            .name("sync".to_owned())
            .spawn(move || sync(&disk, &label, journal, &batch));
        self.running =
            Some(started.map_err(|error| FetchError::Internal(format!("cannot start the sync thread: {error}")))?);
        Ok(())
    }

    /// Waits until the running batch is durable.
    pub(crate) fn finish(&mut self) -> Result<(), FetchError> {
        if let Some(running) = self.running.take() {
            let ended = running
                .join()
                .map_err(|_| FetchError::Internal("sync thread panicked".to_owned()))?;
            self.journal = Some(ended?);
        }
        Ok(())
    }
}

fn sync(disk: &Disk, label: &Path, mut journal: Journal, batch: &Batch) -> Result<Journal, StorageError> {
    disk.file().sync_data().map_err(StorageError::at("sync", label))?;
    journal
        .append(&batch.blocks, batch.checkpoint.as_ref())
        .map_err(StorageError::at("write the journal of", label))?;
    // Page cache counts toward our memory limit, and hashed, durable bytes are not read again.
    let (offset, length) = batch.done_with;
    forget(disk.file(), offset, length);
    Ok(journal)
}
