//! What is known of the blocks of a file on disk.

use super::Delivered;
use crate::transfer::schedule::OriginNumber;

/// A block on disk, though perhaps not yet durable.
#[derive(Clone, Copy, Debug)]
pub(super) struct BlockRecord {
    /// CRC-32C of what was written.
    pub(super) checksum: u32,
    /// Which origin delivered it, if that was in this run.
    pub(super) origin: Option<OriginNumber>,
}

/// A record for each block of a file.
#[derive(Debug)]
pub(super) struct BlockRecords(Vec<Option<BlockRecord>>);

impl BlockRecords {
    /// Of a file of which no block is on disk.
    pub(super) fn new(blocks: u64) -> Self {
        Self(vec![None; usize::try_from(blocks).unwrap_or(usize::MAX)])
    }

    /// How many blocks the file has.
    pub(super) fn count(&self) -> u64 {
        self.0.len() as u64
    }

    pub(super) fn get(&self, block: u64) -> Option<BlockRecord> {
        self.0.get(usize::try_from(block).ok()?).copied().flatten()
    }

    /// A block is on disk.
    pub(super) fn set(&mut self, block: u64, checksum: u32, origin: Option<OriginNumber>) {
        if let Some(record) = usize::try_from(block).ok().and_then(|block| self.0.get_mut(block)) {
            *record = Some(BlockRecord { checksum, origin });
        }
    }

    /// A block is missing; answers what was known of it.
    pub(super) fn remove(&mut self, block: u64) -> Option<BlockRecord> {
        self.0.get_mut(usize::try_from(block).ok()?)?.take()
    }

    /// Blocks on disk.
    pub(super) fn on_disk(&self) -> impl Iterator<Item = (u64, BlockRecord)> + '_ {
        (0..)
            .zip(&self.0)
            .filter_map(|(block, record)| Some((block, (*record)?)))
    }

    /// The CRC-32C of every block; 0 for one that is missing.
    pub(super) fn checksums(&self) -> Vec<u32> {
        self.0
            .iter()
            .map(|record| record.map_or(0, |record| record.checksum))
            .collect()
    }

    /// Which origin delivered which block in this run.
    pub(super) fn delivered(&self) -> Delivered {
        self.on_disk()
            .filter_map(|(block, record)| Some((block, (record.origin?, record.checksum))))
            .collect()
    }

    /// Whether one origin delivered every block in this run.
    pub(super) fn are_all_from(&self, origin: OriginNumber) -> bool {
        self.0
            .iter()
            .all(|record| record.is_some_and(|record| record.origin == Some(origin)))
    }
}
