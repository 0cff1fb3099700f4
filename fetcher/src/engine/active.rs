//! A file under way, as the connections see it.

use std::fs::File;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::Sender;

use super::locations::Locations;
use crate::error::StorageError;
use crate::source::RemoteFile;

/// A block that was written, but is not durable yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    pub(super) block: u64,
    /// CRC-32C of what was written.
    pub(super) checksum: u32,
}

/// What connections need to fetch pieces of a file.
#[derive(Debug)]
pub(super) struct ActiveFile {
    pub(super) remote: RemoteFile,
    pub(super) disk: Arc<File>,
    /// Name for error messages.
    pub(super) label: String,
    pub(super) block_bytes: u64,
    pub(super) locations: Locations,
    /// Tells the file's lane what was written.
    pub(super) written: Sender<Written>,
}

impl ActiveFile {
    /// The bytes of some blocks; the last block of a file may be short.
    pub(super) fn bytes(&self, blocks: &Range<u64>) -> Range<u64> {
        let end = (blocks.end * self.block_bytes).min(self.remote.size);
        blocks.start * self.block_bytes..end
    }

    /// Says what was tried on the file, for `map_err`.
    pub(super) fn storage(&self, action: &'static str) -> impl FnOnce(std::io::Error) -> StorageError + use<> {
        let path = self.label.clone();
        move |source| StorageError { action, path, source }
    }
}
