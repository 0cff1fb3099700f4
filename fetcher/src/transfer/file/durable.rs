//! Makes blocks durable beside the hash: a disk that takes its time to sync does not hold it up.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::OwnedSemaphorePermit;

use crate::disk::block_file::Disk;
use crate::disk::page_cache::forget;
use crate::model::error::{FetchError, StorageError};
use crate::store::journal::{Checkpoint, Journal};

/// What is to be made durable at once.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    /// Blocks written, with their CRC-32C.
    pub(crate) blocks: Vec<(u64, u32)>,
    /// The share of these blocks in what may be received and not yet durable.
    pub(crate) permits: Vec<OwnedSemaphorePermit>,
    /// How far the hash has come.
    pub(crate) checkpoint: Option<Checkpoint>,
    /// Offset and length of what nobody will read again.
    pub(crate) done_with: (u64, u64),
}

/// A journal that is written by a thread of its own, one batch after the other.
#[derive(Debug)]
pub(crate) struct Durable {
    disk: Arc<Disk>,
    /// Name for error messages.
    label: PathBuf,
    /// Away while a batch is under way, and after one failed.
    journal: Option<Journal>,
    under_way: Option<JoinHandle<Result<Journal, StorageError>>>,
}

impl Durable {
    pub(crate) fn new(disk: Arc<Disk>, label: &str, journal: Journal) -> Self {
        Self {
            disk,
            label: label.into(),
            journal: Some(journal),
            under_way: None,
        }
    }

    /// Whether a batch would be begun at once.
    pub(crate) fn is_idle(&self) -> bool {
        self.under_way.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Makes a batch durable and notes it, after the one before.
    pub(crate) fn begin(&mut self, batch: Batch) -> Result<(), FetchError> {
        self.finish()?;
        let Some(journal) = self.journal.take() else {
            return Err(FetchError::Internal("a journal was used after it failed".to_owned()));
        };
        let (disk, label) = (Arc::clone(&self.disk), self.label.clone());
        let started = std::thread::Builder::new()
            .name("sync".to_owned())
            .spawn(move || sync(&disk, &label, journal, &batch));
        self.under_way =
            Some(started.map_err(|error| FetchError::Internal(format!("cannot start a thread: {error}")))?);
        Ok(())
    }

    /// Waits until everything begun is durable.
    pub(crate) fn finish(&mut self) -> Result<(), FetchError> {
        if let Some(under_way) = self.under_way.take() {
            let ended = under_way
                .join()
                .map_err(|_| FetchError::Internal("a sync ended early".to_owned()))?;
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
    // The page cache is charged to us; what is hashed and durable is not needed again.
    let (offset, length) = batch.done_with;
    forget(disk.file(), offset, length);
    Ok(journal)
}
