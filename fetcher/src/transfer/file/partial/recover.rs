//! Resumes from what an earlier run left of a file.

use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::Partial;
use super::blocks::BlockRecord;
use crate::disk::boot::Boot;
use crate::disk::page_cache::forget;
use crate::model::digest::Hasher;
use crate::model::error::{FetchError, StorageError};
use crate::store::journal::{Checkpoint, Recovered};

impl Partial {
    /// Verifies the blocks in the journal, and returns the boot to record.
    ///
    /// Within the same boot, hashed blocks are trusted and only the others are read. After a reboot all are read: a power
    /// cut may have torn them. The hash resumes at its checkpoint only if every block before it is intact, since it never
    /// reads them again. A block beyond the file's length is missing.
    pub(super) fn recover(
        &mut self,
        recovered: &Recovered,
        length: u64,
        now: &Boot,
        stop: &CancellationToken,
    ) -> Result<Boot, FetchError> {
        let hashed = recovered.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.blocks);
        let trusted = if recovered.boot.is_still(now) { hashed } else { 0 };
        let mut is_sound = true;
        for (block, checksum) in &recovered.blocks {
            if *block * self.key.block_bytes + self.block_length(*block) > length {
                is_sound = false;
                tracing::warn!(
                    file = self.label,
                    block,
                    "the file on disk ends before a block that was written; it is fetched again"
                );
                continue;
            }
            if *block < trusted {
                self.record(*block, *checksum);
                continue;
            }
            if stop.is_cancelled() {
                return Err(FetchError::Interrupted);
            }
            match self.checksum(*block) {
                Ok(actual) if actual == *checksum => self.record(*block, *checksum),
                Ok(_) => {
                    is_sound = false;
                    tracing::warn!(
                        file = self.label,
                        block,
                        "a block on disk is not what was written; it is fetched again"
                    );
                }
                // An unreadable block is damaged; a disk often remaps it when it is written again.
                Err(error) => {
                    is_sound = false;
                    tracing::warn!(block, %error, "a block on disk cannot be read; it is fetched again");
                }
            }
            forget(
                self.disk.file(),
                *block * self.key.block_bytes,
                self.block_length(*block),
            );
        }
        is_sound &= self.forget_behind_holes(length)?.is_empty();
        if let Some(Checkpoint { blocks, state }) = &recovered.checkpoint
            && (0..*blocks).all(|block| self.is_on_disk(block))
            && let Some(hasher) = Hasher::resume(&self.key.digest, state)
        {
            (self.hasher, self.hashed, self.noted) = (hasher, *blocks, *blocks);
        }
        // The journal still lists damaged blocks, so the next run must not trust it either.
        Ok(if is_sound { now.clone() } else { Boot::UNKNOWN })
    }

    /// Truncates a file that is appended to at the first missing block, since nothing can be written before its end. Returns
    /// the blocks that are lost.
    pub(super) fn forget_behind_holes(&mut self, length: u64) -> Result<Vec<(u64, BlockRecord)>, StorageError> {
        if !self.in_order {
            return Ok(Vec::new());
        }
        let first_missing = (0..self.blocks()).find(|block| !self.is_on_disk(*block));
        let Some(first_missing) = first_missing else {
            return Ok(Vec::new());
        };
        let lost: Vec<u64> = self.written().skip_while(|block| *block < first_missing).collect();
        let lost = lost
            .into_iter()
            .filter_map(|block| Some((block, self.blocks.remove(block)?)))
            .collect();
        let end = first_missing * self.key.block_bytes;
        if length != end {
            self.disk
                .file()
                .set_len(end)
                .map_err(StorageError::at("truncate", Path::new(&self.label)))?;
        }
        Ok(lost)
    }

    /// The CRC-32C of a block on disk.
    fn checksum(&mut self, block: u64) -> Result<u32, StorageError> {
        let mut checksum = 0;
        self.read(block, |part| checksum = crc32c::crc32c_append(checksum, part))?;
        Ok(checksum)
    }
}
