//! How many bytes to ask for at once, from how servers answer. Short pieces arrive in order, so that the hash finds
//! them in memory, and leave little to a slow connection; long ones make up for the wait for the first byte.

use std::time::Duration;

/// A piece takes this many times as long as its first byte, so that waiting for it costs little.
const WORTH: f64 = 32.0;

/// Of a near source it is what the hash needs next that is waited for, so that short pieces are worth more.
const NEAR: f64 = 12.0;

/// The weight of a new observation.
const WEIGHT: f64 = 0.2;

/// The length of pieces, learnt from those that arrived.
#[derive(Clone, Copy, Debug)]
pub(super) struct PieceLength {
    shortest: u64,
    longest: u64,
    /// Unknown at the start.
    learnt: Option<Learnt>,
}

#[derive(Clone, Copy, Debug)]
struct Learnt {
    /// Seconds to the first byte, on average,
    first_byte: f64,
    /// and at least: what is more than that was waiting behind other pieces.
    least_first_byte: f64,
    /// Bytes per second from then on.
    rate: f64,
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
        let first_byte = first_byte.as_secs_f64();
        let rate = bytes as f64 / body.as_secs_f64().max(f64::EPSILON);
        let mix = |old: f64, new: f64| old + WEIGHT * (new - old);
        self.learnt = Some(match self.learnt {
            None => Learnt {
                first_byte,
                least_first_byte: first_byte,
                rate,
            },
            Some(old) => Learnt {
                first_byte: mix(old.first_byte, first_byte),
                least_first_byte: old.least_first_byte.min(first_byte),
                rate: mix(old.rate, rate),
            },
        });
    }

    /// Whether waiting for the first byte costs little even of a short piece, were there no other ones.
    pub(super) fn is_near(&self) -> bool {
        self.learnt
            .is_some_and(|learnt| learnt.least_first_byte * learnt.rate * NEAR <= self.shortest as f64)
    }

    /// Bytes to ask for at once: the shortest length doubled as often as it is worth it, so that pieces of different
    /// lengths still end at the same places.
    pub(super) fn bytes(&self) -> u64 {
        let Some(learnt) = self.learnt else {
            return self.shortest;
        };
        let times = if self.is_near() { NEAR } else { WORTH };
        let worth = learnt.first_byte * learnt.rate * times;
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
    #[case::across_a_continent(40, 12 * MIB, 16)]
    #[case::across_an_ocean(100, 2 * MIB, 8)]
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
    fn a_source_is_near_when_some_first_byte_came_soon() {
        let mut length = PieceLength::new(2 * MIB, 16 * MIB);
        assert!(!length.is_near(), "nothing is known yet");
        for (first_byte_ms, is_near) in [(20, false), (1, true), (50, true)] {
            length.observe(Duration::from_millis(first_byte_ms), 100 * MIB, Duration::from_secs(1));
            assert_eq!(length.is_near(), is_near, "{first_byte_ms} ms");
        }
    }

    #[test]
    fn bounds_below_the_shortest_length_hold() {
        assert_eq!(PieceLength::new(2 * MIB, MIB).bytes(), MIB);
    }
}
