//! Which bytes to ask for next, and of which origin. Pure: it knows blocks, files, origins and moments by number, not
//! sockets, disks or clocks.
//!
//! A block is the unit of writing and of durability, a piece is what one request asks for: a run of missing
//! blocks. Pieces stay within a window ahead of the hash, so that bytes are hashed while they are still in memory,
//! and files under way share the connections evenly. When nothing is missing that may be asked for, the slow piece
//! that would end last gives up part of what is left of it, or is doubled when it is down to one block: the last slow
//! connection never holds the file. A block is written by whoever has it first, and by nobody else.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

pub(crate) mod experiment;
mod file_blocks;
pub(crate) mod origin_pace;
mod piece;
pub(crate) mod piece_length;
mod read_ahead_control;
pub(crate) mod shared;
mod stealing;

use self::file_blocks::{Block, FileBlocks, Share};
use self::origin_pace::OriginPaces;
use self::piece::InFlight;
pub(crate) use self::piece::{Claim, Piece};
use self::piece_length::Distance;
use self::stealing::DuplicateBudget;

/// Number of a file under way; never used twice, so that what arrives late for a file given up is nobody's.
pub(crate) type FileNumber = u64;

/// Number of an origin: its place among those the fetch was given.
pub(crate) type OriginNumber = usize;

/// Number of a piece; never used twice.
pub(crate) type PieceNumber = u64;

/// A piece of a slow origin may take this many seconds: the hash reaches it while others fetch what is within the window,
/// and all wait if it has not arrived by then.
const SLOW_PIECE_SECS: f64 = 2.0;

/// How pieces are cut, in blocks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Of a piece; the length may change from one to the next.
    pub(crate) piece: u64,
    /// Of the pieces at the very end, however little is left.
    pub(crate) shortest: u64,
    /// Pieces that may be under way at the same time; a number, not blocks.
    pub(crate) connections: u64,
    /// Files of more than a block of which pieces are asked for at the same time; a number, too. Those taken up first, as
    /// long as something of them is missing.
    pub(crate) files: usize,
    /// That pieces may run ahead of the hash while it waits for the source.
    pub(crate) window: u64,
    /// The same of sources that are far away, whose pieces are long and come side by side.
    pub(crate) far_window: u64,
    /// That pieces of all files may run ahead while the source waits for the hash, or is near and fast: as many as stay
    /// in memory, for a block further ahead would only have to be read back.
    pub(crate) memory: u64,
    /// Whether it is us who makes pieces slow, by a cap on the bandwidth.
    pub(crate) is_capped: bool,
}

/// What there is to ask an origin for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Something at all.
    pub(crate) is_any: bool,
    /// Something that no other origin offers.
    pub(crate) is_alone: bool,
}

/// The files under way and the state of each of their blocks.
#[derive(Debug)]
pub(crate) struct Schedule {
    limits: Limits,
    files: BTreeMap<FileNumber, FileBlocks>,
    pieces: BTreeMap<PieceNumber, InFlight>,
    next_piece: PieceNumber,
    distance: Distance,
    /// No file of more than a block waits to be taken up.
    is_last: bool,
    paces: OriginPaces,
    duplicates: DuplicateBudget,
}

impl Schedule {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            limits,
            files: BTreeMap::new(),
            pieces: BTreeMap::new(),
            next_piece: 0,
            distance: Distance::Unknown,
            is_last: false,
            paces: OriginPaces::default(),
            duplicates: DuplicateBudget::default(),
        }
    }

    /// No file of more than a block comes after those under way.
    pub(crate) fn set_last(&mut self) {
        self.is_last = true;
    }

    /// From now on pieces have this many blocks, and the last ones at least so many, of sources that are so far away.
    pub(crate) fn set_pieces(&mut self, blocks: u64, last: u64, distance: Distance) {
        self.limits.piece = blocks.max(1);
        self.limits.shortest = last.max(1);
        self.distance = distance;
    }

    /// From now on so many pieces may be under way.
    pub(crate) fn set_connections(&mut self, connections: u64) {
        self.limits.connections = connections;
    }

    /// Whether the hash of some file is busy with what comes.
    pub(crate) fn is_hash_busy(&self) -> bool {
        self.files.values().any(|entry| entry.read_ahead.is_fast())
    }

    /// Takes a file up that some origins offer, of which some blocks are there already and the first ones are hashed.
    pub(crate) fn add(
        &mut self,
        file: FileNumber,
        origins: Vec<OriginNumber>,
        blocks: u64,
        written: impl IntoIterator<Item = u64>,
        hashed: u64,
    ) {
        let mut entry = FileBlocks::new(origins, blocks, hashed);
        self.duplicates.add_file(blocks);
        for block in written {
            entry.set(block, Block::Written);
        }
        self.files.insert(file, entry);
    }

    /// Lets go of a file. What is still under way for it no longer counts.
    pub(crate) fn remove(&mut self, file: FileNumber) {
        self.files.remove(&file);
        self.pieces.retain(|_, piece| piece.file != file);
    }

    /// An origin no longer offers a file; whether another one does.
    pub(crate) fn withdraw(&mut self, file: FileNumber, origin: OriginNumber) -> bool {
        self.files.get_mut(&file).is_none_or(|entry| entry.withdraw(origin))
    }

    /// The next piece to ask an origin for, of the file that has the fewest under way; `None` when there is nothing
    /// to do now.
    pub(crate) fn next(&mut self, origin: OriginNumber, now: Duration) -> Option<Piece> {
        let (file, blocks) = self.missing(origin).or_else(|| self.take_over(origin, now))?;
        let entry = self.files.get_mut(&file)?;
        for block in blocks.clone() {
            entry.set(block, Block::UnderWay);
        }
        entry.pieces_under_way += 1;
        let sequential = entry.sequential;
        let number = self.next_piece;
        self.next_piece += 1;
        self.pieces.insert(
            number,
            InFlight {
                file,
                origin,
                blocks: blocks.clone(),
                next: blocks.start,
                begun: now,
            },
        );
        Some(Piece {
            number,
            file,
            blocks,
            sequential,
        })
    }

    /// The files that may be asked for, of those of which something is missing.
    fn askable(&self, is_offered: impl Fn(&FileBlocks) -> bool) -> impl Iterator<Item = (FileNumber, &FileBlocks)> {
        let mut large = 0;
        self.files
            .iter()
            .filter(move |(_, entry)| entry.missing > 0 && is_offered(entry))
            .filter(move |(_, entry)| {
                large += usize::from(entry.is_large());
                !entry.is_large() || large <= self.limits.files
            })
            .map(|(file, entry)| (*file, entry))
    }

    fn missing(&self, origin: OriginNumber) -> Option<(FileNumber, Range<u64>)> {
        let mut order: Vec<_> = self
            .askable(|entry| entry.origins.contains(&origin))
            .map(|(file, entry)| (entry.pieces_under_way, file))
            .collect();
        order.sort_unstable();
        let share = self.share();
        let slow = self.paces.slow(origin);
        order.into_iter().find_map(|(_, file)| {
            let entry = self.files.get(&file)?;
            let blocks = match slow {
                Some(pace) if !entry.sequential => {
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "a number of blocks, and small"
                    )]
                    let longest = ((pace * SLOW_PIECE_SECS) as u64).max(1);
                    if self.is_had_sooner(file, origin, 1.0 / pace) {
                        return None;
                    }
                    entry.last(share, longest)
                }
                _ => entry.next(share),
            };
            Some((file, blocks?))
        })
    }

    /// Whether other origins, as they are asked now, have brought the rest of a file in less than so many seconds.
    fn is_had_sooner(&self, file: FileNumber, origin: OriginNumber, seconds: f64) -> bool {
        let others = self
            .pieces
            .values()
            .filter(|piece| piece.file == file && piece.origin != origin);
        let (mut left, mut together) = (self.files.get(&file).map_or(0, |entry| entry.missing), 0.0);
        for piece in others {
            left += piece.left();
            together += self.paces.get(piece.origin).unwrap_or_default();
        }
        (left as f64) < seconds * together
    }

    /// What a file may have, for files under way share the memory. When nothing comes after them, pieces get shorter the
    /// less is missing: what the last connection still has under way when all others are done is waited for.
    fn share(&self) -> Share {
        let distance = self.distance();
        // Where each waits long for its first byte, many short ones would cost more than they even out.
        let (parts, window) = match distance {
            Distance::Far => (1, self.limits.far_window),
            Distance::Near | Distance::Unknown => (2, self.limits.window),
        };
        let left = if self.is_last {
            let missing: u64 = self.files.values().map(|entry| entry.missing).sum();
            missing / (parts * self.limits.connections).max(1)
        } else {
            u64::MAX
        };
        // Halved, so that pieces of different lengths still end at the same places.
        let mut piece = self.limits.piece;
        while piece > left && piece / 2 >= self.limits.shortest.max(1) {
            piece /= 2;
        }
        Share {
            piece,
            window,
            memory: self.limits.memory / self.begun_files().max(1),
            distance,
        }
    }

    /// Files of which blocks may be in memory. Those of one block need no share of anything.
    fn begun_files(&self) -> u64 {
        let begun = |entry: &&FileBlocks| entry.is_large() && entry.missing < entry.blocks.len() as u64;
        self.files.values().filter(begun).count() as u64
    }

    /// Files of which blocks are arriving.
    pub(crate) fn arriving_files(&self) -> u64 {
        let is_arriving = |entry: &&FileBlocks| entry.is_large() && entry.pieces_under_way > 0;
        self.files.values().filter(is_arriving).count() as u64
    }

    /// How far away sources are, where no origin is waited for by the others.
    fn distance(&self) -> Distance {
        if self.paces.is_any_slow() {
            return Distance::Unknown;
        }
        self.distance
    }

    /// Whether there is a file under way that an origin offers, and whether there is one that no other offers.
    pub(crate) fn demand(&self, origin: OriginNumber) -> (bool, bool) {
        let mut offered = self.files.values().filter(|entry| entry.origins.contains(&origin));
        (
            offered.clone().next().is_some(),
            offered.any(|entry| entry.origins.len() == 1),
        )
    }

    /// A block of a piece has arrived whole.
    pub(crate) fn claim(&mut self, piece: &Piece, block: u64) -> Claim {
        let end = match self.pieces.get_mut(&piece.number) {
            Some(under_way) => {
                under_way.next = under_way.next.max(block + 1);
                under_way.blocks.end
            }
            None => piece.blocks.end,
        };
        let is_first = self.files.get_mut(&piece.file).is_some_and(|entry| {
            let is_first = matches!(entry.get(block), Some(Block::Missing | Block::UnderWay));
            if is_first {
                entry.set(block, Block::Claimed);
            }
            is_first
        });
        Claim { is_first, end }
    }

    /// A block that was claimed is written.
    pub(crate) fn written(&mut self, file: FileNumber, block: u64) {
        if let Some(entry) = self.files.get_mut(&file) {
            entry.set(block, Block::Written);
        }
    }

    /// A piece has ended. Those of its blocks that did not arrive, and that nobody else has under way, are missing
    /// again.
    pub(crate) fn ended(&mut self, piece: &Piece, now: Duration) {
        let Some(ended) = self.pieces.remove(&piece.number) else {
            return;
        };
        let arrived = ended.next - ended.blocks.start;
        let seconds = now.saturating_sub(ended.begun).as_secs_f64();
        // One that was given up before its first block came is known to be slower than that.
        let is_known = arrived > 0 || seconds >= SLOW_PIECE_SECS;
        if is_known && seconds > 0.0 {
            self.paces.observe(ended.origin, (arrived as f64).max(0.5), seconds);
        }
        let others: Vec<_> = self
            .pieces
            .values()
            .filter(|other| other.file == ended.file)
            .map(|other| other.blocks.clone())
            .collect();
        let Some(entry) = self.files.get_mut(&piece.file) else {
            return;
        };
        entry.pieces_under_way -= 1;
        if ended.next == ended.blocks.end {
            entry.read_ahead.piece_took(seconds);
        }
        for block in ended.blocks {
            if entry.get(block) == Some(Block::UnderWay) && !others.iter().any(|other| other.contains(&block)) {
                entry.set(block, Block::Missing);
            }
        }
    }

    /// The hash has come to a block, and the one before took so long.
    pub(crate) fn hashed(&mut self, file: FileNumber, blocks: u64, took: Duration, now: Duration) {
        let distance = self.distance();
        if let Some(entry) = self.files.get_mut(&file) {
            entry.hashed = blocks;
            entry.read_ahead.step(took, entry.pieces_under_way, distance, now);
        }
    }

    /// Whether there is something to ask any origin for.
    pub(crate) fn has_missing(&self) -> bool {
        let share = self.share();
        self.askable(|_| true).any(|(_, entry)| entry.next(share).is_some())
    }

    /// The disk takes a file in order only: one request at a time reads on, of whatever origin.
    pub(crate) fn write_in_sequence(&mut self, file: FileNumber) {
        if let Some(entry) = self.files.get_mut(&file) {
            entry.sequential = true;
        }
    }

    /// An origin of a file ignores ranges. As long as there are others it is done without; where it is the only one, from
    /// now on one request at a time reads on to the next block that is there. Answers whether that is so.
    pub(crate) fn ignores_ranges(&mut self, file: FileNumber, origin: OriginNumber) -> bool {
        self.files.get_mut(&file).is_some_and(|entry| {
            let is_only = entry.origins == [origin];
            if is_only {
                entry.sequential = true;
            } else {
                entry.origins.retain(|offering| *offering != origin);
                entry.streams.push(origin);
            }
            is_only
        })
    }

    /// The origin and file of a piece in flight.
    pub(crate) fn in_flight(&self, piece: PieceNumber) -> Option<(OriginNumber, FileNumber)> {
        self.pieces.get(&piece).map(|piece| (piece.origin, piece.file))
    }

    /// Whether blocks of a piece in flight have not arrived yet.
    pub(crate) fn is_incomplete(&self, piece: PieceNumber) -> bool {
        self.pieces.get(&piece).is_some_and(|piece| piece.left() > 0)
    }

    /// Whether nothing of a file is on its way: not asked for, and not being written.
    pub(crate) fn is_idle(&self, file: FileNumber) -> bool {
        self.files
            .get(&file)
            .is_none_or(|entry| entry.pieces_under_way == 0 && !entry.blocks.contains(&Block::Claimed))
    }
}

#[cfg(test)]
mod tests;
