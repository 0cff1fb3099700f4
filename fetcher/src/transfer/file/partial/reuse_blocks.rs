//! Reuses intact blocks of a damaged file on this disk.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::Partial;
use crate::disk::memory::Memory;
use crate::disk::page_cache::forget;
use crate::model::error::{FetchError, StorageError};

/// Blocks reused from a damaged file that are made durable together.
const REUSED_PER_SYNC_BLOCKS: usize = 64;

impl Partial {
    /// Reuses those missing blocks of a file that have the given checksums, and returns how many. What cannot be read is
    /// damaged.
    pub(crate) fn reuse_blocks(
        &mut self,
        file: &File,
        checksums: &[u32],
        stop: &CancellationToken,
    ) -> Result<u64, FetchError> {
        let mut reused = 0;
        let mut memory = Memory::new(usize::try_from(self.key.size.min(self.key.block_bytes)).unwrap_or(usize::MAX));
        for (block, checksum) in (0..self.blocks()).zip(checksums) {
            if stop.is_cancelled() {
                return Err(FetchError::Interrupted);
            }
            if self.is_on_disk(block) {
                continue;
            }
            let offset = block * self.key.block_bytes;
            let length = usize::try_from(self.block_length(block)).unwrap_or(usize::MAX);
            let bytes = memory.first(length);
            if file.read_exact_at(bytes, offset).is_err() || crc32c::crc32c(bytes) != *checksum {
                // A file that is appended to cannot skip a block.
                if self.in_order {
                    break;
                }
                continue;
            }
            self.disk
                .write(bytes, offset)
                .map_err(|error| StorageError::at("write", Path::new(&self.label))(error).at_byte(offset))?;
            forget(file, offset, length as u64);
            self.record(block, *checksum);
            reused += 1;
            if self.durable.is_some() {
                self.unsynced.blocks.push((block, *checksum));
            }
            if self.unsynced.blocks.len() >= REUSED_PER_SYNC_BLOCKS {
                self.sync()?;
            }
        }
        self.sync()?;
        Ok(reused)
    }
}
