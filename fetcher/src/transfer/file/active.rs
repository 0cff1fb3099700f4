//! An active file, as the connections see it.

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

/// A block that was written but is not durable yet.
#[derive(Debug)]
pub(crate) struct Written {
    pub(crate) block: u64,
    /// The origin that delivered it.
    pub(crate) origin: OriginNumber,
    /// CRC-32C of its bytes.
    pub(crate) checksum: u32,
    /// Its bytes in memory, for the hash.
    pub(crate) kept: Kept,
    /// Permit for a block that is not durable yet. Released once it is.
    pub(crate) unsynced: Option<OwnedSemaphorePermit>,
}

/// A file as one of its origins offers it.
#[derive(Debug)]
pub(crate) struct Offer {
    /// The file as this origin lists it.
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
    /// The origins that offer it.
    pub(crate) offers: BTreeMap<OriginNumber, Offer>,
    /// Sends written blocks to the file worker.
    pub(crate) written: Sender<Written>,
    /// Progress of this file.
    pub(crate) progress: Arc<FileProgress>,
}

impl ActiveFile {
    /// The byte range of blocks. The last block of a file may be shorter.
    pub(crate) fn bytes(&self, blocks: &Range<u64>) -> Range<u64> {
        let end = (blocks.end * self.block_bytes).min(self.remote.size);
        blocks.start * self.block_bytes..end
    }

    /// Adds the action and the file to an I/O error, for `map_err`.
    pub(crate) fn storage(&self, action: &'static str) -> impl FnOnce(std::io::Error) -> StorageError + use<> {
        let (path, file) = (self.label.clone(), self.remote.path.clone());
        move |source| StorageError::at(action, Path::new(&path))(source).of(&file)
    }
}
