//! A piece: the run of blocks that one request asks for, and its progress.

use std::ops::Range;
use std::time::Duration;

use super::origin_pace::{is_slow_beside, is_stuck_beside};
use super::{FileNumber, OriginNumber, PieceNumber};

/// Seconds without a block after which a piece is slow, if no rate is known.
const SILENCE_SECS: f64 = 5.0;

/// A run of blocks to request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) number: PieceNumber,
    pub(crate) file: FileNumber,
    /// Its blocks at the start. Other connections may steal blocks from its end while it is in flight.
    pub(crate) blocks: Range<u64>,
    /// Whether the file is read in one stream: its server ignores ranges, or its disk takes only sequential writes.
    pub(crate) sequential: bool,
}

/// What to do with a block that has arrived completely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim {
    /// Whether to write it. If not, another connection had it first.
    pub(crate) is_first: bool,
    /// The block at which the piece ends now.
    pub(crate) end: u64,
}

/// The progress of a piece that a connection fetches.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) file: FileNumber,
    pub(super) origin: OriginNumber,
    pub(super) blocks: Range<u64>,
    /// The block that is arriving.
    pub(super) next: u64,
    /// When the piece was requested.
    pub(super) started: Duration,
}

impl InFlight {
    /// Number of blocks that have not arrived completely.
    pub(super) fn left(&self) -> u64 {
        self.blocks.end.saturating_sub(self.next)
    }

    /// Blocks per second. Counts half of the arriving block, which is its average.
    pub(super) fn pace(&self, now: Duration) -> f64 {
        let arrived = (self.next - self.blocks.start) as f64 + 0.5;
        arrived / now.saturating_sub(self.started).as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// Whether it is slow compared to the known pace of another connection.
    pub(super) fn is_slow(&self, known: Option<f64>, is_capped: bool, now: Duration) -> bool {
        match known {
            Some(known) if is_capped => is_stuck_beside(self.pace(now), known),
            Some(known) => is_slow_beside(self.pace(now), known),
            // It may be waiting for its share of the capped bandwidth.
            None if is_capped => false,
            None => self.next == self.blocks.start && now.saturating_sub(self.started).as_secs_f64() >= SILENCE_SECS,
        }
    }

    pub(super) fn seconds_left(&self, now: Duration) -> f64 {
        self.left() as f64 / self.pace(now)
    }
}
