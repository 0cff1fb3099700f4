use proptest::prelude::*;
use rstest::rstest;

use super::*;

const MIB: f64 = 1_048_576.0;
const STEP: Duration = Duration::from_millis(250);

const ANY: Demand = Demand {
    is_any: true,
    is_exclusive: false,
};
const EXCLUSIVE: Demand = Demand {
    is_any: true,
    is_exclusive: true,
};

/// Bytes per second of a server, by the number of connections to it.
type Server = fn(usize) -> f64;

struct Simulation {
    steering: Steering,
    servers: Vec<Server>,
    now: Duration,
    delivered: Vec<f64>,
}

impl Simulation {
    fn of(connections: usize, servers: &[Server]) -> Self {
        Self {
            steering: Steering::new(servers.len(), connections, 8),
            servers: servers.to_vec(),
            now: Duration::ZERO,
            delivered: vec![0.0; servers.len()],
        }
    }

    /// Runs for some seconds. Returns the bytes per second of all servers together.
    fn run(&mut self, seconds: u32) -> f64 {
        let steps = seconds * 4;
        let mut total = 0.0;
        for _ in 0..steps {
            let targets = self.steering.targets();
            let mut samples = Vec::new();
            for (origin, busy) in targets.into_iter().enumerate() {
                let bytes = self.servers[origin](busy) * STEP.as_secs_f64();
                self.delivered[origin] += bytes;
                total += bytes;
                #[expect(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "a number of bytes"
                )]
                samples.push(Sample {
                    bytes: bytes as u64,
                    busy,
                });
            }
            self.now += STEP;
            let demands = vec![ANY; samples.len()];
            self.steering.steer(self.now, &samples, &demands, false);
        }
        total / f64::from(seconds)
    }
}

fn per_connection(connections: usize) -> f64 {
    connections as f64 * 6.0 * MIB
}

fn slow(connections: usize) -> f64 {
    per_connection(connections) / 100.0
}

fn capped(connections: usize) -> f64 {
    per_connection(connections).min(10.0 * MIB)
}

/// Like some CDNs: more than six connections get less in total.
fn collapsing(connections: usize) -> f64 {
    let connections = connections as f64;
    if connections <= 6.0 {
        connections * 5.0 * MIB
    } else {
        30.0 * MIB * 6.0 / connections
    }
}

#[test]
fn equal_origins_share_the_connections() {
    assert_eq!(Steering::new(3, 16, 8).targets(), [6, 5, 5]);
    assert_eq!(Steering::new(3, 2, 8).targets(), [1, 1, 0]);
}

#[test]
fn three_capped_origins_deliver_the_sum_of_their_caps() {
    let total = Simulation::of(16, &[capped, capped, capped]).run(60);
    assert!(total >= 0.95 * 30.0 * MIB, "{} MiB/s", total / MIB);
}

#[test]
fn an_origin_a_hundred_times_slower_costs_almost_nothing() {
    let total = Simulation::of(16, &[per_connection, slow, per_connection]).run(60);
    assert!(total >= 0.95 * 16.0 * 6.0 * MIB, "{} MiB/s", total / MIB);
}

#[test]
fn a_server_that_collapses_under_many_connections_gets_few() {
    let mut simulation = Simulation::of(16, &[collapsing]);
    simulation.run(90);
    let total = simulation.run(60);
    assert!(total >= 0.85 * 30.0 * MIB, "{} MiB/s", total / MIB);
}

#[test]
fn trying_fewer_connections_costs_little_where_more_deliver_more() {
    let total = Simulation::of(16, &[per_connection]).run(300);
    assert!(total >= 0.97 * 16.0 * 6.0 * MIB, "{} MiB/s", total / MIB);
}

#[test]
fn no_other_number_of_connections_is_tried_in_the_first_seconds() {
    let total = Simulation::of(16, &[per_connection]).run(14);
    assert!(total >= 0.999 * 16.0 * 6.0 * MIB, "{} MiB/s", total / MIB);
}

#[test]
fn a_slow_origin_is_probed_with_one_connection_and_gets_its_share_once_it_has_recovered() {
    let mut simulation = Simulation::of(8, &[per_connection, slow]);
    simulation.run(6);
    assert_eq!(simulation.steering.targets()[1], 0);
    simulation.servers[1] = per_connection;
    simulation.run(30);
    assert_eq!(simulation.steering.targets()[1], 1);
    simulation.run(10);
    assert!(simulation.steering.targets()[1] >= 3);
}

#[test]
fn an_origin_whose_first_bytes_are_late_keeps_its_share() {
    let mut simulation = Simulation::of(8, &[per_connection, |_| 0.0]);
    simulation.run(4);
    assert_eq!(simulation.steering.targets(), [4, 4]);
    simulation.servers[1] = per_connection;
    simulation.run(10);
    assert_eq!(simulation.steering.targets(), [4, 4]);
}

#[test]
fn the_only_origin_of_a_file_does_not_rest_for_being_slow() {
    let mut steering = Steering::new(2, 8, 8);
    for second in 1..10 {
        let samples = [
            Sample {
                bytes: 50_000_000,
                busy: 4,
            },
            Sample { bytes: 1000, busy: 4 },
        ];
        steering.steer(Duration::from_secs(second), &samples, &[ANY, EXCLUSIVE], false);
    }
    assert_eq!(steering.targets(), [7, 1]);
}

#[test]
fn an_origin_without_demand_has_no_connection() {
    let mut steering = Steering::new(2, 1, 8);
    assert_eq!(steering.targets(), [1, 0]);
    steering.steer(
        Duration::from_secs(1),
        &[Sample::default(); 2],
        &[Demand::default(), EXCLUSIVE],
        false,
    );
    assert_eq!(steering.targets(), [0, 1]);
}

#[test]
fn an_origin_that_rests_for_being_slow_is_used_again_if_it_alone_offers_a_file() {
    let mut steering = Steering::new(2, 8, 8);
    let samples = [
        Sample {
            bytes: 50_000_000,
            busy: 4,
        },
        Sample { bytes: 1000, busy: 4 },
    ];
    for second in 1..=5 {
        assert!(steering.is_open(1));
        steering.steer(Duration::from_secs(second), &samples, &[ANY; 2], false);
    }
    assert!(!steering.is_open(1));
    steering.steer(
        Duration::from_secs(6),
        &[Sample::default(); 2],
        &[ANY, EXCLUSIVE],
        false,
    );
    assert!(steering.is_open(1));
}

#[test]
fn a_refusal_halves_the_connections_once_and_they_grow_back_one_at_a_time() {
    let mut steering = Steering::new(1, 8, 8);
    let second = Duration::from_secs;
    for _ in 0..8 {
        steering.refused(0, 8, second(1));
    }
    assert_eq!(steering.targets(), [4]);
    steering.refused(0, 4, second(2));
    assert_eq!(steering.targets(), [2]);
    for now in 3..20 {
        steering.delivered(0);
        steering.steer(second(now), &[Sample { bytes: 1, busy: 1 }], &[EXCLUSIVE], false);
    }
    assert_eq!(steering.targets(), [8]);
}

#[test]
fn connections_do_not_grow_during_the_pause_that_a_refusal_asks_for() {
    let mut steering = Steering::new(1, 8, 8);
    let second = Duration::from_secs;
    for (now, expected) in [(0, 4), (60, 2), (120, 1), (180, 1)] {
        steering.refused(0, 8, second(now));
        for later in 1..60 {
            steering.steer(second(now + later), &[Sample::default()], &[EXCLUSIVE], false);
        }
        assert_eq!(steering.targets(), [expected]);
    }
}

#[test]
fn an_origin_that_keeps_failing_rests_longer_each_time_and_is_dropped_in_the_end() {
    let mut steering = Steering::new(2, 4, 4);
    let at = Duration::from_secs;
    let is_open_at = |steering: &mut Steering, now| {
        steering.steer(now, &[Sample::default(); 2], &[ANY; 2], false);
        steering.is_open(1)
    };
    for _ in 0..9 {
        assert_eq!(steering.failed(1, at(0), None), Verdict::Stays);
    }
    assert!(
        steering.is_open(1),
        "connections that fail together count once, and one failure causes no rest"
    );
    assert_eq!(steering.failed(1, at(1), None), Verdict::Stays);
    assert!(!steering.is_open(1));
    assert!(is_open_at(&mut steering, at(2)));
    assert_eq!(steering.failed(1, at(2), None), Verdict::Stays);
    assert!(!is_open_at(&mut steering, Duration::from_millis(2900)));
    assert!(is_open_at(&mut steering, at(3)));
    assert_eq!(steering.failed(1, at(3), None), Verdict::Dropped);
    assert!(steering.is_dropped(1) && !is_open_at(&mut steering, at(1000)));
    assert_eq!(steering.targets(), [4, 0]);
}

#[test]
fn a_delivered_block_resets_the_failures_of_an_origin() {
    let mut steering = Steering::new(2, 4, 2);
    assert_eq!(steering.failed(1, Duration::from_secs(1), None), Verdict::Stays);
    steering.delivered(1);
    assert_eq!(steering.failed(1, Duration::from_secs(2), None), Verdict::Stays);
}

#[test]
fn an_origin_rests_for_the_pause_that_it_asks_for() {
    let mut steering = Steering::new(2, 4, 4);
    let at = Duration::from_secs;
    for _ in 0..9 {
        assert_eq!(steering.failed(1, at(0), Some(at(20))), Verdict::Stays);
    }
    for (now, expected) in [(19, false), (20, true)] {
        steering.steer(at(now), &[Sample::default(); 2], &[ANY; 2], false);
        assert_eq!(steering.is_open(1), expected);
    }
}

#[test]
fn an_origin_that_asks_for_a_pause_repeatedly_is_dropped() {
    let mut steering = Steering::new(2, 4, 3);
    let at = Duration::from_secs;
    let mut ask = |now| {
        steering.steer(at(now), &[Sample::default(); 2], &[ANY; 2], false);
        steering.failed(1, at(now), Some(at(10)))
    };
    assert_eq!(ask(1), Verdict::Stays);
    assert_eq!(ask(5), Verdict::Stays, "a failure during a rest does not count");
    assert_eq!(ask(20), Verdict::Stays);
    assert_eq!(ask(40), Verdict::Dropped);
}

#[test]
fn a_slow_origin_is_used_once_the_faster_ones_are_dropped() {
    let mut simulation = Simulation::of(8, &[|busy| busy as f64 * MIB, |busy| busy as f64 * MIB / 100.0]);
    simulation.run(10);
    assert!(!simulation.steering.is_open(1), "it rests for being slow");
    simulation.steering.drop_origin(0);
    simulation.run(1);
    assert_eq!(simulation.steering.targets(), [0, 8]);
}

#[test]
fn an_origin_gives_up_connections_that_another_one_lacks_for_long() {
    let mut steering = Steering::new(2, 8, 8);
    let mut surplus_holders = |held: [usize; 2]| (0..6).map(|_| steering.surplus_holder(&held)).collect::<Vec<_>>();
    assert_eq!(surplus_holders([6, 2]), [None; 6], "half of its share is enough");
    assert_eq!(surplus_holders([8, 0]), [None, None, None, Some(0), Some(0), Some(0)]);
    assert_eq!(surplus_holders([4, 4]), [None; 6]);
    assert_eq!(surplus_holders([0, 1]), [None; 6], "none has too many");
}

#[rstest]
#[case(1)]
#[case(5)]
fn all_connections_are_assigned_while_an_origin_is_open(#[case] origins: usize) {
    assert_eq!(Steering::new(origins, 16, 8).targets().iter().sum::<usize>(), 16);
}

proptest! {
    #[test]
    fn no_more_connections_are_assigned_than_there_are(
        connections in 1_usize..64,
        rounds in proptest::collection::vec(proptest::collection::vec((0_u64..100_000_000, 0_usize..20), 4), 0..60),
    ) {
        let mut steering = Steering::new(4, connections, 8);
        for (second, round) in (1..).zip(rounds) {
            let samples: Vec<_> = round.iter().map(|(bytes, busy)| Sample { bytes: *bytes, busy: *busy }).collect();
            steering.steer(Duration::from_secs(second), &samples, &[ANY; 4], false);
            let targets = steering.targets();
            prop_assert!(targets.iter().sum::<usize>() <= connections);
            let is_any_open = (0..4).any(|origin| steering.is_open(origin));
            prop_assert!(is_any_open && targets.iter().any(|target| *target > 0));
        }
    }
}

/// The same throughput for any number of connections.
fn fast(_connections: usize) -> f64 {
    100e6
}

fn six_megabytes_each(connections: usize) -> f64 {
    connections as f64 * 6e6
}

#[test]
fn all_connections_are_used_again_when_each_becomes_slow_after_fewer_sufficed() {
    let mut simulation = Simulation::of(44, &[fast]);
    simulation.run(60);
    assert!(simulation.steering.targets()[0] < 16, "fewer suffice");
    simulation.servers[0] = six_megabytes_each;
    simulation.run(60);
    assert_eq!(simulation.steering.targets(), [44]);
}
