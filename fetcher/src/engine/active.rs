//! A file under way, as the connections see it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use tokio::sync::OwnedSemaphorePermit;

use super::buffers::Kept;
use super::disk::Disk;
use super::locations::Locations;
use super::schedule::OriginNumber;
use crate::error::StorageError;
use crate::progress::FileProgress;
use crate::source::RemoteFile;

/// A block that was written, but is not durable yet.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) block: u64,
    /// Who brought it.
    pub(super) origin: OriginNumber,
    /// CRC-32C of what was written.
    pub(super) checksum: u32,
    /// What was written, for the hash.
    pub(super) kept: Kept,
    /// Its share in what may be received and not yet durable; given back when it is.
    pub(super) unsynced: Option<OwnedSemaphorePermit>,
}

/// A file at one of its origins.
#[derive(Debug)]
pub(super) struct Offer {
    /// The origin's own name for it.
    pub(super) remote: RemoteFile,
    pub(super) locations: Locations,
}

/// What connections need to fetch pieces of a file.
#[derive(Debug)]
pub(super) struct ActiveFile {
    pub(super) remote: RemoteFile,
    pub(super) disk: Arc<Disk>,
    /// Name for error messages.
    pub(super) label: String,
    pub(super) block_bytes: u64,
    /// Its disk takes it from the beginning to the end only.
    pub(super) in_sequence: bool,
    /// Who offers it.
    pub(super) offers: BTreeMap<OriginNumber, Offer>,
    /// Tells the file's lane what was written.
    pub(super) written: Sender<Written>,
    /// Counts for those who watch.
    pub(super) progress: Arc<FileProgress>,
}

impl ActiveFile {
    /// The bytes of some blocks; the last block of a file may be short.
    pub(super) fn bytes(&self, blocks: &Range<u64>) -> Range<u64> {
        let end = (blocks.end * self.block_bytes).min(self.remote.size);
        blocks.start * self.block_bytes..end
    }

    /// Says what was tried on the file, for `map_err`.
    pub(super) fn storage(&self, action: &'static str) -> impl FnOnce(std::io::Error) -> StorageError + use<> {
        let (path, file) = (self.label.clone(), self.remote.path.clone());
        move |source| StorageError::at(action, Path::new(&path))(source).of(&file)
    }
}
