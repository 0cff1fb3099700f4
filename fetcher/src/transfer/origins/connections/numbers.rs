//! The number of connections, over all origins and to each.

use crate::transfer::schedule::OriginNumber;

/// Slow start multiplies the connections by this. Large, because a fetch of a few seconds has no time for many steps.
const SLOW_START_FACTOR: usize = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    /// Over all origins.
    pub(super) total: usize,
    /// The number that hill climbing found for each origin; `None` if only the total limits it.
    by_origin: Vec<Option<usize>>,
}

impl Numbers {
    pub(super) fn new(total: usize, origins: usize) -> Self {
        Self {
            total,
            by_origin: vec![None; origins],
        }
    }

    /// The most connections to an origin.
    pub(super) fn at(&self, origin: OriginNumber) -> usize {
        let own = self.by_origin.get(origin).copied().flatten();
        own.map_or(self.total, |own| own.min(self.total))
    }

    /// The most connections to all open origins together.
    pub(super) fn allowed(&self, is_open: &[bool]) -> usize {
        let open = is_open.iter().enumerate().filter(|(_, is_open)| **is_open);
        open.map(|(origin, _)| self.at(origin)).sum::<usize>().min(self.total)
    }

    /// The same with another number for one origin. A number that reaches the total removes the origin's own limit.
    pub(super) fn with(&self, origin: OriginNumber, number: usize) -> Self {
        let mut numbers = self.clone();
        if let Some(own) = numbers.by_origin.get_mut(origin) {
            *own = (number < self.total).then_some(number);
        }
        numbers
    }

    /// The candidate of slow start, up to `max`. It has no limits by origin, which were found at another rate.
    pub(super) fn scaled_up(&self, max: usize) -> Self {
        let total = self.total.saturating_mul(SLOW_START_FACTOR).min(max);
        Self::new(total, self.by_origin.len())
    }

    /// The largest factor by which the total, or the number of one origin, has grown.
    pub(super) fn growth(&self, before: &Self) -> f64 {
        let origins = 0..self.by_origin.len();
        let by_origin = origins.map(|origin| self.at(origin) as f64 / before.at(origin).max(1) as f64);
        by_origin.fold(self.total as f64 / before.total.max(1) as f64, f64::max)
    }
}
