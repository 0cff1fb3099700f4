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
pub(crate) mod piece_length;
pub(crate) mod queue;
mod read_ahead_control;
pub(crate) mod shared;

use self::piece_length::Distance;
use self::read_ahead_control::ReadAheadControl;

/// Number of a file under way; never used twice, so that what arrives late for a file given up is nobody's.
pub(crate) type FileNumber = u64;

/// Number of an origin: its place among those the fetch was given.
pub(crate) type OriginNumber = usize;

/// Number of a piece; never used twice.
pub(crate) type PieceNumber = u64;

/// Seconds that taking over a piece must save, for it costs a connection and what was under way on it.
const WORTH: f64 = 2.0;

/// Seconds that asking for a block a second time must save, for that costs the bytes, too.
const WORTH_TWICE: f64 = 3.0;

/// Only a piece that is slower than this share of what a connection is known to bring is taken over: where all are
/// equally slow they share a bottleneck, and taking over only wastes what was under way.
const SLOWER: f64 = 1.0 / 3.0;

/// The same where a cap on the bandwidth slows all pieces down, some of them by chance more than others.
const FAR_SLOWER: f64 = SLOWER / 4.0;

/// Where nothing is known, a piece that brought nothing for so many seconds is slow.
const SILENCE: f64 = 5.0;

/// And another connection is hoped to be faster by this.
const HOPED_FOR: f64 = 1.25;

/// Seconds that a piece of a slow origin may take: the hash comes to it while others bring what is within the window, and
/// all wait if it is not there then.
const PATIENCE: f64 = 2.0;

/// The weight of a new observation in the pace of an origin.
const WEIGHT: f64 = 0.3;

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

/// What one of the files under way may have, in blocks.
#[derive(Clone, Copy, Debug)]
struct Share {
    piece: u64,
    window: u64,
    memory: u64,
    distance: Distance,
}

/// A run of blocks to ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Its number.
    pub(crate) number: PieceNumber,
    /// The file.
    pub(crate) file: FileNumber,
    /// Its blocks. Some at the end may be taken over by others while it is under way.
    pub(crate) blocks: Range<u64>,
    /// Whether the file is read in one stream, because its server ignores ranges or its disk takes it in order only.
    pub(crate) sequential: bool,
}

/// What to do with a block that has arrived whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// It is to be written; otherwise somebody else has it.
    pub(crate) is_first: bool,
    /// Where the piece ends by now.
    pub(crate) end: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Block {
    Missing,
    UnderWay,
    /// Arrived, and being written.
    Claimed,
    Written,
}

#[derive(Debug)]
struct Entry {
    blocks: Vec<Block>,
    /// Who offers it.
    origins: Vec<OriginNumber>,
    /// Who offers it in one stream only, for when nobody else is left.
    streams: Vec<OriginNumber>,
    /// Blocks hashed, from the first on.
    hashed: u64,
    /// Blocks that nobody has under way.
    missing: u64,
    pieces_under_way: u64,
    sequential: bool,
    read_ahead: ReadAheadControl,
}

#[derive(Debug)]
struct UnderWay {
    file: FileNumber,
    origin: OriginNumber,
    blocks: Range<u64>,
    /// The block that is arriving.
    next: u64,
    /// When the first of the blocks was asked for.
    begun: Duration,
}

/// The files under way and the state of each of their blocks.
#[derive(Debug)]
pub(crate) struct Schedule {
    limits: Limits,
    files: BTreeMap<FileNumber, Entry>,
    pieces: BTreeMap<PieceNumber, UnderWay>,
    next_piece: PieceNumber,
    distance: Distance,
    /// No file of more than a block waits to be taken up.
    is_last: bool,
    /// Blocks per second of one connection to an origin.
    paces: BTreeMap<OriginNumber, f64>,
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
            paces: BTreeMap::new(),
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
        let length = usize::try_from(blocks).unwrap_or(usize::MAX);
        let mut entry = Entry {
            blocks: vec![Block::Missing; length],
            origins,
            streams: Vec::new(),
            hashed,
            missing: blocks,
            pieces_under_way: 0,
            sequential: false,
            read_ahead: ReadAheadControl::default(),
        };
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
        self.files.get_mut(&file).is_none_or(|entry| {
            entry.origins.retain(|offering| *offering != origin);
            entry.streams.retain(|offering| *offering != origin);
            if entry.origins.is_empty()
                && let Some(stream) = entry.streams.pop()
            {
                entry.origins.push(stream);
                entry.sequential = true;
            }
            !entry.origins.is_empty()
        })
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
            UnderWay {
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
    fn askable(&self, is_offered: impl Fn(&Entry) -> bool) -> impl Iterator<Item = (FileNumber, &Entry)> {
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
        let slow = self.slow_pace(origin);
        order.into_iter().find_map(|(_, file)| {
            let entry = self.files.get(&file)?;
            let blocks = match slow {
                Some(pace) if !entry.sequential => {
                    #[expect(
                        clippy::cast_possible_truncation,
                        clippy::cast_sign_loss,
                        reason = "a number of blocks, and small"
                    )]
                    let longest = ((pace * PATIENCE) as u64).max(1);
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

    /// Blocks per second of an origin that is slow beside the best. What it is asked for is little, and what the hash
    /// comes to last.
    fn slow_pace(&self, origin: OriginNumber) -> Option<f64> {
        let best = self.paces.values().copied().fold(0.0, f64::max);
        let pace = self.paces.get(&origin).copied()?;
        (pace < best * SLOWER).then_some(pace)
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
            together += self.paces.get(&piece.origin).copied().unwrap_or_default();
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
        let begun = |entry: &&Entry| entry.is_large() && entry.missing < entry.blocks.len() as u64;
        self.files.values().filter(begun).count() as u64
    }

    /// Files of which blocks are arriving.
    pub(crate) fn arriving_files(&self) -> u64 {
        let is_arriving = |entry: &&Entry| entry.is_large() && entry.pieces_under_way > 0;
        self.files.values().filter(is_arriving).count() as u64
    }

    /// How far away sources are, where no origin is waited for by the others.
    fn distance(&self) -> Distance {
        if self.paces.keys().any(|origin| self.slow_pace(*origin).is_some()) {
            return Distance::Unknown;
        }
        self.distance
    }

    /// Takes over part of the piece that would end last, if that ends sooner then.
    fn take_over(&mut self, origin: OriginNumber, now: Duration) -> Option<(FileNumber, Range<u64>)> {
        let (number, _) = self
            .pieces
            .iter()
            .filter(|(_, piece)| self.can_take_over(piece.file, origin))
            .filter(|(_, piece)| piece.is_slow(self.paces.get(&origin).copied(), self.limits.is_capped, now))
            .filter(|(number, piece)| piece.left() > 1 || self.may_be_doubled(**number, piece))
            .map(|(number, piece)| (*number, piece.seconds_left(now)))
            .max_by(|(_, one), (_, other)| one.total_cmp(other))?;
        let piece = self.pieces.get(&number)?;
        let (left, slow) = (piece.left(), piece.pace(now));
        let known = self.paces.get(&origin).copied();
        let own = known.unwrap_or(slow * HOPED_FOR).max(f64::MIN_POSITIVE);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a number of blocks"
        )]
        let share = (left as f64 * own / (own + slow)).round() as u64;
        // What is arriving stays; alone, it is asked for a second time.
        let taken = share.clamp(1, (left - 1).max(1));
        let kept = if left == 1 { 0.0 } else { (left - taken) as f64 / slow };
        let ends = kept.max(taken as f64 / own);
        let worth = if left == 1 { WORTH_TWICE } else { WORTH };
        if piece.seconds_left(now) - ends < worth {
            return None;
        }
        let (file, end) = (piece.file, piece.blocks.end);
        if left > 1 {
            self.pieces.get_mut(&number)?.blocks.end = end - taken;
        }
        Some((file, end - taken..end))
    }

    /// The piece that an origin would take longest for, if its connection is worth more elsewhere.
    pub(crate) fn slowest(&self, origin: OriginNumber, now: Duration) -> Option<PieceNumber> {
        if self.limits.is_capped {
            return None;
        }
        self.pieces
            .iter()
            .filter(|(_, piece)| piece.origin == origin)
            .map(|(number, piece)| (*number, piece.seconds_left(now)))
            .filter(|(_, left)| *left >= WORTH_TWICE)
            .max_by(|(_, one), (_, other)| one.total_cmp(other))
            .map(|(number, _)| number)
    }

    /// A piece that has come down to a block that another one brought first.
    pub(crate) fn doubled(&self, piece: &Piece, block: u64) -> Option<PieceNumber> {
        self.pieces
            .iter()
            .find(|(number, other)| {
                **number != piece.number && other.file == piece.file && other.left() == 1 && other.next == block
            })
            .map(|(number, _)| *number)
    }

    /// Whether there is a file under way that an origin offers, and whether there is one that no other offers.
    pub(crate) fn demand(&self, origin: OriginNumber) -> (bool, bool) {
        let mut offered = self.files.values().filter(|entry| entry.origins.contains(&origin));
        (
            offered.clone().next().is_some(),
            offered.any(|entry| entry.origins.len() == 1),
        )
    }

    fn can_take_over(&self, file: FileNumber, origin: OriginNumber) -> bool {
        self.files
            .get(&file)
            .is_some_and(|entry| !entry.sequential && entry.is_waited_for() && entry.origins.contains(&origin))
    }

    /// Whether a piece that has come down to one block lacks it, and is alone with it: two for a block are enough.
    fn may_be_doubled(&self, number: PieceNumber, piece: &UnderWay) -> bool {
        let is_lacking = self
            .files
            .get(&piece.file)
            .is_some_and(|entry| entry.get(piece.next) == Some(Block::UnderWay));
        is_lacking
            && !self
                .pieces
                .iter()
                .any(|(other, more)| *other != number && more.file == piece.file && more.blocks.contains(&piece.next))
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
        let is_known = arrived > 0 || seconds >= PATIENCE;
        if is_known && seconds > 0.0 {
            let new = (arrived as f64).max(0.5) / seconds;
            let pace = self.paces.entry(ended.origin).or_insert(new);
            *pace += WEIGHT * (new - *pace);
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

    /// Whether nothing of a file is on its way: not asked for, and not being written.
    pub(crate) fn is_idle(&self, file: FileNumber) -> bool {
        self.files
            .get(&file)
            .is_none_or(|entry| entry.pieces_under_way == 0 && !entry.blocks.contains(&Block::Claimed))
    }
}

impl UnderWay {
    /// Blocks not yet arrived, the arriving one included.
    fn left(&self) -> u64 {
        self.blocks.end.saturating_sub(self.next)
    }

    /// Blocks per second. Of the arriving one half is thought to be there, as it is on average.
    fn pace(&self, now: Duration) -> f64 {
        let arrived = (self.next - self.blocks.start) as f64 + 0.5;
        arrived / now.saturating_sub(self.begun).as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Whether it is slow beside what another connection is known to bring.
    fn is_slow(&self, known: Option<f64>, is_capped: bool, now: Duration) -> bool {
        match known {
            Some(known) => self.pace(now) < known * if is_capped { FAR_SLOWER } else { SLOWER },
            // It may be waiting for its share of the bandwidth.
            None if is_capped => false,
            None => self.next == self.blocks.start && now.saturating_sub(self.begun).as_secs_f64() >= SILENCE,
        }
    }

    fn seconds_left(&self, now: Duration) -> f64 {
        self.left() as f64 / self.pace(now)
    }
}

impl Entry {
    fn is_large(&self) -> bool {
        self.blocks.len() > 1
    }

    fn get(&self, block: u64) -> Option<Block> {
        self.blocks.get(usize::try_from(block).ok()?).copied()
    }

    fn set(&mut self, block: u64, state: Block) {
        if let Some(entry) = usize::try_from(block).ok().and_then(|block| self.blocks.get_mut(block)) {
            self.missing -= u64::from(*entry == Block::Missing);
            self.missing += u64::from(state == Block::Missing);
            *entry = state;
        }
    }

    /// Where the next blocks to ask for are, if more pieces may be under way.
    fn window(&self, share: Share) -> Option<Range<u64>> {
        let allowed = if self.sequential { 1 } else { self.read_ahead.allowed() };
        if self.pieces_under_way >= allowed {
            return None;
        }
        let count = self.blocks.len() as u64;
        if self.sequential {
            return Some(self.hashed..count);
        }
        let ahead = if self.read_ahead.is_held_to_memory(share.distance, self.is_hash_behind()) {
            share.memory.clamp(1, share.window)
        } else {
            share.window
        };
        Some(self.hashed..count.min(self.hashed + ahead))
    }

    /// Whether the next block to hash is there.
    fn is_hash_behind(&self) -> bool {
        self.get(self.hashed) == Some(Block::Written)
    }

    fn is_missing(&self, block: u64) -> bool {
        self.get(block) == Some(Block::Missing)
    }

    /// Whether anybody waits for what is under way: the hash, or connections that find nothing else to do up to the end.
    /// Where the window is full because the hash is behind, nothing is won by having it sooner.
    fn is_waited_for(&self) -> bool {
        self.missing == 0 || !self.is_hash_behind()
    }

    /// What the hash comes to first.
    fn next(&self, share: Share) -> Option<Range<u64>> {
        let window = self.window(share)?;
        let start = window.clone().find(|block| self.is_missing(*block))?;
        // Pieces end at multiples of their length, so that holes left by an earlier run do not shift all others.
        let end = if self.sequential {
            window.end
        } else {
            // While the window moves on block by block, pieces that end with it would be of one block each.
            let last = if share.distance == Distance::Far {
                self.blocks.len() as u64
            } else {
                window.end
            };
            last.min((start / share.piece + 1) * share.piece)
        };
        let end = (start..end).find(|block| !self.is_missing(*block)).unwrap_or(end);
        Some(start..end)
    }

    /// A few blocks that the hash comes to last.
    fn last(&self, share: Share, longest: u64) -> Option<Range<u64>> {
        let window = self.window(share)?;
        let end = window.clone().rev().find(|block| self.is_missing(*block))? + 1;
        let first = window.start.max(end.saturating_sub(longest));
        let start = (first..end).rev().take_while(|block| self.is_missing(*block)).last()?;
        Some(start..end)
    }
}

#[cfg(test)]
mod tests;
