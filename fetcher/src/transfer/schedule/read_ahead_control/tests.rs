use rstest::rstest;

use super::Distance::{Far, Near, Unknown};
use super::*;

const TOOK: Duration = Duration::from_millis(1);

/// A hash that takes a millisecond per block, and a source. The source has a throughput per piece and one for all pieces
/// together, in blocks per second.
struct Simulation {
    control: ReadAheadControl,
    connections: u64,
    per_piece: f64,
    together: f64,
    distance: Distance,
    now: Duration,
    steps: u32,
}

impl Simulation {
    fn of(connections: u64, per_piece: f64, together: f64, distance: Distance) -> Self {
        let (control, now, steps) = (ReadAheadControl::default(), Duration::ZERO, 0);
        Self {
            control,
            connections,
            per_piece,
            together,
            distance,
            now,
            steps,
        }
    }

    fn pieces(&self) -> u64 {
        self.control.allowed().min(self.connections)
    }

    /// Runs for some seconds. Returns the number of blocks hashed.
    fn run(&mut self, seconds: u64) -> u32 {
        let (end, before) = (self.now + Duration::from_secs(seconds), self.steps);
        while self.now < end {
            let in_flight = self.pieces();
            let waits = Duration::from_secs_f64(1.0 / (in_flight as f64 * self.per_piece).min(self.together));
            self.now += waits.max(TOOK);
            self.steps += 1;
            self.control.step(TOOK, in_flight, self.distance, self.now);
        }
        self.steps - before
    }
}

#[rstest]
#[case::hash_is_the_bottleneck(16, 1000.0, f64::MAX, Near, 4..=4)]
#[case::far_source_keeps_all_though_the_hash_is_the_bottleneck(16, 1000.0, f64::MAX, Far, 16..=16)]
#[case::few_pieces_deliver_as_much_as_many(16, 200.0, 600.0, Near, 4..=5)]
#[case::some_pieces_deliver_as_much_as_many(16, 75.0, 600.0, Near, 7..=9)]
#[case::source_is_the_bottleneck(16, 6.0, f64::MAX, Near, 16..=16)]
#[case::slow_far_source_keeps_many(64, 1.5, f64::MAX, Far, 64..=64)]
#[case::fast_near_source_needs_all(16, 45.0, f64::MAX, Near, 16..=16)]
#[case::fast_far_source_needs_all(16, 31.0, f64::MAX, Far, 16..=16)]
#[case::few_connections_keep_their_number(2, 1000.0, f64::MAX, Near, 2..=2)]
fn the_number_of_pieces_follows_the_bottleneck(
    #[case] connections: u64,
    #[case] per_piece: f64,
    #[case] together: f64,
    #[case] distance: Distance,
    #[case] expected: std::ops::RangeInclusive<u64>,
) {
    let mut simulation = Simulation::of(connections, per_piece, together, distance);
    simulation.run(10);
    assert!(expected.contains(&simulation.pieces()), "{}", simulation.pieces());
}

#[rstest]
#[case::near(Near, 0.93)]
#[case::far_away(Far, 0.999)]
fn experiments_cost_a_source_that_needs_all_its_pieces_little(#[case] distance: Distance, #[case] share: f64) {
    let mut simulation = Simulation::of(16, 31.0, f64::MAX, distance);
    let all = 16.0 * 31.0 * 20.0;
    let hashed = f64::from(simulation.run(20));
    assert!(hashed > all * share, "{hashed} of {all}");
}

#[rstest]
#[case::near_and_fast(Near, 31.0, true, true)]
#[case::near_and_slow(Near, 1.0, true, false)]
#[case::unknown(Unknown, 1.0, true, false)]
#[case::far(Far, 31.0, false, false)]
fn only_a_slow_or_far_source_may_run_further_ahead_than_memory_holds(
    #[case] distance: Distance,
    #[case] per_piece: f64,
    #[case] is_bound_at_first: bool,
    #[case] is_bound: bool,
) {
    let mut simulation = Simulation::of(16, per_piece, f64::MAX, distance);
    assert_eq!(simulation.control.is_memory_bound(distance, true), is_bound_at_first);
    assert!(
        !simulation.control.is_memory_bound(distance, false),
        "nothing is known yet"
    );
    simulation.run(10);
    assert_eq!(simulation.control.is_memory_bound(distance, false), is_bound);
}

#[test]
fn a_change_is_judged_once_its_pieces_have_arrived() {
    let mut control = ReadAheadControl::default();
    control.observe_piece(2.0);
    let mut now = Duration::ZERO;
    let mut allowed = Vec::new();
    for _ in 0..2900 {
        now += TOOK;
        control.step(TOOK, control.allowed().min(16), Near, now);
        allowed.push(control.allowed());
    }
    allowed.dedup();
    assert_eq!(allowed, [u64::MAX, 8]);
}

#[test]
fn a_source_that_nearly_stops_gets_its_pieces_back_after_a_few_blocks() {
    let mut simulation = Simulation::of(16, 1000.0, f64::MAX, Near);
    simulation.run(10);
    assert_eq!(simulation.pieces(), MIN_PIECES);
    simulation.per_piece = 2.0;
    let hashed = simulation.run(2);
    assert_eq!(simulation.pieces(), 16);
    assert!(hashed < ROUND_STEPS, "{hashed}");
}
