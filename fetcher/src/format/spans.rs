//! A set of byte ranges, with which overlaps and gaps of tensors are found.
//!
//! Adjacent ranges are merged, so a header that names its tensors in order needs one entry, however many they are.

use std::collections::BTreeMap;

/// Maximum number of ranges that are not adjacent. Known writers leave no gaps at all.
const MAX_SPANS: usize = 1 << 18;

/// The ranges: start and end of each.
#[derive(Debug, Default)]
pub(super) struct Spans(BTreeMap<u64, u64>);

/// Why a range cannot be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rejected {
    /// It overlaps another range from this byte on.
    Overlap(u64),
    /// There would be too many ranges.
    TooMany,
}

impl Spans {
    /// Adds the bytes from `begin` to before `end`. An empty range adds nothing.
    pub(super) fn add(&mut self, begin: u64, end: u64) -> Result<(), Rejected> {
        if begin >= end {
            return Ok(());
        }
        let before = self.0.range(..=begin).next_back().map(|(from, to)| (*from, *to));
        if before.is_some_and(|(_, to)| to > begin) {
            return Err(Rejected::Overlap(begin));
        }
        let after = self.0.range(begin..).next().map(|(from, to)| (*from, *to));
        if let Some((from, _)) = after.filter(|(from, _)| *from < end) {
            return Err(Rejected::Overlap(from));
        }
        let from = match before {
            Some((from, to)) if to == begin => from,
            _ => begin,
        };
        let to = match after {
            Some((next, to)) if next == end => {
                self.0.remove(&next);
                to
            }
            _ => end,
        };
        self.0.insert(from, to);
        if self.0.len() > MAX_SPANS {
            return Err(Rejected::TooMany);
        }
        Ok(())
    }

    /// The first byte that is in no range.
    pub(super) fn first_free(&self) -> u64 {
        self.0.get(&0).copied().unwrap_or(0)
    }

    /// The first byte after all ranges.
    pub(super) fn end(&self) -> u64 {
        self.0.last_key_value().map_or(0, |(_, to)| *to)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_says_what_a_list_of_taken_bytes_says(wanted in proptest::collection::vec((0_u64..64, 0_u64..8), 0..40)) {
            let mut taken = [false; 80];
            let mut spans = Spans::default();
            for (begin, length) in wanted {
                let range = usize::try_from(begin).unwrap()..usize::try_from(begin + length).unwrap();
                let overlap = range.clone().find(|at| taken[*at]);
                let result = spans.add(begin, begin + length);
                if let Some(at) = overlap {
                    prop_assert_eq!(result, Err(Rejected::Overlap(at as u64)));
                } else {
                    prop_assert_eq!(result, Ok(()));
                    taken[range].fill(true);
                }
                let free = taken.iter().position(|is| !is).unwrap();
                let end = taken.iter().rposition(|is| *is).map_or(0, |last| last + 1);
                prop_assert_eq!(spans.first_free(), free as u64);
                prop_assert_eq!(spans.end(), end as u64);
            }
        }
    }

    #[test]
    fn tensors_that_all_lie_apart_are_bounded() {
        let mut spans = Spans::default();
        let mut apart = (0..).map(|number| spans.add(number * 2, number * 2 + 1));
        assert_eq!(apart.by_ref().take(MAX_SPANS).find(Result::is_err), None);
        assert_eq!(apart.next(), Some(Err(Rejected::TooMany)));
    }
}
