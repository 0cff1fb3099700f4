//! Which bytes to ask for next. Pure: it knows blocks and files by number, not sockets or disks.
//!
//! A block is the unit of writing and of durability, a piece is what one request asks for: a run of missing
//! blocks. Pieces stay within a window ahead of the hash, so that bytes are hashed while they are still in memory,
//! and files under way share the connections evenly.

use std::collections::BTreeMap;
use std::ops::Range;

/// Number of a file under way; never used twice, so that what arrives late for a file given up is nobody's.
pub(crate) type FileNumber = u64;

/// How pieces are cut, in blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Of a piece; the length may change from one to the next.
    pub(crate) piece: u64,
    /// That pieces may run ahead of the hash while it waits for the source.
    pub(crate) window: u64,
    /// That pieces of all files may run ahead while the source waits for the hash: as many as stay in memory,
    /// for a block further ahead would only have to be read back.
    pub(crate) memory: u64,
}

/// A run of blocks to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The file.
    pub(crate) file: FileNumber,
    /// Its blocks.
    pub(crate) blocks: Range<u64>,
    /// Whether the file is read in one stream, because its server ignores ranges.
    pub(crate) sequential: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Missing,
    UnderWay,
    Written,
}

#[derive(Debug)]
struct Entry {
    blocks: Vec<Block>,
    /// Blocks hashed, from the first on.
    hashed: u64,
    pieces_under_way: u64,
    sequential: bool,
}

/// The files under way and the state of each of their blocks.
#[derive(Debug)]
pub(crate) struct Schedule {
    limits: Limits,
    files: BTreeMap<FileNumber, Entry>,
}

impl Schedule {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            files: BTreeMap::new(),
        }
    }

    /// From now on pieces have this many blocks.
    pub(crate) fn set_piece_blocks(&mut self, blocks: u64) {
        self.limits.piece = blocks.max(1);
    }

    /// Takes a file up, of which some blocks are there already and the first ones are hashed.
    pub(crate) fn add(&mut self, file: FileNumber, blocks: u64, written: impl IntoIterator<Item = u64>, hashed: u64) {
        let length = usize::try_from(blocks).unwrap_or(usize::MAX);
        let mut entry = Entry {
            blocks: vec![Block::Missing; length],
            hashed,
            pieces_under_way: 0,
            sequential: false,
        };
        for block in written {
            entry.set(block, Block::Written);
        }
        self.files.insert(file, entry);
    }

    /// Lets go of a file. What is still under way for it no longer counts.
    pub(crate) fn remove(&mut self, file: FileNumber) {
        self.files.remove(&file);
    }

    /// The next piece to ask for, of the file that has the fewest under way; `None` when there is nothing to do now.
    pub(crate) fn next(&mut self) -> Option<Piece> {
        let mut order: Vec<_> = self
            .files
            .iter()
            .map(|(file, entry)| (entry.pieces_under_way, *file))
            .collect();
        order.sort_unstable();
        let limits = Limits {
            memory: self.limits.memory / (order.len() as u64).max(1),
            ..self.limits
        };
        order.into_iter().find_map(|(_, file)| {
            let entry = self.files.get_mut(&file)?;
            let blocks = entry.next(limits)?;
            for block in blocks.clone() {
                entry.set(block, Block::UnderWay);
            }
            entry.pieces_under_way += 1;
            Some(Piece {
                file,
                blocks,
                sequential: entry.sequential,
            })
        })
    }

    /// A block of a piece under way is written.
    pub(crate) fn written(&mut self, file: FileNumber, block: u64) {
        if let Some(entry) = self.files.get_mut(&file) {
            entry.set(block, Block::Written);
        }
    }

    /// A piece has ended. Those of its blocks that were not written are missing again.
    pub(crate) fn ended(&mut self, piece: &Piece) {
        let Some(entry) = self.files.get_mut(&piece.file) else {
            return;
        };
        entry.pieces_under_way -= 1;
        for block in piece.blocks.clone() {
            if entry.get(block) == Some(Block::UnderWay) {
                entry.set(block, Block::Missing);
            }
        }
    }

    /// The hash has come to a block.
    pub(crate) fn hashed(&mut self, file: FileNumber, blocks: u64) {
        if let Some(entry) = self.files.get_mut(&file) {
            entry.hashed = blocks;
        }
    }

    /// The server of a file ignores ranges: from now on one request at a time reads on to the next block that is
    /// there.
    pub(crate) fn read_in_sequence(&mut self, file: FileNumber) {
        if let Some(entry) = self.files.get_mut(&file) {
            entry.sequential = true;
        }
    }
}

impl Entry {
    fn get(&self, block: u64) -> Option<Block> {
        self.blocks.get(usize::try_from(block).ok()?).copied()
    }

    fn set(&mut self, block: u64, state: Block) {
        if let Some(entry) = usize::try_from(block).ok().and_then(|block| self.blocks.get_mut(block)) {
            *entry = state;
        }
    }

    fn next(&self, limits: Limits) -> Option<Range<u64>> {
        if self.sequential && self.pieces_under_way > 0 {
            return None;
        }
        let count = self.blocks.len() as u64;
        let ahead = if self.get(self.hashed) == Some(Block::Written) {
            limits.memory.clamp(1, limits.window)
        } else {
            limits.window
        };
        let window = if self.sequential {
            count
        } else {
            count.min(self.hashed + ahead)
        };
        let missing = |block: &u64| self.get(*block) == Some(Block::Missing);
        let start = (self.hashed..window).find(missing)?;
        // Pieces end at multiples of their length, so that holes left by an earlier run do not shift all others.
        let end = if self.sequential {
            count
        } else {
            (start / limits.piece + 1) * limits.piece
        };
        let end = (start..end.min(window))
            .find(|block| !missing(block))
            .unwrap_or(end.min(window));
        Some(start..end)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits = Limits {
        piece: 4,
        window: 16,
        memory: 8,
    };

    fn blocks(piece: Option<Piece>) -> Option<(FileNumber, Range<u64>)> {
        piece.map(|piece| (piece.file, piece.blocks))
    }

    #[test]
    fn files_share_the_connections() {
        let mut schedule = Schedule::new(LIMITS);
        schedule.add(1, 10, [], 0);
        schedule.add(2, 3, [], 0);
        let order: Vec<_> = std::iter::from_fn(|| blocks(schedule.next())).collect();
        assert_eq!(order, [(1, 0..4), (2, 0..3), (1, 4..8), (1, 8..10)]);
    }

    #[test]
    fn nothing_is_asked_for_beyond_the_window_until_the_hash_moves() {
        let mut schedule = Schedule::new(LIMITS);
        schedule.add(1, 100, [], 0);
        let first: Vec<_> = std::iter::from_fn(|| blocks(schedule.next())).collect();
        assert_eq!(first.last(), Some(&(1, 12..16)));
        schedule.hashed(1, 2);
        assert_eq!(blocks(schedule.next()), Some((1, 16..18)));
    }

    #[test]
    fn a_source_faster_than_the_hash_is_held_back_to_what_stays_in_memory() {
        let mut schedule = Schedule::new(LIMITS);
        schedule.add(1, 100, [], 0);
        assert_eq!(blocks(schedule.next()), Some((1, 0..4)));
        schedule.written(1, 0);
        assert_eq!(blocks(schedule.next()), Some((1, 4..8)));
        assert_eq!(blocks(schedule.next()), None, "the hash is behind");
        schedule.hashed(1, 1);
        assert_eq!(blocks(schedule.next()), Some((1, 8..12)), "the source is behind");
    }

    #[test]
    fn blocks_that_are_there_are_left_out() {
        let mut schedule = Schedule::new(LIMITS);
        schedule.add(1, 10, [0, 1, 6], 2);
        let order: Vec<_> = std::iter::from_fn(|| blocks(schedule.next())).collect();
        assert_eq!(order, [(1, 2..4), (1, 4..6), (1, 7..8), (1, 8..10)]);
    }

    #[test]
    fn a_piece_that_ended_early_is_asked_for_again_from_where_it_ended() {
        let mut schedule = Schedule::new(LIMITS);
        schedule.add(1, 4, [], 0);
        let piece = schedule.next().unwrap();
        schedule.written(1, 0);
        schedule.ended(&piece);
        assert_eq!(blocks(schedule.next()), Some((1, 1..4)));
    }

    #[test]
    fn a_file_read_in_sequence_has_one_request_that_runs_to_the_next_block_there() {
        let mut schedule = Schedule::new(LIMITS);
        schedule.add(1, 100, [70], 0);
        let refused = schedule.next().unwrap();
        schedule.read_in_sequence(1);
        assert_eq!(schedule.next(), None);
        schedule.ended(&refused);
        assert_eq!(
            schedule.next(),
            Some(Piece {
                file: 1,
                blocks: 0..70,
                sequential: true
            })
        );
        assert_eq!(schedule.next(), None);
    }

    #[test]
    fn what_arrives_for_a_file_given_up_is_nobodys() {
        let mut schedule = Schedule::new(LIMITS);
        schedule.add(1, 4, [], 0);
        let piece = schedule.next().unwrap();
        schedule.remove(1);
        schedule.written(1, 0);
        schedule.ended(&piece);
        assert_eq!(schedule.next(), None);
    }

    #[derive(Clone, Debug)]
    enum Step {
        Ask,
        /// Ends the piece longest under way, having written all of it.
        EndFirst,
        /// Ends one of the pieces under way, having written this share of it.
        End(prop::sample::Index, f64),
        Hash,
        Sequence,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            4 => Just(Step::Ask),
            4 => (any::<prop::sample::Index>(), 0.0..=1.0).prop_map(|(which, share)| Step::End(which, share)),
            2 => Just(Step::Hash),
            1 => Just(Step::Sequence),
        ]
    }

    proptest! {
        #[test]
        fn no_block_is_asked_for_twice_and_every_file_is_completed(
            sizes in proptest::collection::vec((1_u64..60, proptest::collection::btree_set(0_u64..60, 0..20)), 1..4),
            steps in proptest::collection::vec(step(), 0..200),
        ) {
            let mut schedule = Schedule::new(LIMITS);
            let mut missing: BTreeSet<(u64, u64)> = BTreeSet::new();
            for (file, (size, written)) in (0..).zip(&sizes) {
                schedule.add(file, *size, written.iter().copied(), 0);
                missing.extend((0..*size).filter(|block| !written.contains(block)).map(|block| (file, block)));
            }
            let mut under_way: Vec<Piece> = Vec::new();
            let frontier = |missing: &BTreeSet<(u64, u64)>, under_way: &[Piece], file: u64| {
                let first = missing.range((file, 0)..(file + 1, 0)).next().map_or(sizes[usize::try_from(file).unwrap()].0, |(_, b)| *b);
                let asked = under_way.iter().filter(|p| p.file == file).map(|p| p.blocks.start).min();
                first.min(asked.unwrap_or(u64::MAX))
            };
            // Afterwards, steps enough to complete whatever is left.
            let tail = (0..2000).flat_map(|_| [Step::Ask, Step::EndFirst, Step::Hash]);
            for step in steps.into_iter().chain(tail) {
                match step {
                    Step::Ask => if let Some(piece) = schedule.next() {
                        prop_assert!(!piece.blocks.is_empty());
                        for block in piece.blocks.clone() {
                            prop_assert!(missing.remove(&(piece.file, block)), "{:?} is not missing", block);
                        }
                        under_way.push(piece);
                    },
                    Step::End(which, share) => if !under_way.is_empty() {
                        let piece = under_way.swap_remove(which.index(under_way.len()));
                        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share of a length")]
                        let written = ((piece.blocks.end - piece.blocks.start) as f64 * share) as u64;
                        for block in piece.blocks.clone() {
                            if block < piece.blocks.start + written {
                                schedule.written(piece.file, block);
                            } else {
                                missing.insert((piece.file, block));
                            }
                        }
                        schedule.ended(&piece);
                    },
                    Step::EndFirst => if !under_way.is_empty() {
                        let piece = under_way.remove(0);
                        for block in piece.blocks.clone() {
                            schedule.written(piece.file, block);
                        }
                        schedule.ended(&piece);
                    },
                    Step::Hash => for file in 0..sizes.len() as u64 {
                        schedule.hashed(file, frontier(&missing, &under_way, file));
                    },
                    Step::Sequence => schedule.read_in_sequence(0),
                }
            }
            prop_assert!(missing.is_empty() && under_way.is_empty());
        }
    }
}
