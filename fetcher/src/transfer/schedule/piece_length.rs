//! How many bytes to ask for at once, from how servers answer. Short pieces arrive in order, so that the hash finds
//! them in memory, and leave little to a slow connection; long ones make up for the wait for the first byte.

use std::time::Duration;

use crate::transfer::settings::Settings;

/// Bytes of the shortest pieces.
const SHORTEST: u64 = 2 << 20;

/// A piece takes this many times as long as its first byte, so that waiting for it costs little.
const WORTH: f64 = 64.0;

/// Of a near source it is what the hash needs next that is waited for, so that short pieces are worth more.
const NEAR: f64 = 12.0;

/// A near source answers within so many seconds: what any connection brings meanwhile is little beside a short piece.
const SOON: f64 = 0.002;

/// The last pieces of a far source are waited for by all; that is worth waiting for the first byte a few times more.
const LAST: f64 = 4.0;

/// Seconds that a piece takes at most, for a connection may become slow.
const PATIENCE: f64 = 4.0;

/// The weight of a new observation.
const WEIGHT: f64 = 0.2;

/// How far away sources are, as it matters for how far pieces may run ahead of the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Distance {
    /// Nothing is known, or some origins are waited for by others.
    Unknown,
    /// Waiting for the first byte costs little even of a short piece, were there no other ones.
    Near,
    /// It costs so much that pieces must be long, and come side by side.
    Far,
}

/// Bounds of the length of pieces, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) shortest: u64,
    pub(crate) longest: u64,
    /// The same of sources that are far away.
    pub(crate) longest_far: u64,
}

impl Bounds {
    /// Such that the pieces of so many connections fit into the window.
    pub(crate) fn new(settings: &Settings, connections: usize) -> Self {
        let share = |window: u64| settings.piece_bytes.min(window / connections.max(1) as u64);
        Self {
            shortest: SHORTEST.max(settings.block_bytes),
            longest: share(settings.window_bytes).max(settings.block_bytes),
            longest_far: share(settings.far_window_bytes),
        }
    }
}

/// The length of pieces, learnt from those that arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PieceLength {
    bounds: Bounds,
    /// Answers after which it is known how far away sources are: the first one of each connection says little, for
    /// all of them begin at once.
    enough: usize,
    observed: usize,
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
    /// Within bounds, the shortest one until each of some connections has brought something.
    pub(crate) fn new(bounds: Bounds, connections: usize) -> Self {
        Self {
            bounds: sound(bounds),
            enough: connections,
            observed: 0,
            learnt: None,
        }
    }

    /// From now on other bounds hold.
    pub(crate) fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = sound(bounds);
    }

    /// An answer came after a while, and bytes with it over another while.
    pub(crate) fn observe(&mut self, first_byte: Duration, bytes: u64, body: Duration) {
        self.observed += 1;
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

    /// How far away they are.
    pub(crate) fn distance(&self) -> Distance {
        match self.learnt.filter(|_| self.observed > self.enough) {
            None => Distance::Unknown,
            Some(learnt) if learnt.least_first_byte <= SOON => Distance::Near,
            Some(_) => Distance::Far,
        }
    }

    /// Bytes to ask for at once: the shortest length doubled as often as it is worth it, so that pieces of different
    /// lengths still end at the same places.
    pub(crate) fn bytes(&self) -> u64 {
        match self.distance() {
            Distance::Unknown => self.bounds.shortest,
            Distance::Near => self.doubled(NEAR, self.bounds.longest),
            Distance::Far => self.doubled(WORTH, self.bounds.longest_far),
        }
    }

    /// Bytes to ask for at once when little is left, at least.
    pub(crate) fn last_bytes(&self) -> u64 {
        match self.distance() {
            Distance::Unknown | Distance::Near => self.bounds.shortest,
            Distance::Far => self.doubled(LAST, self.bounds.longest_far),
        }
    }

    fn doubled(&self, times: f64, longest: u64) -> u64 {
        let worth = self
            .learnt
            .map_or(0.0, |learnt| learnt.rate * (learnt.first_byte * times).min(PATIENCE));
        let mut length = self.bounds.shortest;
        while (length as f64) < worth && length * 2 <= longest {
            length *= 2;
        }
        length
    }
}

fn sound(bounds: Bounds) -> Bounds {
    let longest = bounds.longest.max(1);
    Bounds {
        shortest: bounds.shortest.min(longest),
        longest,
        longest_far: bounds.longest_far.max(longest),
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const MIB: u64 = 1 << 20;

    const BOUNDS: Bounds = Bounds {
        shortest: 2 * MIB,
        longest: 16 * MIB,
        longest_far: 64 * MIB,
    };

    fn observe(length: &mut PieceLength, first_byte_ms: u64, bytes_per_second: u64) {
        length.observe(
            Duration::from_millis(first_byte_ms),
            bytes_per_second,
            Duration::from_secs(1),
        );
    }

    #[rstest]
    #[case::local_disk_server(1, 120 * MIB, 2, 2)]
    #[case::in_the_same_zone(2, 120 * MIB, 4, 2)]
    #[case::across_a_continent(40, 12 * MIB, 32, 2)]
    #[case::across_an_ocean(100, 2 * MIB, 8, 2)]
    #[case::far_and_fast(100, 80 * MIB, 64, 32)]
    #[case::farther_than_pieces_may_be_long(200, 90 * MIB, 64, 64)]
    #[case::slow(100, MIB / 10, 2, 2)]
    #[case::so_far_that_a_piece_would_take_too_long(1000, 3 * MIB, 16, 16)]
    fn a_piece_is_as_long_as_the_wait_for_its_first_byte_asks_for(
        #[case] first_byte_ms: u64,
        #[case] bytes_per_second: u64,
        #[case] expected_mib: u64,
        #[case] expected_last_mib: u64,
    ) {
        let mut length = PieceLength::new(BOUNDS, 1);
        for _ in 0..2 {
            assert_eq!(length.bytes(), 2 * MIB, "too little is known yet");
            observe(&mut length, first_byte_ms, bytes_per_second);
        }
        assert_eq!(
            (length.bytes() / MIB, length.last_bytes() / MIB),
            (expected_mib, expected_last_mib)
        );
    }

    #[test]
    fn one_odd_answer_does_not_change_much() {
        let mut length = PieceLength::new(BOUNDS, 1);
        for _ in 0..20 {
            observe(&mut length, 1, 100 * MIB);
        }
        observe(&mut length, 20, 100 * MIB);
        assert_eq!(length.bytes(), 8 * MIB);
        for _ in 0..20 {
            observe(&mut length, 1, 100 * MIB);
        }
        assert_eq!(length.bytes(), 2 * MIB);
    }

    #[test]
    fn a_source_is_near_when_some_first_byte_came_soon() {
        let mut length = PieceLength::new(BOUNDS, 1);
        for (first_byte_ms, distance) in [
            (20, Distance::Unknown),
            (20, Distance::Far),
            (1, Distance::Near),
            (50, Distance::Near),
        ] {
            observe(&mut length, first_byte_ms, 100 * MIB);
            assert_eq!(length.distance(), distance, "{first_byte_ms} ms");
        }
    }

    #[test]
    fn the_first_answers_of_all_connections_do_not_tell_how_far_away_sources_are() {
        let mut length = PieceLength::new(BOUNDS, 8);
        for _ in 0..8 {
            // They begin at once, and wait for each other.
            observe(&mut length, 30, 10 * MIB);
            assert_eq!(length.distance(), Distance::Unknown);
        }
        observe(&mut length, 1, 100 * MIB);
        assert_eq!(length.distance(), Distance::Near);
    }

    #[test]
    fn bounds_below_the_shortest_length_hold() {
        let bounds = Bounds {
            longest: MIB,
            longest_far: MIB,
            ..BOUNDS
        };
        assert_eq!(PieceLength::new(bounds, 1).bytes(), MIB);
    }
}
