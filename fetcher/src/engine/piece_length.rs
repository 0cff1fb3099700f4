//! How many bytes to ask for at once, from how servers answer. Short pieces arrive in order, so that the hash finds
//! them in memory, and leave little to a slow connection; long ones make up for the wait for the first byte.

use std::time::Duration;

/// A piece takes this many times as long as its first byte, so that waiting for it costs little.
const WORTH: f64 = 12.0;

/// The weight of a new observation.
const WEIGHT: f64 = 0.2;

/// The length of pieces, learnt from those that arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct PieceLength {
    shortest: u64,
    longest: u64,
    /// Seconds to the first byte, and bytes per second from then on; unknown at the start.
    learnt: Option<(f64, f64)>,
}

impl PieceLength {
    /// Between two bounds, the shorter one until something is known.
    pub(super) fn new(shortest: u64, longest: u64) -> Self {
        Self {
            shortest: shortest.min(longest),
            longest,
            learnt: None,
        }
    }

    /// An answer came after a while, and bytes with it over another while.
    pub(super) fn observe(&mut self, first_byte: Duration, bytes: u64, body: Duration) {
        let new = (
            first_byte.as_secs_f64(),
            bytes as f64 / body.as_secs_f64().max(f64::EPSILON),
        );
        let mix = |old: f64, new: f64| old + WEIGHT * (new - old);
        self.learnt = Some(match self.learnt {
            None => new,
            Some(old) => (mix(old.0, new.0), mix(old.1, new.1)),
        });
    }

    /// Bytes to ask for at once: the shortest length doubled as often as it is worth it, so that pieces of different
    /// lengths still end at the same places.
    pub(super) fn bytes(&self) -> u64 {
        let Some((first_byte, rate)) = self.learnt else {
            return self.shortest;
        };
        let worth = first_byte * rate * WORTH;
        let mut length = self.shortest;
        while (length as f64) < worth && length * 2 <= self.longest {
            length *= 2;
        }
        length
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const MIB: u64 = 1 << 20;

    #[rstest]
    #[case::local_disk_server(1, 120 * MIB, 2)]
    #[case::near(10, 12 * MIB, 2)]
    #[case::across_a_continent(40, 12 * MIB, 8)]
    #[case::across_an_ocean(100, 6 * MIB, 8)]
    #[case::far_and_fast(200, 60 * MIB, 16)]
    #[case::slow(100, MIB / 10, 2)]
    fn a_piece_is_as_long_as_the_wait_for_its_first_byte_asks_for(
        #[case] first_byte_ms: u64,
        #[case] bytes_per_second: u64,
        #[case] expected_mib: u64,
    ) {
        let mut length = PieceLength::new(2 * MIB, 16 * MIB);
        assert_eq!(length.bytes(), 2 * MIB, "nothing is known yet");
        length.observe(
            Duration::from_millis(first_byte_ms),
            bytes_per_second,
            Duration::from_secs(1),
        );
        assert_eq!(length.bytes(), expected_mib * MIB);
    }

    #[test]
    fn one_odd_answer_does_not_change_much() {
        let mut length = PieceLength::new(2 * MIB, 16 * MIB);
        for _ in 0..20 {
            length.observe(Duration::from_millis(1), 100 * MIB, Duration::from_secs(1));
        }
        length.observe(Duration::from_millis(20), 100 * MIB, Duration::from_secs(1));
        assert_eq!(length.bytes(), 8 * MIB);
        for _ in 0..20 {
            length.observe(Duration::from_millis(1), 100 * MIB, Duration::from_secs(1));
        }
        assert_eq!(length.bytes(), 2 * MIB);
    }

    #[test]
    fn bounds_below_the_shortest_length_hold() {
        assert_eq!(PieceLength::new(2 * MIB, MIB).bytes(), MIB);
    }
}
