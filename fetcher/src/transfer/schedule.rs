//! Decides which bytes to request next, and from which origin. Pure: it knows blocks, files, origins and times as numbers,
//! not sockets, disks or clocks.
//!
//! A block is the unit of writing and durability; a piece is the run of missing blocks that one request asks for. Pieces
//! stay within a window ahead of the hash, so that bytes are hashed while they are still in memory. Active files share the
//! connections evenly. When no missing block may be requested, an idle connection steals part of the slow piece that would
//! end last, or requests its last block a second time, so that one slow connection never holds up the file. Only the
//! connection that has a block first writes it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

pub(crate) mod experiment;
mod file_blocks;
mod limits;
pub(crate) mod origin_pace;
mod piece;
pub(crate) mod piece_length;
mod read_ahead_control;
pub(crate) mod shared;
mod stealing;

use self::file_blocks::{Block, FileBlocks, Share};
pub(crate) use self::limits::{Demand, Limits};
use self::origin_pace::OriginPaces;
use self::piece::InFlight;
pub(crate) use self::piece::{Claim, Piece};
use self::piece_length::Distance;
use self::stealing::DuplicateBudget;

/// Number of an active file. Never reused, so that late bytes of a removed file match no other file.
pub(crate) type FileNumber = u64;

/// Number of an origin: its index in the list of the fetch request.
pub(crate) type OriginNumber = usize;

/// Number of a piece. Never reused.
pub(crate) type PieceNumber = u64;

/// How long a piece of a slow origin may take, in seconds. If it is still missing when the hash reaches it, everything
/// waits for it.
const SLOW_PIECE_SECS: f64 = 2.0;

/// The active files and the state of each of their blocks.
#[derive(Debug)]
pub(crate) struct Schedule {
    limits: Limits,
    files: BTreeMap<FileNumber, FileBlocks>,
    pieces: BTreeMap<PieceNumber, InFlight>,
    next_piece: PieceNumber,
    distance: Distance,
    /// Every file of more than one block has been added.
    has_all_files: bool,
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
            has_all_files: false,
            paces: OriginPaces::default(),
            duplicates: DuplicateBudget::default(),
        }
    }

    /// Records that no further file of more than one block will be added.
    pub(crate) fn set_all_files_added(&mut self) {
        self.has_all_files = true;
    }

    /// Sets the blocks of a piece, the least of the last pieces, and the sources' distance.
    pub(crate) fn set_pieces(&mut self, blocks: u64, last: u64, distance: Distance) {
        self.limits.piece = blocks.max(1);
        self.limits.shortest = last.max(1);
        self.distance = distance;
    }

    /// Sets the number of pieces that may be in flight.
    pub(crate) fn set_connections(&mut self, connections: u64) {
        self.limits.connections = connections;
    }

    /// Whether the source of some file is fast compared to the hash.
    pub(crate) fn is_hash_busy(&self) -> bool {
        self.files.values().any(|entry| entry.read_ahead.is_fast())
    }

    /// Adds a file: the origins that offer it, its blocks on disk, and how many are hashed.
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

    /// Removes a file. Its pieces in flight no longer count.
    pub(crate) fn remove(&mut self, file: FileNumber) {
        self.files.remove(&file);
        self.pieces.retain(|_, piece| piece.file != file);
    }

    /// Records that an origin no longer offers a file. Returns whether another one does.
    pub(crate) fn withdraw(&mut self, file: FileNumber, origin: OriginNumber) -> bool {
        self.files.get_mut(&file).is_none_or(|entry| entry.withdraw(origin))
    }

    /// The next piece to request from an origin; `None` if there is none now. It is of the file with the fewest pieces in
    /// flight.
    pub(crate) fn next(&mut self, origin: OriginNumber, now: Duration) -> Option<Piece> {
        let (file, blocks) = self.next_missing(origin).or_else(|| self.steal(origin, now))?;
        let entry = self.files.get_mut(&file)?;
        for block in blocks.clone() {
            entry.set(block, Block::InFlight);
        }
        entry.pieces_in_flight += 1;
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
                started: now,
            },
        );
        Some(Piece {
            number,
            file,
            blocks,
            sequential,
        })
    }

    /// The files with missing blocks that may be requested now.
    fn eligible_files(
        &self,
        is_offered: impl Fn(&FileBlocks) -> bool,
    ) -> impl Iterator<Item = (FileNumber, &FileBlocks)> {
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

    fn next_missing(&self, origin: OriginNumber) -> Option<(FileNumber, Range<u64>)> {
        let mut order: Vec<_> = self
            .eligible_files(|entry| entry.origins.contains(&origin))
            .map(|(file, entry)| (entry.pieces_in_flight, file))
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
                    let block_secs = 1.0 / pace;
                    if self.is_done_sooner_by_others(file, origin, block_secs) {
                        return None;
                    }
                    entry.last(share, longest)
                }
                _ => entry.next(share),
            };
            Some((file, blocks?))
        })
    }

    /// Whether the other origins, at their pace, deliver the rest of a file within this many seconds.
    fn is_done_sooner_by_others(&self, file: FileNumber, origin: OriginNumber, seconds: f64) -> bool {
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

    /// What one file may use: active files share the memory. Once all files are added, pieces get shorter the less is
    /// missing, because everything waits for the last connection.
    fn share(&self) -> Share {
        let distance = self.distance();
        // Where the first byte takes long, many short pieces would cost more than their even end saves.
        let (parts, window) = match distance {
            Distance::Far => (1, self.limits.far_window),
            Distance::Near | Distance::Unknown => (2, self.limits.window),
        };
        let left = if self.has_all_files {
            let missing: u64 = self.files.values().map(|entry| entry.missing).sum();
            missing / (parts * self.limits.connections).max(1)
        } else {
            u64::MAX
        };
        // Halved, so that pieces of different lengths still end at the same offsets.
        let mut piece = self.limits.piece;
        while piece > left && piece / 2 >= self.limits.shortest.max(1) {
            piece /= 2;
        }
        Share {
            piece,
            window,
            memory: self.limits.memory / self.files_in_memory().max(1),
            distance,
        }
    }

    /// Number of files whose blocks may be in memory. Files of one block need no share.
    fn files_in_memory(&self) -> u64 {
        let started = |entry: &&FileBlocks| entry.is_large() && entry.missing < entry.blocks.len() as u64;
        self.files.values().filter(started).count() as u64
    }

    /// Number of files of more than one block that have pieces in flight.
    pub(crate) fn arriving_files(&self) -> u64 {
        let is_arriving = |entry: &&FileBlocks| entry.is_large() && entry.pieces_in_flight > 0;
        self.files.values().filter(is_arriving).count() as u64
    }

    /// How far away the sources are; unknown while the others wait for a slow origin.
    fn distance(&self) -> Distance {
        if self.paces.is_any_slow() {
            return Distance::Unknown;
        }
        self.distance
    }

    /// Whether an origin offers any active file, and whether it offers one exclusively.
    pub(crate) fn demand(&self, origin: OriginNumber) -> (bool, bool) {
        let mut offered = self.files.values().filter(|entry| entry.origins.contains(&origin));
        (
            offered.clone().next().is_some(),
            offered.any(|entry| entry.origins.len() == 1),
        )
    }

    /// Records that a block of a piece has arrived completely.
    pub(crate) fn claim(&mut self, piece: &Piece, block: u64) -> Claim {
        let end = match self.pieces.get_mut(&piece.number) {
            Some(in_flight) => {
                in_flight.next = in_flight.next.max(block + 1);
                in_flight.blocks.end
            }
            None => piece.blocks.end,
        };
        let is_first = self.files.get_mut(&piece.file).is_some_and(|entry| {
            let is_first = matches!(entry.get(block), Some(Block::Missing | Block::InFlight));
            if is_first {
                entry.set(block, Block::Claimed);
            }
            is_first
        });
        Claim { is_first, end }
    }

    /// Records that a claimed block is written.
    pub(crate) fn written(&mut self, file: FileNumber, block: u64) {
        if let Some(entry) = self.files.get_mut(&file) {
            entry.set(block, Block::Written);
        }
    }

    /// Records the end of a piece. Its blocks that did not arrive, and that no other piece contains, are missing again.
    pub(crate) fn ended(&mut self, piece: &Piece, now: Duration) {
        let Some(ended) = self.pieces.remove(&piece.number) else {
            return;
        };
        let arrived = ended.next - ended.blocks.start;
        let seconds = now.saturating_sub(ended.started).as_secs_f64();
        // A piece that ended before its first block was at least this slow.
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
        entry.pieces_in_flight -= 1;
        if ended.next == ended.blocks.end {
            entry.read_ahead.observe_piece(seconds);
        }
        for block in ended.blocks {
            if entry.get(block) == Some(Block::InFlight) && !others.iter().any(|other| other.contains(&block)) {
                entry.set(block, Block::Missing);
            }
        }
    }

    /// Records that the first `blocks` are hashed, and how long the last one took.
    pub(crate) fn hashed(&mut self, file: FileNumber, blocks: u64, took: Duration, now: Duration) {
        let distance = self.distance();
        if let Some(entry) = self.files.get_mut(&file) {
            entry.hashed = blocks;
            entry.read_ahead.step(took, entry.pieces_in_flight, distance, now);
        }
    }

    /// Whether there is a piece to request from any origin.
    pub(crate) fn has_missing(&self) -> bool {
        let share = self.share();
        self.eligible_files(|_| true)
            .any(|(_, entry)| entry.next(share).is_some())
    }

    /// Reads a file from start to end, one request at a time, for a disk that takes only sequential writes.
    pub(crate) fn write_in_sequence(&mut self, file: FileNumber) {
        if let Some(entry) = self.files.get_mut(&file) {
            entry.sequential = true;
        }
    }

    /// Records that an origin ignores ranges. Returns whether the file is read from it in one stream.
    ///
    /// That is so if no other origin offers the file: one request at a time then reads up to the next block on disk.
    /// Otherwise the origin is kept in reserve.
    pub(crate) fn ignores_ranges(&mut self, file: FileNumber, origin: OriginNumber) -> bool {
        self.files.get_mut(&file).is_some_and(|entry| {
            let is_only = entry.origins == [origin];
            if is_only {
                entry.sequential = true;
            } else {
                entry.origins.retain(|offering| *offering != origin);
                entry.stream_origins.push(origin);
            }
            is_only
        })
    }

    /// A piece in flight.
    fn in_flight(&self, piece: PieceNumber) -> Option<&InFlight> {
        self.pieces.get(&piece)
    }

    /// Whether no block of a file is in flight or being written.
    pub(crate) fn is_idle(&self, file: FileNumber) -> bool {
        self.files
            .get(&file)
            .is_none_or(|entry| entry.pieces_in_flight == 0 && !entry.blocks.contains(&Block::Claimed))
    }
}

#[cfg(test)]
mod tests;
