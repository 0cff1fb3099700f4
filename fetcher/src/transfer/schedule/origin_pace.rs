//! How fast one connection to each origin is, and which origin is slow.
//!
//! The one definition of slow: an origin whose connection delivers less than a share of what the best one delivers. The
//! schedule limits slow origins to what the hash reaches last; steering lets them rest when they are far slower.

use std::collections::BTreeMap;

use super::OriginNumber;

/// An origin or piece below this share of the best rate is slow: where all are equally slow they share a bottleneck.
const SLOW_SHARE: f64 = 1.0 / 3.0;

/// Below this share it is stuck, though a bandwidth cap slows all pieces, some of them by chance more than others.
const STUCK_SHARE: f64 = SLOW_SHARE / 4.0;

/// Below this share it is not worth asking while another one is.
const NEGLIGIBLE_SHARE: f64 = 0.1;

/// The weight of a new piece in the pace of an origin.
const PIECE_WEIGHT: f64 = 0.3;

/// Whether a rate is slow beside another one.
pub(crate) fn is_slow_beside(rate: f64, best: f64) -> bool {
    rate < best * SLOW_SHARE
}

/// Whether a rate is so slow that a bandwidth cap does not explain it.
pub(crate) fn is_stuck_beside(rate: f64, best: f64) -> bool {
    rate < best * STUCK_SHARE
}

/// Whether a rate adds next to nothing beside another one.
pub(crate) fn is_negligible_beside(rate: f64, best: f64) -> bool {
    rate < best * NEGLIGIBLE_SHARE
}

/// Blocks per second of one connection to each origin.
#[derive(Debug, Default)]
pub(super) struct OriginPaces(BTreeMap<OriginNumber, f64>);

impl OriginPaces {
    /// Takes note of a piece that delivered some blocks in some seconds.
    pub(super) fn observe(&mut self, origin: OriginNumber, blocks: f64, seconds: f64) {
        let new = blocks / seconds;
        let pace = self.0.entry(origin).or_insert(new);
        *pace += PIECE_WEIGHT * (new - *pace);
    }

    /// The pace of an origin, where it is known.
    pub(super) fn get(&self, origin: OriginNumber) -> Option<f64> {
        self.0.get(&origin).copied()
    }

    /// The pace of an origin that is slow beside the best one.
    pub(super) fn slow(&self, origin: OriginNumber) -> Option<f64> {
        let best = self.0.values().copied().fold(0.0, f64::max);
        self.get(origin).filter(|pace| is_slow_beside(*pace, best))
    }

    /// Whether some origin is slow.
    pub(super) fn is_any_slow(&self) -> bool {
        self.0.keys().any(|origin| self.slow(*origin).is_some())
    }

    #[cfg(test)]
    pub(super) fn set(&mut self, origin: OriginNumber, pace: f64) {
        self.0.insert(origin, pace);
    }
}
