//! How many pieces of a file may be under way at the same time, and how far ahead. Pure: moments are given.
//!
//! A source that is about as fast as the hash needs few pieces. More of them bring nothing sooner: they arrive side by
//! side, out of the hash's order, until blocks no longer stay in memory and have to be read back; and each connection
//! costs processor time that the hash could use. A source far away needs many pieces far ahead, for each waits for its
//! first byte.
//!
//! Which of them a source is, is tried. Fewer pieces stay where they bring as much; more of them, or pieces further ahead
//! than stays in memory, stay only where they bring more. What did not is not tried again for a while, longer each time.
//! A change is judged when its pieces have come. Of a source that is slow beside the hash as much is asked for as it
//! brings, for then there is nothing to win.

use std::time::Duration;

use super::experiment::{Experiment, Judgement, Rule};
use super::piece_length::Distance;

/// Between two looks the hash makes so many steps at least,
const STEPS: u32 = 64;

/// in so much time at least, for what is seen in less is chance;
const SHORT_LOOK: Duration = Duration::from_millis(100);

/// or so much time passes, for a source that has become slow is not to keep few pieces until it has brought as many blocks.
const LONG_LOOK: Duration = Duration::from_millis(200);

/// Pieces that take long come in turns, so that only over all of them it is seen what they bring; but not one of a slow
/// origin is waited for.
const LONGEST_LOOK: Duration = Duration::from_millis(500);

/// Pieces that are always allowed.
const FEW: u64 = 4;

/// The share of time from which on a source is fast: what it brings too early, or on too many connections, matters.
const FAST: f64 = 0.3;

/// The share of time below which the hash is thought to wait for the source.
const IDLE: f64 = 0.7;

/// Fewer pieces are kept from this share of what more of them delivered on.
const FEWER_WORTH_GAIN: f64 = 0.85;

/// More pieces are kept when they deliver this many times what fewer of them delivered.
const MORE_WORTH_GAIN: f64 = 1.05;

/// How long what did not prove worth it is not tried again; it doubles each time.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// The weight of a new observation in what a piece takes.
const WEIGHT: f64 = 0.3;

/// What the pieces of a file are held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hold {
    /// Pieces that may be under way.
    pieces: u64,
    /// Whether they may be no further ahead than stays in memory.
    to_memory: bool,
}

/// The pieces allowed for one file.
#[derive(Debug)]
pub(super) struct ReadAheadControl {
    hold: Hold,
    /// Seconds that a piece takes.
    piece: f64,
    /// When the pieces of the last change have come.
    settled: Duration,
    round: Round,
    /// The source was seen to be fast.
    is_fast: bool,
    /// A change under way, and its direction.
    experiment: Option<(Way, Experiment<Hold>)>,
    /// Blocks hashed per second before pieces were first brought down, so that many small losses do not add up.
    most: Option<f64>,
    fewer: Pause,
    more: Pause,
}

/// What was seen since the last look.
#[derive(Debug, Default)]
struct Round {
    begun: Duration,
    steps: u32,
    busy: Duration,
    /// The most pieces that were under way.
    most: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Fewer,
    More,
}

/// Until when something is not tried again.
#[derive(Debug)]
struct Pause {
    until: Duration,
    next: Duration,
}

impl Default for ReadAheadControl {
    fn default() -> Self {
        Self {
            hold: Hold {
                pieces: u64::MAX,
                to_memory: true,
            },
            piece: 0.0,
            settled: Duration::ZERO,
            round: Round::default(),
            is_fast: false,
            experiment: None,
            most: None,
            fewer: Pause::default(),
            more: Pause::default(),
        }
    }
}

impl Default for Pause {
    fn default() -> Self {
        Self {
            until: Duration::ZERO,
            next: PAUSE,
        }
    }
}

impl Pause {
    fn begin(&mut self, now: Duration) {
        self.until = now + self.next;
        self.next = (self.next * 2).min(LONGEST_PAUSE);
    }
}

impl ReadAheadControl {
    /// Pieces that may be under way.
    pub(super) fn allowed(&self) -> u64 {
        self.hold.pieces
    }

    /// Whether they may be no further ahead of the hash than stays in memory. While the hash waits that is so only of a near
    /// source that is fast, for what is slow is waited for by all.
    pub(super) fn is_held_to_memory(&self, distance: Distance, is_behind: bool) -> bool {
        self.hold.to_memory
            && match distance {
                Distance::Near => is_behind || self.is_fast,
                Distance::Unknown => is_behind,
                Distance::Far => false,
            }
    }

    /// Whether the source was seen to be fast beside the hash.
    pub(super) fn is_fast(&self) -> bool {
        self.is_fast
    }

    /// A piece came whole in so many seconds.
    pub(super) fn piece_took(&mut self, seconds: f64) {
        let weight = if self.piece > 0.0 { WEIGHT } else { 1.0 };
        self.piece += weight * (seconds - self.piece);
    }

    /// The hash has made a step that took so long, while so many pieces were under way. A source is near where waiting
    /// for the first byte of a piece costs little.
    pub(super) fn step(&mut self, took: Duration, under_way: u64, distance: Distance, now: Duration) {
        if now < self.settled {
            return;
        }
        self.round.step(took, under_way, now);
        let since = now.saturating_sub(self.round.begun);
        let look = if self.round.steps < STEPS {
            LONG_LOOK
        } else {
            SHORT_LOOK
        };
        if since < look.max(Duration::from_secs_f64(self.piece).min(LONGEST_LOOK)) {
            return;
        }
        let round = std::mem::take(&mut self.round);
        let hold = self.judge(&round, since.as_secs_f64().max(f64::MIN_POSITIVE), distance, now);
        if hold != self.hold {
            self.hold = hold;
            self.settled = now + Duration::from_secs_f64(self.piece);
        }
    }

    /// What pieces are held to from now on.
    fn judge(&mut self, round: &Round, seconds: f64, distance: Distance, now: Duration) -> Hold {
        let rate = f64::from(round.steps) / seconds;
        if let Some((way, mut experiment)) = self.experiment.take() {
            match experiment.judge(rate, Duration::from_secs_f64(seconds)) {
                Judgement::Undecided => {
                    self.experiment = Some((way, experiment));
                    return self.hold;
                }
                Judgement::Kept | Judgement::KeptEarly => self.ended(way, true, now),
                Judgement::Reverted => {
                    self.ended(way, false, now);
                    return experiment.into_baseline();
                }
            }
        }
        let Hold { pieces, to_memory } = self.hold;
        let busy = round.busy.as_secs_f64() / seconds;
        let used = round.most.min(pieces);
        let is_used_up = used == pieces;
        self.is_fast = busy >= FAST;
        if !self.is_fast {
            self.most = None;
            return Hold {
                pieces: pieces.saturating_mul(if is_used_up { 2 } else { 1 }),
                to_memory: false,
            };
        }
        if distance == Distance::Near && !to_memory {
            return Hold {
                pieces,
                to_memory: true,
            };
        }
        if busy < IDLE && self.more.until <= now {
            if is_used_up {
                let pieces = pieces.saturating_add((pieces / 4).max(1));
                return self.attempt(Way::More, Hold { pieces, to_memory }, rate, now);
            }
            if to_memory && distance == Distance::Unknown {
                return self.attempt(
                    Way::More,
                    Hold {
                        pieces,
                        to_memory: false,
                    },
                    rate,
                    now,
                );
            }
        }
        if distance != Distance::Far && (busy >= IDLE || distance == Distance::Near) && self.fewer.until <= now {
            let most = *self.most.get_or_insert(rate);
            if !to_memory {
                return self.attempt(
                    Way::Fewer,
                    Hold {
                        pieces,
                        to_memory: true,
                    },
                    most,
                    now,
                );
            }
            if used > FEW {
                let pieces = (used / 2).max(FEW);
                return self.attempt(Way::Fewer, Hold { pieces, to_memory }, most, now);
            }
        }
        self.hold
    }

    /// Takes note of whether a change in a direction was kept.
    fn ended(&mut self, way: Way, is_kept: bool, now: Duration) {
        let pause = match way {
            Way::Fewer => &mut self.fewer,
            Way::More => &mut self.more,
        };
        if is_kept {
            *pause = Pause::default();
        } else {
            pause.begin(now);
        }
        // A loss counts from where pieces begin to be reduced.
        if is_kept == (way == Way::More) {
            self.most = None;
        }
    }

    fn attempt(&mut self, way: Way, hold: Hold, baseline_rate: f64, now: Duration) -> Hold {
        let rule = Rule {
            // Rounds begin when the pieces of a change have arrived.
            settle: Duration::ZERO,
            keep_early_gain: None,
            revert_early: None,
            watch: Duration::ZERO,
            worth_gain: match way {
                Way::Fewer => FEWER_WORTH_GAIN,
                Way::More => MORE_WORTH_GAIN,
            },
            has_second_look: way == Way::Fewer,
        };
        self.experiment = Some((way, Experiment::new(self.hold, baseline_rate, rule, now)));
        hold
    }
}

impl Round {
    fn step(&mut self, took: Duration, under_way: u64, now: Duration) {
        if self.steps == 0 {
            self.begun = now.saturating_sub(took);
        }
        self.steps += 1;
        self.busy += took;
        self.most = self.most.max(under_way);
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::Distance::{Far, Near, Unknown};
    use super::*;

    const TOOK: Duration = Duration::from_millis(1);

    /// A hash that takes a millisecond for a block, of a source that brings so many blocks per second with each piece, and
    /// no more than so many with all of them.
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

        /// The blocks hashed in some seconds.
        fn run(&mut self, seconds: u64) -> u32 {
            let (end, before) = (self.now + Duration::from_secs(seconds), self.steps);
            while self.now < end {
                let under_way = self.pieces();
                let waits = Duration::from_secs_f64(1.0 / (under_way as f64 * self.per_piece).min(self.together));
                self.now += waits.max(TOOK);
                self.steps += 1;
                self.control.step(TOOK, under_way, self.distance, self.now);
            }
            self.steps - before
        }
    }

    #[rstest]
    #[case::the_hash_takes_the_time(16, 1000.0, f64::MAX, Near, 4..=4)]
    #[case::a_source_far_away_is_not_held_though_the_hash_takes_the_time(16, 1000.0, f64::MAX, Far, 16..=16)]
    #[case::a_few_pieces_bring_as_much_as_many(16, 200.0, 600.0, Near, 4..=5)]
    #[case::some_pieces_bring_as_much_as_many(16, 75.0, 600.0, Near, 7..=9)]
    #[case::the_source_takes_the_time(16, 6.0, f64::MAX, Near, 16..=16)]
    #[case::a_slow_source_is_wide(64, 1.5, f64::MAX, Far, 64..=64)]
    #[case::a_fast_source_needs_all(16, 45.0, f64::MAX, Near, 16..=16)]
    #[case::a_fast_source_far_away_needs_all(16, 31.0, f64::MAX, Far, 16..=16)]
    #[case::few_stay_few(2, 1000.0, f64::MAX, Near, 2..=2)]
    fn the_number_of_pieces_follows_who_waits(
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
    fn trials_cost_a_source_that_needs_all_its_pieces_little(#[case] distance: Distance, #[case] share: f64) {
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
    fn only_a_slow_source_or_one_far_away_may_run_further_ahead_than_stays_in_memory(
        #[case] distance: Distance,
        #[case] per_piece: f64,
        #[case] is_held_at_first: bool,
        #[case] is_held: bool,
    ) {
        let mut simulation = Simulation::of(16, per_piece, f64::MAX, distance);
        assert_eq!(simulation.control.is_held_to_memory(distance, true), is_held_at_first);
        assert!(
            !simulation.control.is_held_to_memory(distance, false),
            "nothing is known yet"
        );
        simulation.run(10);
        assert_eq!(simulation.control.is_held_to_memory(distance, false), is_held);
    }

    #[test]
    fn a_change_is_judged_when_its_pieces_have_come() {
        let mut control = ReadAheadControl::default();
        control.piece_took(2.0);
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
    fn a_source_that_all_but_stops_gets_its_pieces_back_after_a_few_blocks() {
        let mut simulation = Simulation::of(16, 1000.0, f64::MAX, Near);
        simulation.run(10);
        assert_eq!(simulation.pieces(), FEW);
        simulation.per_piece = 2.0;
        let hashed = simulation.run(2);
        assert_eq!(simulation.pieces(), 16);
        assert!(hashed < STEPS, "{hashed}");
    }
}
