//! How many pieces of a file may be under way at the same time, and how far ahead. Pure: moments are given.
//!
//! Where the hash is what takes the time, more pieces at once bring nothing sooner. They arrive side by side, out of the
//! hash's order, until blocks no longer stay in memory and have to be read back; and each connection costs processor
//! time that the hash could use. So they are held back to what stays in memory, and their number is brought down, as long
//! as the hash is busy; and the other way round where it waits.
//!
//! Whether that is enough is tried: a source far away needs many pieces far ahead, for each waits for its first byte.
//! Where fewer bring less, all goes back to what it was, for longer each time. A change is judged when its pieces have
//! come.

use std::time::Duration;

/// Steps of the hash between two looks,
const STEPS: u32 = 64;

/// or so much time, for a source that has become slow is not to keep few pieces until it has brought as many blocks.
const LOOK: Duration = Duration::from_millis(200);

/// Pieces that are always allowed.
const FEW: u64 = 4;

/// The share of time above which the hash is what takes the time.
const BUSY: f64 = 0.85;

/// The share of time above which a source is fast enough that blocks it brings too early matter.
const FAST: f64 = 0.3;

/// The share of time below which the hash is thought to wait for the source.
const IDLE: f64 = 0.7;

/// The share of blocks that may be read back before they count as brought too early.
const READ_BACK: f64 = 0.1;

/// Fewer pieces bring less when they bring less than this share of what more of them brought.
const WORSE: f64 = 0.85;

/// How long fewer pieces are not tried again after they brought less; it doubles each time.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// The weight of a new observation in what a piece takes.
const WEIGHT: f64 = 0.3;

/// The hash of a block.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HashStep {
    /// How long it took.
    pub(crate) took: Duration,
    /// The block was not in memory any more.
    pub(crate) read_back: bool,
}

/// What the pieces of a file are held to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Hold {
    /// Pieces that may be under way.
    pieces: u64,
    /// Whether they may be no further ahead of a busy hash than stays in memory.
    to_memory: bool,
}

/// The pieces allowed for one file.
#[derive(Debug)]
pub(super) struct Balance {
    hold: Hold,
    /// Seconds that a piece takes.
    piece: f64,
    /// When the pieces of the last change have come.
    settled: Duration,
    round: Round,
    trial: Option<Trial>,
    /// Until when fewer are not tried.
    calm: Duration,
    pause: Duration,
}

/// What was seen since the last look.
#[derive(Debug, Default)]
struct Round {
    begun: Duration,
    steps: u32,
    busy: Duration,
    read_back: u32,
    /// The most pieces that were under way.
    most: u64,
}

/// Fewer pieces, to see whether they are enough.
#[derive(Debug)]
struct Trial {
    /// What they were held to before,
    former: Hold,
    /// and the blocks that were hashed per second.
    rate: f64,
}

impl Default for Balance {
    fn default() -> Self {
        Self {
            hold: Hold {
                pieces: u64::MAX,
                to_memory: true,
            },
            piece: 0.0,
            settled: Duration::ZERO,
            round: Round::default(),
            trial: None,
            calm: Duration::ZERO,
            pause: PAUSE,
        }
    }
}

impl Balance {
    /// Pieces that may be under way.
    pub(super) fn allowed(&self) -> u64 {
        self.hold.pieces
    }

    /// Whether pieces may be no further ahead of a busy hash than stays in memory.
    pub(super) fn is_held_to_memory(&self) -> bool {
        self.hold.to_memory
    }

    /// A piece came whole in so many seconds.
    pub(super) fn piece_took(&mut self, seconds: f64) {
        let weight = if self.piece > 0.0 { WEIGHT } else { 1.0 };
        self.piece += weight * (seconds - self.piece);
    }

    /// The hash has made a step, while so many pieces were under way.
    pub(super) fn step(&mut self, step: HashStep, under_way: u64, now: Duration) {
        if now < self.settled {
            return;
        }
        self.round.step(step, under_way, now);
        let since = now.saturating_sub(self.round.begun);
        if self.round.steps < STEPS && since < LOOK {
            return;
        }
        let round = std::mem::take(&mut self.round);
        let hold = self.judge(&round, since.as_secs_f64().max(f64::MIN_POSITIVE), now);
        if hold != self.hold {
            self.hold = hold;
            self.settled = now + Duration::from_secs_f64(self.piece);
        }
    }

    /// What pieces are held to from now on.
    fn judge(&mut self, round: &Round, seconds: f64, now: Duration) -> Hold {
        let hold = self.hold;
        let rate = f64::from(round.steps) / seconds;
        if let Some(trial) = self.trial.take() {
            if rate < trial.rate * WORSE {
                self.calm = now + self.pause;
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                return trial.former;
            }
            self.pause = PAUSE;
        }
        let busy = round.busy.as_secs_f64() / seconds;
        let is_early = f64::from(round.read_back) > f64::from(round.steps) * READ_BACK;
        let used = round.most.min(hold.pieces);
        if busy >= BUSY || (busy >= FAST && is_early) {
            let is_least = hold.to_memory && used <= FEW;
            if is_least || now < self.calm {
                return hold;
            }
            self.trial = Some(Trial { former: hold, rate });
            let pieces = if hold.to_memory {
                (used - used / 4).max(FEW)
            } else {
                hold.pieces
            };
            return Hold {
                pieces,
                to_memory: true,
            };
        }
        if busy >= IDLE {
            return hold;
        }
        let more = match used {
            used if used < hold.pieces => 0,
            _ if busy < FAST => hold.pieces,
            _ => hold.pieces / 4,
        };
        Hold {
            pieces: hold.pieces.saturating_add(more),
            to_memory: false,
        }
    }
}

impl Round {
    fn step(&mut self, step: HashStep, under_way: u64, now: Duration) {
        if self.steps == 0 {
            self.begun = now.saturating_sub(step.took);
        }
        self.steps += 1;
        self.busy += step.took;
        self.read_back += u32::from(step.read_back);
        self.most = self.most.max(under_way);
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const TOOK: Duration = Duration::from_millis(1);

    /// A hash that takes a millisecond for a block, of a source that brings so many blocks per second with each piece.
    struct Simulation {
        balance: Balance,
        connections: u64,
        per_piece: f64,
        read_back: f64,
        now: Duration,
        steps: u32,
    }

    impl Simulation {
        fn of(connections: u64, per_piece: f64, read_back: f64) -> Self {
            let (balance, now, steps) = (Balance::default(), Duration::ZERO, 0);
            Self {
                balance,
                connections,
                per_piece,
                read_back,
                now,
                steps,
            }
        }

        fn pieces(&self) -> u64 {
            self.balance.allowed().min(self.connections)
        }

        /// The blocks hashed in some seconds.
        fn run(&mut self, seconds: u64) -> u32 {
            let (end, before) = (self.now + Duration::from_secs(seconds), self.steps);
            while self.now < end {
                let under_way = self.pieces();
                let waits = Duration::from_secs_f64(1.0 / (under_way as f64 * self.per_piece));
                self.now += waits.max(TOOK);
                self.steps += 1;
                let read_back = f64::from(self.steps % 100) < self.read_back * 100.0;
                let step = HashStep { took: TOOK, read_back };
                self.balance.step(step, under_way, self.now);
            }
            self.steps - before
        }
    }

    #[rstest]
    #[case::the_hash_takes_the_time(16, 1000.0, 0.0, 4..=4)]
    #[case::blocks_come_side_by_side(16, 125.0, 0.6, 4..=9)]
    #[case::the_source_takes_the_time(16, 6.0, 0.0, 16..=16)]
    #[case::a_slow_source_is_read_back_as_it_is_wide(64, 1.5, 1.0, 64..=64)]
    #[case::a_fast_source_in_order(16, 45.0, 0.0, 16..=16)]
    #[case::few_stay_few(2, 1000.0, 0.0, 2..=2)]
    fn the_number_of_pieces_follows_who_waits(
        #[case] connections: u64,
        #[case] per_piece: f64,
        #[case] read_back: f64,
        #[case] expected: std::ops::RangeInclusive<u64>,
    ) {
        let mut simulation = Simulation::of(connections, per_piece, read_back);
        simulation.run(10);
        assert!(expected.contains(&simulation.pieces()), "{}", simulation.pieces());
    }

    #[test]
    fn where_fewer_pieces_bring_less_their_number_goes_back_to_what_it_was() {
        // Far away: all that come together keep the hash busy for half of the time, and come side by side.
        let mut simulation = Simulation::of(16, 31.0, 1.0);
        let all = 16.0 * 31.0 * 20.0;
        let hashed = f64::from(simulation.run(20));
        assert!(hashed > all * 0.93, "{hashed} of {all}");
    }

    #[test]
    fn a_change_is_judged_when_its_pieces_have_come() {
        let mut balance = Balance::default();
        balance.piece_took(2.0);
        let mut now = Duration::ZERO;
        let mut allowed = Vec::new();
        for _ in 0..3000 {
            now += TOOK;
            let step = HashStep {
                took: TOOK,
                read_back: false,
            };
            balance.step(step, balance.allowed().min(16), now);
            allowed.push(balance.allowed());
        }
        allowed.dedup();
        assert_eq!(allowed, [u64::MAX, 12, 9]);
    }

    #[test]
    fn a_source_that_all_but_stops_gets_its_pieces_back_after_a_few_blocks() {
        let mut simulation = Simulation::of(16, 1000.0, 0.0);
        simulation.run(10);
        assert_eq!(simulation.pieces(), FEW);
        simulation.per_piece = 2.0;
        let hashed = simulation.run(2);
        assert_eq!(simulation.pieces(), 16);
        assert!(hashed < STEPS, "{hashed}");
    }
}
