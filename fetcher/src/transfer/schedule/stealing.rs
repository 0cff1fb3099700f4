//! Work stealing and the endgame: when nothing is missing, an idle connection takes part of the piece that would end last,
//! or asks for its last block a second time.
//!
//! Both cost bytes that are sent twice: what is in flight to the connection that loses them. A budget bounds them.

use std::ops::Range;
use std::time::Duration;

use super::file_blocks::Block;
use super::piece::{InFlight, Piece};
use super::{FileNumber, OriginNumber, PieceNumber, Schedule};

/// Stealing must save this many seconds, for it costs a connection and what was in flight on it.
const STEAL_MIN_SAVING_SECS: f64 = 2.0;

/// Asking for a block a second time must save this many seconds, for it costs the bytes as well.
const DUPLICATE_MIN_SAVING_SECS: f64 = 3.0;

/// A duplicate that saves this many seconds needs no budget: a connection that delivers nothing is dropped about as late.
const DUPLICATE_FREE_SAVING_SECS: f64 = 15.0;

/// Where no rate is known, another connection is hoped to be this many times as fast.
const HOPED_GAIN: f64 = 1.25;

/// Blocks that may be in flight to a connection whose piece is cut.
const IN_FLIGHT_BLOCKS: u64 = 4;

/// The share of all blocks that may be sent twice; one block per connection may be in any case.
const DUPLICATE_SHARE: u64 = 50;

/// What stealing and duplicates have cost, in blocks.
#[derive(Debug, Default)]
pub(super) struct DuplicateBudget {
    /// Blocks of all files so far.
    total: u64,
    spent: u64,
}

impl DuplicateBudget {
    pub(super) fn add_file(&mut self, blocks: u64) {
        self.total += blocks;
    }

    /// Whether something that costs this many blocks is within the budget.
    fn allows(&self, cost: u64, connections: u64) -> bool {
        self.spent + cost <= (self.total / DUPLICATE_SHARE).max(connections)
    }

    fn spend(&mut self, cost: u64) {
        self.spent += cost;
    }
}

/// What cutting a number of blocks off a piece may cost. Nothing is in flight of a piece that delivered nothing.
fn cost_of_cutting(piece: &InFlight, blocks: u64) -> u64 {
    if piece.next == piece.blocks.start {
        0
    } else {
        blocks.min(IN_FLIGHT_BLOCKS)
    }
}

impl Schedule {
    /// Takes over part of the piece that would end last, if that ends sooner then.
    pub(super) fn take_over(&mut self, origin: OriginNumber, now: Duration) -> Option<(FileNumber, Range<u64>)> {
        let (number, _) = self
            .pieces
            .iter()
            .filter(|(_, piece)| self.can_take_over(piece.file, origin))
            .filter(|(_, piece)| piece.is_slow(self.paces.get(origin), self.limits.is_capped, now))
            .filter(|(number, piece)| piece.left() > 1 || self.may_be_doubled(**number, piece))
            .map(|(number, piece)| (*number, piece.seconds_left(now)))
            .max_by(|(_, one), (_, other)| one.total_cmp(other))?;
        let piece = self.pieces.get(&number)?;
        let (left, slow) = (piece.left(), piece.pace(now));
        let known = self.paces.get(origin);
        let own = known.unwrap_or(slow * HOPED_GAIN).max(f64::MIN_POSITIVE);
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
        let worth = if left == 1 {
            DUPLICATE_MIN_SAVING_SECS
        } else {
            STEAL_MIN_SAVING_SECS
        };
        let saving = piece.seconds_left(now) - ends;
        if saving < worth {
            return None;
        }
        let cost = match left {
            1 if saving >= DUPLICATE_FREE_SAVING_SECS => 0,
            1 => 1,
            _ => cost_of_cutting(piece, taken),
        };
        if !self.duplicates.allows(cost, self.limits.connections) {
            return None;
        }
        let (file, end) = (piece.file, piece.blocks.end);
        self.duplicates.spend(cost);
        if left > 1 {
            self.pieces.get_mut(&number)?.blocks.end = end - taken;
        }
        Some((file, end - taken..end))
    }

    /// The piece that an origin would take longest for, if its connection is worth more elsewhere.
    pub(crate) fn slowest(&mut self, origin: OriginNumber, now: Duration) -> Option<PieceNumber> {
        if self.limits.is_capped {
            return None;
        }
        let (number, piece) = self
            .pieces
            .iter()
            .filter(|(_, piece)| piece.origin == origin)
            .filter(|(_, piece)| piece.seconds_left(now) >= DUPLICATE_MIN_SAVING_SECS)
            .max_by(|(_, one), (_, other)| one.seconds_left(now).total_cmp(&other.seconds_left(now)))?;
        let (number, cost) = (*number, cost_of_cutting(piece, piece.left()));
        if !self.duplicates.allows(cost, self.limits.connections) {
            return None;
        }
        self.duplicates.spend(cost);
        Some(number)
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

    fn can_take_over(&self, file: FileNumber, origin: OriginNumber) -> bool {
        self.files
            .get(&file)
            .is_some_and(|entry| !entry.sequential && entry.is_waited_for() && entry.origins.contains(&origin))
    }

    /// Whether a piece that has come down to one block lacks it, and is alone with it: two for a block are enough.
    fn may_be_doubled(&self, number: PieceNumber, piece: &InFlight) -> bool {
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
}
