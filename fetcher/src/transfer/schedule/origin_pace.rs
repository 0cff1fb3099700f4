//! How fast one connection to each origin is, and which origins are slow.
//!
//! The only definition of slow: one connection delivers less than a share of what one connection to the best origin
//! delivers. The schedule gives slow origins only blocks that the hash reaches last; steering rests far slower ones.

use std::collections::BTreeMap;

use super::OriginNumber;

/// An origin or piece below this share of the best rate is slow. Relative, since equally slow ones share a bottleneck.
const SLOW_SHARE: f64 = 1.0 / 3.0;

/// A piece below this share is stuck, even under a bandwidth cap. A cap slows some pieces more than others by chance.
const STUCK_SHARE: f64 = SLOW_SHARE / 4.0;

/// An origin below this share gets no connection while a better one is available.
const NEGLIGIBLE_SHARE: f64 = 0.1;

/// Weight of a new piece in the moving average of an origin's pace.
const PIECE_WEIGHT: f64 = 0.3;

/// Whether a rate is slow compared to the best one.
pub(crate) fn is_slow_beside(rate: f64, best: f64) -> bool {
    rate < best * SLOW_SHARE
}

/// Whether a rate is so slow that a bandwidth cap does not explain it.
pub(crate) fn is_stuck_beside(rate: f64, best: f64) -> bool {
    rate < best * STUCK_SHARE
}

/// Whether a rate is negligible compared to the best one.
pub(crate) fn is_negligible_beside(rate: f64, best: f64) -> bool {
    rate < best * NEGLIGIBLE_SHARE
}

/// Blocks per second of one connection, by origin.
#[derive(Debug, Default)]
pub(super) struct OriginPaces(BTreeMap<OriginNumber, f64>);

impl OriginPaces {
    /// Adds a piece that delivered `blocks` in `seconds`.
    pub(super) fn observe(&mut self, origin: OriginNumber, blocks: f64, seconds: f64) {
        let new = blocks / seconds;
        let pace = self.0.entry(origin).or_insert(new);
        *pace += PIECE_WEIGHT * (new - *pace);
    }

    /// The pace of an origin, if known.
    pub(super) fn get(&self, origin: OriginNumber) -> Option<f64> {
        self.0.get(&origin).copied()
    }

    /// The pace of an origin, if it is slow compared to the best one.
    pub(super) fn slow(&self, origin: OriginNumber) -> Option<f64> {
        let best = self.0.values().copied().fold(0.0, f64::max);
        self.get(origin).filter(|pace| is_slow_beside(*pace, best))
    }

    /// Whether any origin is slow.
    pub(super) fn is_any_slow(&self) -> bool {
        self.0.keys().any(|origin| self.slow(*origin).is_some())
    }

    #[cfg(test)]
    pub(super) fn set(&mut self, origin: OriginNumber, pace: f64) {
        self.0.insert(origin, pace);
    }
}
