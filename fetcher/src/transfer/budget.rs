//! Splits the memory budget and the bytes that a kill may lose. Pure.

use super::settings::Settings;

/// Blocks that may be written while others are filled. More do not make a disk faster.
const WRITING_BLOCKS: usize = 8;

/// The same if connections need nearly all memory. Fewer suffice, because each of that many connections is slow.
const MIN_WRITING_BLOCKS: usize = 2;

/// Blocks in memory, unless connections need more. Written blocks wait here for the hash, or are evicted and read back.
const MEMORY_BLOCKS: usize = 46;

/// Shares of the memory and of what a kill may lose.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    connections: usize,
    losable_blocks: u64,
    block_bytes: u64,
}

impl Budget {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            connections: settings.connections,
            losable_blocks: settings.unsynced_bytes / settings.block_bytes,
            block_bytes: settings.block_bytes,
        }
    }

    /// Number of blocks in memory to be filled or written.
    pub(super) fn filling(&self) -> usize {
        let writes = self.connections.min(WRITING_BLOCKS);
        (self.connections + writes).min(MEMORY_BLOCKS.max(self.connections + MIN_WRITING_BLOCKS))
    }

    /// Number of further blocks in memory, kept for the hash.
    pub(super) fn cached(&self) -> usize {
        MEMORY_BLOCKS.saturating_sub(self.filling())
    }

    /// Number of blocks that may be started but not durable. A kill loses them.
    pub(super) fn unsynced(&self) -> usize {
        let least = self.connections as u64 + self.min_written_blocks();
        usize::try_from(self.losable_blocks.max(least)).unwrap_or(usize::MAX)
    }

    /// Bytes of complete blocks that may be written but not durable. Each connection may lose an incomplete block as well.
    pub(super) fn written_bytes(&self, connections: usize) -> u64 {
        let blocks = self.losable_blocks.saturating_sub(connections as u64);
        blocks.max(self.min_written_blocks()) * self.block_bytes
    }

    /// The least number of complete blocks per sync, for any number of connections. A sync per block would be too slow.
    fn min_written_blocks(&self) -> u64 {
        (self.losable_blocks / 4).max(4)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const MIB: u64 = 1 << 20;

    fn of(connections: usize) -> Budget {
        Budget::new(&Settings {
            connections,
            unsynced_bytes: 64 * MIB,
            block_bytes: MIB,
            ..Settings::default()
        })
    }

    #[rstest]
    #[case::one(1, 2, 44)]
    #[case::few(16, 24, 22)]
    #[case::the_default(44, 46, 0)]
    #[case::more_than_the_memory_budget(64, 66, 0)]
    fn connections_get_memory_first_and_the_hash_gets_the_rest(
        #[case] connections: usize,
        #[case] filling: usize,
        #[case] cached: usize,
    ) {
        let budget = of(connections);
        assert_eq!((budget.filling(), budget.cached()), (filling, cached));
    }

    #[rstest]
    #[case::few(16, 64, 48)]
    #[case::many_leave_the_minimum(60, 76, 16)]
    #[case::more_than_a_kill_may_lose(100, 116, 16)]
    fn incomplete_blocks_of_connections_count_as_lost(
        #[case] connections: usize,
        #[case] unsynced: usize,
        #[case] written_mib: u64,
    ) {
        let budget = of(connections);
        assert_eq!(budget.unsynced(), unsynced);
        assert_eq!(budget.written_bytes(connections), written_mib * MIB);
    }
}
