//! How many bytes to request at once, from the measured latency and throughput of the servers. Short pieces arrive in order,
//! so that the hash finds them in memory, and leave little to a slow connection. Long ones amortize the wait for the first
//! byte.

use std::time::Duration;

use crate::transfer::settings::Settings;

/// Length of the shortest pieces, in bytes.
const SHORTEST_PIECE_BYTES: u64 = 2 << 20;

/// A piece of a far source takes this many times as long as its first byte. The wait for that then costs little.
const FAR_WAIT_FACTOR: f64 = 64.0;

/// The factor for a near source. Lower, since the hash waits for the next piece and short ones arrive sooner.
const NEAR_WAIT_FACTOR: f64 = 12.0;

/// A source is near if a first byte arrives within this many seconds: a connection delivers much less than a short piece in
/// that time.
const NEAR_FIRST_BYTE_SECS: f64 = 0.002;

/// The factor for the last pieces of a far source. Lower, since everything waits for them.
const LAST_PIECE_WAIT_FACTOR: f64 = 4.0;

/// The longest time that a piece should take, in seconds. A connection may become slow.
const LONGEST_PIECE_SECS: f64 = 4.0;

/// Weight of a new response in the moving averages.
const OBSERVATION_WEIGHT: f64 = 0.2;

/// How far away the sources are. It decides how far pieces may run ahead of the hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Distance {
    /// Too few responses so far, or the other origins wait for a slow one.
    Unknown,
    /// The wait for the first byte is short even compared to a short piece.
    Near,
    /// The wait for the first byte is long: pieces must be long and arrive concurrently.
    Far,
}

/// Bounds of the length of pieces, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) shortest: u64,
    pub(crate) longest: u64,
    /// The longest piece of a far source.
    pub(crate) longest_far: u64,
}

impl Bounds {
    /// Bounds with which the pieces of all connections fit into the window.
    pub(crate) fn new(settings: &Settings, connections: usize) -> Self {
        let share = |window: u64| settings.piece_bytes.min(window / connections.max(1) as u64);
        Self {
            shortest: SHORTEST_PIECE_BYTES.max(settings.block_bytes),
            longest: share(settings.window_bytes).max(settings.block_bytes),
            longest_far: share(settings.far_window_bytes),
        }
    }
}

/// The length of pieces, estimated from the pieces that arrived.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PieceLength {
    bounds: Bounds,
    /// Number of responses before the distance is known. The first response of each connection says little, because all
    /// connections start at once.
    warm_up_responses: usize,
    observed: usize,
    /// `None` until the first response.
    estimate: Option<Estimate>,
}

#[derive(Clone, Copy, Debug)]
struct Estimate {
    /// Time to the first byte, as a moving average.
    first_byte_secs: f64,
    /// The shortest time to a first byte. Anything longer may have queued behind other pieces.
    least_first_byte_secs: f64,
    /// Throughput after the first byte, as a moving average.
    bytes_per_second: f64,
}

impl PieceLength {
    /// Starts with the shortest length, which holds until there is one response per connection.
    pub(crate) fn new(bounds: Bounds, connections: usize) -> Self {
        Self {
            bounds: ordered(bounds),
            warm_up_responses: connections,
            observed: 0,
            estimate: None,
        }
    }

    /// Replaces the bounds.
    pub(crate) fn set_bounds(&mut self, bounds: Bounds) {
        self.bounds = ordered(bounds);
    }

    /// Adds a response: the time to its first byte, its bytes, and the time that these took.
    pub(crate) fn observe(&mut self, first_byte: Duration, bytes: u64, body: Duration) {
        self.observed += 1;
        let first_byte = first_byte.as_secs_f64();
        let rate = bytes as f64 / body.as_secs_f64().max(f64::EPSILON);
        let mix = |old: f64, new: f64| old + OBSERVATION_WEIGHT * (new - old);
        self.estimate = Some(match self.estimate {
            None => Estimate {
                first_byte_secs: first_byte,
                least_first_byte_secs: first_byte,
                bytes_per_second: rate,
            },
            Some(old) => Estimate {
                first_byte_secs: mix(old.first_byte_secs, first_byte),
                least_first_byte_secs: old.least_first_byte_secs.min(first_byte),
                bytes_per_second: mix(old.bytes_per_second, rate),
            },
        });
    }

    /// How far away the sources are.
    pub(crate) fn distance(&self) -> Distance {
        match self.estimate.filter(|_| self.observed > self.warm_up_responses) {
            None => Distance::Unknown,
            Some(estimate) if estimate.least_first_byte_secs <= NEAR_FIRST_BYTE_SECS => Distance::Near,
            Some(_) => Distance::Far,
        }
    }

    /// Bytes to request at once: the shortest length times a power of two, so that pieces of different lengths end at the
    /// same offsets.
    pub(crate) fn bytes(&self) -> u64 {
        match self.distance() {
            Distance::Unknown => self.bounds.shortest,
            Distance::Near => self.length_for(NEAR_WAIT_FACTOR, self.bounds.longest),
            Distance::Far => self.length_for(FAR_WAIT_FACTOR, self.bounds.longest_far),
        }
    }

    /// The least bytes to request at once when little is left.
    pub(crate) fn last_bytes(&self) -> u64 {
        match self.distance() {
            Distance::Unknown | Distance::Near => self.bounds.shortest,
            Distance::Far => self.length_for(LAST_PIECE_WAIT_FACTOR, self.bounds.longest_far),
        }
    }

    fn length_for(&self, wait_factor: f64, longest: u64) -> u64 {
        let worth = self.estimate.map_or(0.0, |estimate| {
            estimate.bytes_per_second * (estimate.first_byte_secs * wait_factor).min(LONGEST_PIECE_SECS)
        });
        let mut length = self.bounds.shortest;
        while (length as f64) < worth && length * 2 <= longest {
            length *= 2;
        }
        length
    }
}

fn ordered(bounds: Bounds) -> Bounds {
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
    #[case::longer_than_the_longest(200, 90 * MIB, 64, 64)]
    #[case::slow(100, MIB / 10, 2, 2)]
    #[case::so_far_that_a_piece_would_take_too_long(1000, 3 * MIB, 16, 16)]
    fn pieces_are_long_enough_to_amortize_the_wait_for_the_first_byte(
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
    fn one_outlier_changes_the_length_little() {
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
    fn a_source_is_near_if_any_first_byte_arrived_soon() {
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
    fn the_first_response_of_each_connection_does_not_decide_the_distance() {
        let mut length = PieceLength::new(BOUNDS, 8);
        for _ in 0..8 {
            // All connections start at once and queue behind each other.
            observe(&mut length, 30, 10 * MIB);
            assert_eq!(length.distance(), Distance::Unknown);
        }
        observe(&mut length, 1, 100 * MIB);
        assert_eq!(length.distance(), Distance::Near);
    }

    #[test]
    fn a_longest_length_below_the_shortest_one_wins() {
        let bounds = Bounds {
            longest: MIB,
            longest_far: MIB,
            ..BOUNDS
        };
        assert_eq!(PieceLength::new(bounds, 1).bytes(), MIB);
    }
}
