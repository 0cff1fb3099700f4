//! How many pieces of a file may be under way at the same time. Pure: moments are given.
//!
//! Where the hash is what takes the time, more pieces at once bring nothing sooner. They arrive side by side, out of the
//! hash's order, until blocks no longer stay in memory and have to be read back; and each connection costs processor
//! time that the hash could use. So their number is brought down as long as the hash is busy, and up again where it waits.

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

/// The hash of a block.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HashStep {
    /// How long it took.
    pub(crate) took: Duration,
    /// The block was not in memory any more.
    pub(crate) read_back: bool,
}

/// The number of pieces allowed for one file.
#[derive(Debug)]
pub(super) struct Balance {
    allowed: u64,
    /// The most that were under way since the last look.
    most: u64,
    looked: Duration,
    steps: u32,
    busy: Duration,
    read_back: u32,
}

impl Default for Balance {
    fn default() -> Self {
        Self {
            allowed: u64::MAX,
            most: 0,
            looked: Duration::ZERO,
            steps: 0,
            busy: Duration::ZERO,
            read_back: 0,
        }
    }
}

impl Balance {
    /// Pieces that may be under way.
    pub(super) fn allowed(&self) -> u64 {
        self.allowed
    }

    /// So many are under way.
    pub(super) fn asked(&mut self, under_way: u64) {
        self.most = self.most.max(under_way);
    }

    /// The hash has made a step.
    pub(super) fn step(&mut self, step: HashStep, now: Duration) {
        if self.steps == 0 {
            self.looked = now.saturating_sub(step.took);
        }
        self.steps += 1;
        self.busy += step.took;
        self.read_back += u32::from(step.read_back);
        let since = now.saturating_sub(self.looked);
        if self.steps < STEPS && since < LOOK {
            return;
        }
        let seconds = since.as_secs_f64();
        let busy = self.busy.as_secs_f64() / seconds.max(f64::MIN_POSITIVE);
        let is_early = f64::from(self.read_back) > f64::from(self.steps) * READ_BACK;
        if busy >= BUSY || (busy >= FAST && is_early) {
            let used = self.most.min(self.allowed);
            self.allowed = used.saturating_sub((used / 4).max(1)).max(FEW);
        } else if busy < IDLE {
            self.allowed = self.allowed.saturating_mul(2);
        }
        *self = Self {
            allowed: self.allowed,
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    /// Looks again and again at a hash that takes some share of the time, with some of its blocks read back.
    fn settled(pieces: u64, busy: f64, read_back: u32) -> u64 {
        let mut balance = Balance::default();
        let (took, mut now) = (Duration::from_millis(1), Duration::ZERO);
        for _ in 0..20 {
            balance.asked(pieces.min(balance.allowed()));
            for step in 0..STEPS {
                now += took.div_f64(busy);
                balance.step(
                    HashStep {
                        took,
                        read_back: step < read_back,
                    },
                    now,
                );
            }
        }
        balance.allowed().min(pieces)
    }

    #[rstest]
    #[case::the_hash_takes_the_time(16, 0.99, 0, FEW)]
    #[case::blocks_come_side_by_side(16, 0.5, 40, FEW)]
    #[case::the_source_takes_the_time(16, 0.1, 0, 16)]
    #[case::a_slow_source_is_read_back_as_it_is_wide(64, 0.1, 60, 64)]
    #[case::a_fast_source_in_order(16, 0.5, 0, 16)]
    #[case::few_stay_few(2, 0.99, 0, 2)]
    fn the_number_of_pieces_follows_who_waits(
        #[case] pieces: u64,
        #[case] busy: f64,
        #[case] read_back: u32,
        #[case] expected: u64,
    ) {
        assert_eq!(settled(pieces, busy, read_back), expected);
    }

    #[test]
    fn a_source_that_becomes_slow_gets_its_pieces_back() {
        let mut balance = Balance::default();
        let mut now = Duration::ZERO;
        let took = Duration::from_millis(1);
        let mut look = |balance: &mut Balance, pause: u64| {
            balance.asked(balance.allowed().min(16));
            for _ in 0..STEPS {
                now += took + Duration::from_millis(pause);
                balance.step(HashStep { took, read_back: false }, now);
            }
        };
        for _ in 0..10 {
            look(&mut balance, 0);
        }
        assert_eq!(balance.allowed(), FEW);
        look(&mut balance, 9);
        assert!(balance.allowed() >= 4 * FEW);
    }

    #[test]
    fn a_source_that_all_but_stops_gets_its_pieces_back_after_a_few_blocks() {
        let took = Duration::from_millis(1);
        let mut balance = Balance::default();
        let mut now = Duration::ZERO;
        let mut step = |balance: &mut Balance, pause: u64| {
            balance.asked(balance.allowed().min(16));
            now += took + Duration::from_millis(pause);
            balance.step(HashStep { took, read_back: false }, now);
        };
        for _ in 0..10 * STEPS {
            step(&mut balance, 0);
        }
        assert_eq!(balance.allowed(), FEW);
        for _ in 0..6 {
            step(&mut balance, 100);
        }
        assert!(balance.allowed() >= 2 * FEW);
    }
}
