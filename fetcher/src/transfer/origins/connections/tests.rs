use rstest::rstest;

use super::*;

const STEP: Duration = Duration::from_millis(250);

/// One origin, with its bytes per second by number of connections, and those of the hash.
struct Simulation {
    connections: Connections,
    together: fn(usize) -> u64,
    hash: u64,
    now: Duration,
    most: usize,
}

/// A step of one origin whose connections are all busy.
fn step(connections: &mut Connections, now: Duration, bytes: u64, is_enough: bool) {
    let samples = [Sample {
        bytes,
        busy: connections.at(0),
    }];
    let is_open = [true];
    connections.step(
        now,
        Observation {
            samples: &samples,
            is_open: &is_open,
            is_enough,
        },
    );
}

impl Simulation {
    fn of(most: usize, together: fn(usize) -> u64) -> Self {
        Self {
            connections: Connections::new(most, 1),
            together,
            hash: u64::MAX,
            now: Duration::ZERO,
            most: 0,
        }
    }

    fn run(&mut self, seconds: f64) -> usize {
        let end = self.now + Duration::from_secs_f64(seconds);
        while self.now < end {
            self.now += STEP;
            let rate = (self.together)(self.connections.at(0));
            step(&mut self.connections, self.now, rate / 4, rate >= self.hash);
            self.most = self.most.max(self.connections.total());
        }
        self.connections.total()
    }
}

#[rstest]
#[case::each_connection_is_capped(48, |n| n as u64 * 6_000_000, 48)]
#[case::the_first_ones_are_the_limit(16, |n| n as u64 * 6_000_000, 16)]
#[case::fewer_are_the_limit(3, |n| n as u64 * 6_000_000, 3)]
#[case::bandwidth_is_used_up(48, |_| 100_000_000, 16)]
#[case::some_more_help(64, |n: usize| n.min(32) as u64 * 6_000_000, 64)]
#[case::few_more_help_little(64, |n: usize| n.min(18) as u64 * 6_000_000, 16)]
#[case::the_first_ones_are_fast_enough(48, |n| n as u64 * 30_000_000, 16)]
#[case::the_server_collapses_under_many(48, |n| if n > 16 { 1_000_000 } else { 100_000_000 }, 16)]
fn more_connections_are_kept_where_they_deliver_more(
    #[case] most: usize,
    #[case] together: fn(usize) -> u64,
    #[case] expected: usize,
) {
    assert_eq!(Simulation::of(most, together).run(5.0), expected);
}

#[test]
fn if_each_connection_is_capped_all_are_used_within_a_second() {
    let mut simulation = Simulation::of(48, |n| n as u64 * 6_000_000);
    assert_eq!(simulation.run(0.25), 16);
    assert_eq!(simulation.run(0.25), 48);
    assert_eq!(simulation.run(10.0), 48);
}

#[test]
fn no_more_are_tried_while_the_first_ones_start() {
    let mut connections = Connections::new(48, 1);
    for (index, bytes) in [0, 8_000_000, 40_000_000, 120_000_000, 130_000_000, 130_000_000]
        .into_iter()
        .enumerate()
    {
        step(&mut connections, STEP * u32::try_from(index).unwrap(), bytes, false);
        assert_eq!(connections.total(), 16, "they deliver {bytes}");
    }
}

#[test]
fn no_more_are_tried_while_the_hash_is_busy() {
    let mut simulation = Simulation::of(48, |n| n as u64 * 20_000_000);
    simulation.hash = 300_000_000;
    simulation.run(60.0);
    assert_eq!(simulation.most, 16);
}

#[rstest]
#[case::much_is_left(25_000_000, 4_000_000_000, false)]
#[case::little_is_left(25_000_000, 300_000_000, true)]
#[case::nothing_arrived(0, 1, false)]
#[case::nothing_is_left(0, 0, true)]
fn a_fetch_is_nearly_complete_if_the_rest_arrives_soon(
    #[case] arrived: u64,
    #[case] left: u64,
    #[case] expected: bool,
) {
    assert_eq!(is_nearly_complete(arrived, left), expected);
}

#[test]
fn a_failed_experiment_is_repeated_after_ever_longer_pauses() {
    let mut simulation = Simulation::of(48, |_| 100_000_000);
    for pause in [1.0, 17.0, 32.0] {
        simulation.most = 0;
        assert_eq!(simulation.run(pause), if pause > 1.0 { 16 } else { 48 });
        simulation.run(5.0);
        assert_eq!(simulation.most, 48, "{pause}");
    }
}

#[test]
fn after_a_refusal_no_more_are_tried() {
    let mut simulation = Simulation::of(48, |n| n as u64 * 6_000_000);
    simulation.run(0.75);
    assert_eq!(simulation.connections.total(), 48);
    simulation.connections.refused(0);
    assert_eq!(simulation.run(100.0), 16);
}

#[test]
fn more_are_tried_again_at_once_when_the_rate_falls() {
    let mut simulation = Simulation::of(44, |_| 100_000_000);
    simulation.run(12.0);
    assert_eq!(simulation.connections.total(), 16, "more are not worth it");
    simulation.together = |n| n as u64 * 3_000_000;
    simulation.run(4.0);
    assert_eq!(simulation.connections.total(), 44);
}

#[test]
fn a_failed_experiment_restores_the_previous_numbers() {
    let mut simulation = Simulation::of(44, |n| n as u64 * 6_000_000);
    simulation.run(5.0);
    let before = simulation.connections.numbers.clone();
    assert_eq!(before.total, 44);
    simulation.run(60.0);
    assert_eq!(
        simulation.connections.numbers, before,
        "fewer were tried and delivered less"
    );
}
