//! How many connections there are, over all origins and at each.

use crate::transfer::schedule::OriginNumber;

/// Slow start tries this many times as many: a fetch of a few seconds has no time for many steps.
const SLOW_START_FACTOR: usize = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Numbers {
    /// Over all origins.
    pub(super) total: usize,
    /// What hill climbing found for each; `None` where only the total bounds it.
    by_origin: Vec<Option<usize>>,
}

impl Numbers {
    pub(super) fn new(total: usize, origins: usize) -> Self {
        Self {
            total,
            by_origin: vec![None; origins],
        }
    }

    /// At an origin, at most.
    pub(super) fn at(&self, origin: OriginNumber) -> usize {
        let own = self.by_origin.get(origin).copied().flatten();
        own.map_or(self.total, |own| own.min(self.total))
    }

    /// What open origins may have together.
    pub(super) fn allowed(&self, is_open: &[bool]) -> usize {
        let open = is_open.iter().enumerate().filter(|(_, is_open)| **is_open);
        open.map(|(origin, _)| self.at(origin)).sum::<usize>().min(self.total)
    }

    /// Another number at one origin. Where it is the total, only that bounds it from now on.
    pub(super) fn with(&self, origin: OriginNumber, number: usize) -> Self {
        let mut numbers = self.clone();
        if let Some(own) = numbers.by_origin.get_mut(origin) {
            *own = (number < self.total).then_some(number);
        }
        numbers
    }

    /// Several times as many, up to `most`, and at every origin: what hill climbing found was found for another rate.
    pub(super) fn more(&self, most: usize) -> Self {
        let total = self.total.saturating_mul(SLOW_START_FACTOR).min(most);
        Self::new(total, self.by_origin.len())
    }

    /// The largest factor by which an origin or the total has grown.
    pub(super) fn growth(&self, before: &Self) -> f64 {
        let origins = 0..self.by_origin.len();
        let by_origin = origins.map(|origin| self.at(origin) as f64 / before.at(origin).max(1) as f64);
        by_origin.fold(self.total as f64 / before.total.max(1) as f64, f64::max)
    }
}
