//! What memory, and what a kill may cost, is spent on. Pure.

use super::settings::Settings;

/// Blocks that may be written while others are filled. More do not make a disk faster.
const WRITES: usize = 8;

/// The same where connections need nearly all memory: so many are asked only if each brings little.
const FEW_WRITES: usize = 2;

/// Blocks in memory, if connections do not need more: written ones wait there for the hash. Others are read back from the
/// disk.
const BLOCKS: usize = 46;

/// Shares of memory and of what may be lost, in blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Budget {
    connections: usize,
    losable: u64,
    block_bytes: u64,
}

impl Budget {
    pub(super) fn new(settings: &Settings) -> Self {
        Self {
            connections: settings.connections,
            losable: settings.unsynced_bytes / settings.block_bytes,
            block_bytes: settings.block_bytes,
        }
    }

    /// Blocks in memory that are being filled or written.
    pub(super) fn filled(&self) -> usize {
        let writes = self.connections.min(WRITES);
        (self.connections + writes).min(BLOCKS.max(self.connections + FEW_WRITES))
    }

    /// Blocks in memory beside those, for the hash.
    pub(super) fn kept(&self) -> usize {
        BLOCKS.saturating_sub(self.filled())
    }

    /// Blocks that may be begun and not yet durable: a kill costs them.
    pub(super) fn unsynced(&self) -> usize {
        let least = self.connections as u64 + self.least_written();
        usize::try_from(self.losable.max(least)).unwrap_or(usize::MAX)
    }

    /// Bytes of whole blocks that may be written and not yet durable, while so many connections hold a part of another one
    /// each.
    pub(super) fn written_bytes(&self, connections: usize) -> u64 {
        let blocks = self.losable.saturating_sub(connections as u64);
        blocks.max(self.least_written()) * self.block_bytes
    }

    /// So many, however many connections there are: a sync for each block would be too slow.
    fn least_written(&self) -> u64 {
        (self.losable / 4).max(4)
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
    #[case::as_many_as_without_options(44, 46, 0)]
    #[case::more_than_memory_is_meant_for(64, 66, 0)]
    fn memory_is_for_connections_first_and_the_hash_has_the_rest(
        #[case] connections: usize,
        #[case] filled: usize,
        #[case] kept: usize,
    ) {
        let budget = of(connections);
        assert_eq!((budget.filled(), budget.kept()), (filled, kept));
    }

    #[rstest]
    #[case::few(16, 64, 48)]
    #[case::so_many_that_little_is_left(60, 76, 16)]
    #[case::more_than_may_be_lost(100, 116, 16)]
    fn what_connections_hold_is_counted_as_lost(
        #[case] connections: usize,
        #[case] unsynced: usize,
        #[case] written_mib: u64,
    ) {
        let budget = of(connections);
        assert_eq!(budget.unsynced(), unsynced);
        assert_eq!(budget.written_bytes(connections), written_mib * MIB);
    }
}
