//! Finds out whether more connections than at first bring more, over all origins: one brings no more than its server
//! allows or a round trip lets through, and all of them together may bring far less than there is.
//!
//! Four times as many are tried as soon as it is known what the first ones bring, and again at once where that helped.

use std::time::Duration;

/// So many connections ask at first, if there may be as many.
pub(crate) const FIRST_CONNECTIONS: usize = 16;

/// Many more are tried at once: a fetch of a few seconds has no time for many steps.
const TIMES: usize = 4;

/// Bytes per second from which on no more are tried: few disks take more, and each connection needs memory.
const ENOUGH: f64 = 400e6;

/// How long a number of connections is watched before more are tried.
const WATCH: Duration = Duration::from_millis(250);

/// As long as a step brings so many times what the one before brought, connections have only begun.
const STARTING: u64 = 2;

/// Where no more is left than comes in so many steps, more are not worth trying.
const LAST_STEPS: u64 = 12;

/// How long new connections take to begin.
const SETTLE: Duration = Duration::from_millis(250);

/// A try has shown that it helps when it brings this share of what it could,
const CLEARLY: f64 = 0.5;

/// or, when its time is over, this share of what there was before.
const LONGEST_TRY: Duration = Duration::from_secs(2);
const WORTH: f64 = 1.15;

/// The first pause after a try that did not help; it doubles.
const PAUSE: Duration = Duration::from_secs(15);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// Whether no more is left than comes while more connections begin and are judged.
pub(crate) fn is_nearly_there(came: u64, left: u64) -> bool {
    left <= came.saturating_mul(LAST_STEPS)
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Nothing has come yet.
    Begun,
    /// Watching the present number since a moment, with so many bytes by then and so many in the step before.
    Watching { since: Duration, bytes: u64, before: u64 },
    /// Trying more, after a number that brought so much per second.
    Trying {
        since: Duration,
        bytes: u64,
        former: usize,
        brought: f64,
    },
    /// An origin refused: no more are tried.
    Over,
}

/// What was seen since the last step.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    pub(super) bytes: u64,
    /// Connections that ask for something.
    pub(super) busy: usize,
    /// More would come to nothing: the hash is busy with what comes, or little is left.
    pub(super) is_enough: bool,
}

/// The search for the number of connections.
#[derive(Clone, Debug)]
pub(super) struct Ramp {
    now: usize,
    most: usize,
    phase: Phase,
    pause: Duration,
}

impl Ramp {
    /// There may be so many at most.
    pub(super) fn new(most: usize) -> Self {
        Self {
            now: most.min(FIRST_CONNECTIONS),
            most,
            phase: Phase::Begun,
            pause: PAUSE,
        }
    }

    /// Connections that there are to be now.
    pub(super) fn connections(&self) -> usize {
        self.now
    }

    /// Takes in what was seen up to a moment.
    pub(super) fn step(&mut self, now: Duration, step: Step) {
        // Between two pieces a connection is not busy for a moment.
        let is_bound = step.busy * 4 >= self.now * 3 && !step.is_enough;
        match &mut self.phase {
            Phase::Begun if step.bytes > 0 => self.watch(now, step.bytes),
            Phase::Watching { since, .. } if now <= *since => {}
            Phase::Watching { since, bytes, before } => {
                // TCP begins slowly: what comes then says little.
                let is_starting = step.bytes > before.saturating_mul(STARTING);
                *before = step.bytes;
                *bytes += step.bytes;
                let (watched, seconds) = (*bytes, now.saturating_sub(*since));
                if !is_bound || is_starting {
                    self.watch(now, step.bytes);
                } else if seconds >= WATCH {
                    self.attempt(now, watched as f64 / seconds.as_secs_f64());
                }
            }
            Phase::Trying { since, .. } if now <= *since => {}
            Phase::Trying {
                since,
                bytes,
                former,
                brought,
            } => {
                *bytes += step.bytes;
                let seconds = now.saturating_sub(*since);
                let rate = *bytes as f64 / seconds.as_secs_f64();
                let (gain, former) = (rate / brought.max(1.0), *former);
                let could = self.now as f64 / former as f64 - 1.0;
                if gain >= 1.0 + could * CLEARLY {
                    self.attempt(now, rate);
                } else if step.is_enough || (seconds >= LONGEST_TRY && gain < WORTH) {
                    self.now = former;
                    self.watch(now + self.pause, u64::MAX);
                    self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                } else if seconds >= LONGEST_TRY {
                    self.watch(now, step.bytes);
                }
            }
            Phase::Begun | Phase::Over => {}
        }
    }

    /// An origin refused because it is asked too much.
    pub(super) fn refused(&mut self) {
        if let Phase::Trying { former, .. } = self.phase {
            self.now = former;
        }
        self.phase = Phase::Over;
    }

    fn watch(&mut self, since: Duration, before: u64) {
        self.phase = Phase::Watching {
            since,
            bytes: 0,
            before,
        };
    }

    fn attempt(&mut self, now: Duration, brought: f64) {
        let (former, more) = (self.now, (self.now * TIMES).min(self.most));
        if more == former || brought >= ENOUGH {
            self.watch(now, u64::MAX);
            return;
        }
        self.now = more;
        self.phase = Phase::Trying {
            since: now + SETTLE,
            bytes: 0,
            former,
            brought,
        };
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const LOOK: Duration = Duration::from_millis(250);

    /// What connections bring together per second, and the hash takes.
    struct Simulation {
        ramp: Ramp,
        together: fn(usize) -> u64,
        hash: u64,
        now: Duration,
        most: usize,
    }

    impl Simulation {
        fn of(most: usize, together: fn(usize) -> u64) -> Self {
            Self {
                ramp: Ramp::new(most),
                together,
                hash: u64::MAX,
                now: Duration::ZERO,
                most: 0,
            }
        }

        fn run(&mut self, seconds: f64) -> usize {
            let end = self.now + Duration::from_secs_f64(seconds);
            while self.now < end {
                self.now += LOOK;
                let rate = (self.together)(self.ramp.connections());
                let step = Step {
                    bytes: rate / 4,
                    busy: self.ramp.connections(),
                    is_enough: rate >= self.hash,
                };
                self.ramp.step(self.now, step);
                self.most = self.most.max(self.ramp.connections());
            }
            self.ramp.connections()
        }
    }

    #[rstest]
    #[case::each_is_capped(48, |n| n as u64 * 6_000_000, 48)]
    #[case::there_may_be_no_more(16, |n| n as u64 * 6_000_000, 16)]
    #[case::there_may_be_fewer(3, |n| n as u64 * 6_000_000, 3)]
    #[case::the_line_is_full(48, |_| 100_000_000, 16)]
    #[case::some_more_help(64, |n: usize| n.min(32) as u64 * 6_000_000, 64)]
    #[case::few_more_help_little(64, |n: usize| n.min(18) as u64 * 6_000_000, 16)]
    #[case::much_comes_already(48, |n| n as u64 * 30_000_000, 16)]
    #[case::it_collapses_under_many(48, |n| if n > 16 { 1_000_000 } else { 100_000_000 }, 16)]
    fn more_connections_stay_where_they_bring_more(
        #[case] most: usize,
        #[case] together: fn(usize) -> u64,
        #[case] expected: usize,
    ) {
        assert_eq!(Simulation::of(most, together).run(5.0), expected);
    }

    #[test]
    fn where_each_is_capped_all_are_there_within_a_second() {
        let mut simulation = Simulation::of(48, |n| n as u64 * 6_000_000);
        assert_eq!(simulation.run(0.25), 16);
        assert_eq!(simulation.run(0.25), 48);
        assert_eq!(simulation.run(10.0), 48);
    }

    #[test]
    fn no_more_are_tried_while_the_first_ones_begin() {
        let mut ramp = Ramp::new(48);
        for (look, bytes) in [0, 8_000_000, 40_000_000, 120_000_000, 130_000_000, 130_000_000]
            .into_iter()
            .enumerate()
        {
            let step = Step {
                bytes,
                busy: 16,
                is_enough: false,
            };
            ramp.step(LOOK * u32::try_from(look).unwrap(), step);
            assert_eq!(ramp.connections(), 16, "they bring {bytes}");
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
    #[case::nothing_came(0, 1, false)]
    #[case::all_is_there(0, 0, true)]
    fn what_comes_soon_anyway_is_nearly_there(#[case] came: u64, #[case] left: u64, #[case] expected: bool) {
        assert_eq!(is_nearly_there(came, left), expected);
    }

    #[test]
    fn what_did_not_help_is_tried_again_ever_later() {
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
        assert_eq!(simulation.ramp.connections(), 48);
        simulation.ramp.refused();
        assert_eq!(simulation.run(100.0), 16);
    }
}
