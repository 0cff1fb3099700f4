//! Work stealing and the endgame: when no block is missing, an idle connection steals part of the piece that would end last,
//! or requests its last block a second time.
//!
//! Both cost bytes that are sent twice: those in flight to the connection that loses them. A budget limits them.

use std::ops::Range;
use std::time::Duration;

use super::file_blocks::Block;
use super::piece::{InFlight, Piece};
use super::{FileNumber, OriginNumber, PieceNumber, Schedule};

/// Stealing must save at least this many seconds. It costs a connection and what was in flight on it.
const STEAL_MIN_SAVING_SECS: f64 = 2.0;

/// A duplicate request must save at least this many seconds. It costs the bytes of the block as well.
const DUPLICATE_MIN_SAVING_SECS: f64 = 3.0;

/// A duplicate request that saves this many seconds is free: the stall timeout would close the slow connection about then.
const DUPLICATE_FREE_SAVING_SECS: f64 = 15.0;

/// Assumed speed of another connection, relative to the slow one, if no rate is known.
const ASSUMED_GAIN: f64 = 1.25;

/// Blocks that are assumed in flight to a connection whose piece is cut.
const IN_FLIGHT_BLOCKS: u64 = 4;

/// One of this many blocks may be sent twice. One block per connection may in any case.
const BLOCKS_PER_DUPLICATE: u64 = 50;

/// What stealing and duplicate requests have cost and may cost, in blocks.
#[derive(Debug, Default)]
pub(super) struct DuplicateBudget {
    /// Blocks of all files added so far.
    total: u64,
    spent: u64,
}

impl DuplicateBudget {
    pub(super) fn add_file(&mut self, blocks: u64) {
        self.total += blocks;
    }

    /// Spends a cost in blocks, if it is within the budget.
    fn spend(&mut self, cost: u64, connections: u64) -> bool {
        let is_within = self.spent + cost <= (self.total / BLOCKS_PER_DUPLICATE).max(connections);
        self.spent += if is_within { cost } else { 0 };
        is_within
    }
}

/// Blocks that may be sent twice when this many are cut off a piece. None if the piece has delivered nothing yet.
fn cost_of_cutting(piece: &InFlight, blocks: u64) -> u64 {
    if piece.next == piece.blocks.start {
        0
    } else {
        blocks.min(IN_FLIGHT_BLOCKS)
    }
}

impl Schedule {
    /// Steals from the piece that would end last, or duplicates its last block, if that saves time.
    pub(super) fn steal(&mut self, origin: OriginNumber, now: Duration) -> Option<(FileNumber, Range<u64>)> {
        let (number, _) = self
            .pieces
            .iter()
            .filter(|(_, piece)| self.can_steal(piece.file, origin))
            .filter(|(_, piece)| piece.is_slow(self.paces.get(origin), self.limits.is_capped, now))
            .filter(|(number, piece)| piece.left() > 1 || self.may_duplicate(**number, piece))
            .map(|(number, piece)| (*number, piece.seconds_left(now)))
            .max_by(|(_, one), (_, other)| one.total_cmp(other))?;
        let piece = self.pieces.get(&number)?;
        let (left, slow) = (piece.left(), piece.pace(now));
        let known = self.paces.get(origin);
        let own = known.unwrap_or(slow * ASSUMED_GAIN).max(f64::MIN_POSITIVE);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a number of blocks"
        )]
        let share = (left as f64 * own / (own + slow)).round() as u64;
        // The arriving block stays with its connection, unless it is the only one: then it is requested twice.
        let stolen = share.clamp(1, (left - 1).max(1));
        let victim_secs = if left == 1 { 0.0 } else { (left - stolen) as f64 / slow };
        let ends_in_secs = victim_secs.max(stolen as f64 / own);
        let min_saving_secs = if left == 1 {
            DUPLICATE_MIN_SAVING_SECS
        } else {
            STEAL_MIN_SAVING_SECS
        };
        let saving_secs = piece.seconds_left(now) - ends_in_secs;
        if saving_secs < min_saving_secs {
            return None;
        }
        let cost = match left {
            1 if saving_secs >= DUPLICATE_FREE_SAVING_SECS => 0,
            1 => 1,
            _ => cost_of_cutting(piece, stolen),
        };
        let (file, end) = (piece.file, piece.blocks.end);
        if !self.duplicates.spend(cost, self.limits.connections) {
            return None;
        }
        if left > 1 {
            self.pieces.get_mut(&number)?.blocks.end = end - stolen;
        }
        Some((file, end - stolen..end))
    }

    /// The piece of an origin that would end last, if cancelling it is worth it.
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
        self.duplicates.spend(cost, self.limits.connections).then_some(number)
    }

    /// Another piece in flight whose only remaining block is the given one.
    pub(crate) fn duplicate_of(&self, piece: &Piece, block: u64) -> Option<PieceNumber> {
        self.pieces
            .iter()
            .find(|(number, other)| {
                **number != piece.number && other.file == piece.file && other.left() == 1 && other.next == block
            })
            .map(|(number, _)| *number)
    }

    fn can_steal(&self, file: FileNumber, origin: OriginNumber) -> bool {
        self.files
            .get(&file)
            .is_some_and(|entry| !entry.sequential && entry.is_waited_for() && entry.origins.contains(&origin))
    }

    /// Whether the last block of a piece is in flight in no other piece. Two requests for a block are enough.
    fn may_duplicate(&self, number: PieceNumber, piece: &InFlight) -> bool {
        let is_in_flight = self
            .files
            .get(&piece.file)
            .is_some_and(|entry| entry.get(piece.next) == Some(Block::InFlight));
        is_in_flight
            && !self
                .pieces
                .iter()
                .any(|(other, more)| *other != number && more.file == piece.file && more.blocks.contains(&piece.next))
    }
}
