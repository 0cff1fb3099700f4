//! A piece: the run of blocks that one request asks for, and how it fares.

use std::ops::Range;
use std::time::Duration;

use super::origin_pace::{is_slow_beside, is_stuck_beside};
use super::{FileNumber, OriginNumber, PieceNumber};

/// A piece that delivered nothing for this long is slow where no rate is known, in seconds.
const SILENCE_SECS: f64 = 5.0;

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

/// A piece that a connection fetches.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) file: FileNumber,
    pub(super) origin: OriginNumber,
    pub(super) blocks: Range<u64>,
    /// The block that is arriving.
    pub(super) next: u64,
    /// When the first of the blocks was asked for.
    pub(super) begun: Duration,
}

impl InFlight {
    /// Blocks not yet arrived, the arriving one included.
    pub(super) fn left(&self) -> u64 {
        self.blocks.end.saturating_sub(self.next)
    }

    /// Blocks per second. Of the arriving one half is thought to be there, as it is on average.
    pub(super) fn pace(&self, now: Duration) -> f64 {
        let arrived = (self.next - self.blocks.start) as f64 + 0.5;
        arrived / now.saturating_sub(self.begun).as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Whether it is slow beside what another connection is known to bring.
    pub(super) fn is_slow(&self, known: Option<f64>, is_capped: bool, now: Duration) -> bool {
        match known {
            Some(known) if is_capped => is_stuck_beside(self.pace(now), known),
            Some(known) => is_slow_beside(self.pace(now), known),
            // It may be waiting for its share of the bandwidth.
            None if is_capped => false,
            None => self.next == self.blocks.start && now.saturating_sub(self.begun).as_secs_f64() >= SILENCE_SECS,
        }
    }

    pub(super) fn seconds_left(&self, now: Duration) -> f64 {
        self.left() as f64 / self.pace(now)
    }
}
