//! Which bytes of a file are taken, so that overlaps and holes are seen. Neighbours are merged: a file whose header
//! names its tensors in order takes room for one, however many they are.

use std::collections::BTreeMap;

/// Tensors that lie apart from each other at the same time. No known writer leaves even one.
const MOST: usize = 1 << 18;

/// Taken bytes.
#[derive(Debug, Default)]
pub(super) struct Spans(BTreeMap<u64, u64>);

/// Why bytes cannot be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// They are taken already, from here on.
    At(u64),
    /// Too many lie apart.
    Scattered,
}

impl Spans {
    /// Takes the bytes from `begin` to before `end`. Of no byte, none are taken.
    pub(super) fn take(&mut self, begin: u64, end: u64) -> Result<(), Taken> {
        if begin >= end {
            return Ok(());
        }
        let before = self.0.range(..=begin).next_back().map(|(from, to)| (*from, *to));
        if before.is_some_and(|(_, to)| to > begin) {
            return Err(Taken::At(begin));
        }
        let after = self.0.range(begin..).next().map(|(from, to)| (*from, *to));
        if let Some((from, _)) = after.filter(|(from, _)| *from < end) {
            return Err(Taken::At(from));
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
        if self.0.len() > MOST {
            return Err(Taken::Scattered);
        }
        Ok(())
    }

    /// The first byte that is not taken.
    pub(super) fn first_free(&self) -> u64 {
        self.0.get(&0).copied().unwrap_or(0)
    }

    /// The first byte after all that are taken.
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
                let result = spans.take(begin, begin + length);
                if let Some(at) = overlap {
                    prop_assert_eq!(result, Err(Taken::At(at as u64)));
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
        let mut apart = (0..).map(|number| spans.take(number * 2, number * 2 + 1));
        assert_eq!(apart.by_ref().take(MOST).find(Result::is_err), None);
        assert_eq!(apart.next(), Some(Err(Taken::Scattered)));
    }
}
