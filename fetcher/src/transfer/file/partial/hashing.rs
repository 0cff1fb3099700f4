//! Hashes a file from its beginning, from memory where blocks are not evicted.

use super::Partial;
use crate::model::digest::ContentDigest;
use crate::model::error::StorageError;
use crate::transfer::file::buffers::Kept;

/// How many blocks ahead of the hash are read back from the disk.
const READ_BACK_BLOCKS: u64 = 8;

impl Partial {
    /// Hashes the next block if it is on disk, and returns its bytes.
    pub(crate) fn hash_next(&mut self) -> Result<Option<u64>, StorageError> {
        if !self.can_hash() {
            return Ok(None);
        }
        self.read_ahead();
        let block = self.hashed;
        let kept = self.kept.remove(&block).and_then(|kept| kept.take());
        if let Some(buffer) = kept {
            self.hasher.update(buffer.bytes());
        } else if let Some(read) = self.read_ahead.take(block) {
            let buffer = read.map_err(|error| self.unreadable(block, error))?;
            self.hasher.update(buffer.bytes());
        } else {
            // A block that fails to read must leave the hash as it was.
            let mut hasher = self.hasher.clone();
            self.read(block, |part| hasher.update(part))?;
            self.hasher = hasher;
        }
        self.hashed += 1;
        Ok(Some(self.block_length(block)))
    }

    /// Reads back the next blocks that are on disk and no longer in memory.
    fn read_ahead(&mut self) {
        for block in self.hashed..(self.hashed + READ_BACK_BLOCKS).min(self.blocks()) {
            let is_at_hand = self.kept.get(&block).is_some_and(Kept::is_there) || self.read_ahead.has(block);
            if !self.is_on_disk(block) || is_at_hand {
                continue;
            }
            let length = usize::try_from(self.block_length(block)).unwrap_or(usize::MAX);
            match self.read_ahead.ask(block, block * self.key.block_bytes, length) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::debug!(%error, "no thread to read ahead");
                    return;
                }
            }
        }
    }

    /// The digest of all bytes.
    pub(crate) fn digest(&self) -> ContentDigest {
        self.hasher.clone().finish()
    }

    /// Whether the next block to hash is on disk.
    pub(crate) fn can_hash(&self) -> bool {
        self.is_on_disk(self.hashed)
    }

    /// Whether every byte is hashed.
    pub(crate) fn is_hashed(&self) -> bool {
        self.hashed == self.blocks()
    }

    /// Bytes hashed.
    pub(crate) fn hashed_bytes(&self) -> u64 {
        (self.hashed * self.key.block_bytes).min(self.key.size)
    }

    /// Blocks hashed, from the first on.
    pub(crate) fn hashed(&self) -> u64 {
        self.hashed
    }
}
