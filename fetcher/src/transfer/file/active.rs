//! A file under way, as the connections see it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use tokio::sync::OwnedSemaphorePermit;

use super::buffers::Kept;
use crate::disk::block_file::Disk;
use crate::model::error::StorageError;
use crate::model::remote_file::RemoteFile;
use crate::observe::progress::FileProgress;
use crate::transfer::origins::locations::Locations;
use crate::transfer::schedule::OriginNumber;

/// A block that was written, but is not durable yet.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) block: u64,
    /// Who brought it.
    pub(crate) origin: OriginNumber,
    /// CRC-32C of what was written.
    pub(crate) checksum: u32,
    /// What was written, for the hash.
    pub(crate) kept: Kept,
    /// Its share in what may be received and not yet durable; given back when it is.
    pub(crate) unsynced: Option<OwnedSemaphorePermit>,
}

/// A file at one of its origins.
#[derive(Debug)]
pub(crate) struct Offer {
    /// The origin's own name for it.
    pub(crate) remote: RemoteFile,
    pub(crate) locations: Locations,
}

/// What connections need to fetch pieces of a file.
#[derive(Debug)]
pub(crate) struct ActiveFile {
    pub(crate) remote: RemoteFile,
    pub(crate) disk: Arc<Disk>,
    /// Name for error messages.
    pub(crate) label: String,
    pub(crate) block_bytes: u64,
    /// Who offers it.
    pub(crate) offers: BTreeMap<OriginNumber, Offer>,
    /// Tells the file's lane what was written.
    pub(crate) written: Sender<Written>,
    /// Counts for those who watch.
    pub(crate) progress: Arc<FileProgress>,
}

impl ActiveFile {
    /// The bytes of some blocks; the last block of a file may be short.
    pub(crate) fn bytes(&self, blocks: &Range<u64>) -> Range<u64> {
        let end = (blocks.end * self.block_bytes).min(self.remote.size);
        blocks.start * self.block_bytes..end
    }

    /// Says what was tried on the file, for `map_err`.
    pub(crate) fn storage(&self, action: &'static str) -> impl FnOnce(std::io::Error) -> StorageError + use<> {
        let (path, file) = (self.label.clone(), self.remote.path.clone());
        move |source| StorageError::at(action, Path::new(&path))(source).of(&file)
    }
}
