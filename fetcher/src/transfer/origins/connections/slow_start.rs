//! When more connections over all origins are tried: one delivers no more than its server allows or a round trip lets
//! through, and all of them together may deliver far less than there is.

use std::time::Duration;

use super::numbers::Numbers;
use crate::transfer::schedule::experiment::Rule;

/// Connections at first, if there may be as many.
pub(crate) const FIRST_CONNECTIONS: usize = 16;

/// From this rate on no more are tried: few disks take more, and each connection needs memory.
const ENOUGH_BYTES_PER_SECOND: f64 = 400e6;

/// How long a number of connections is watched before more are tried.
const WATCH: Duration = Duration::from_millis(250);

/// As long as a step delivers more than this many times what the one before delivered, connections have only begun.
const STARTING_FACTOR: u64 = 2;

/// Where no more is left than arrives in this many steps, more are not worth trying.
const LAST_STEPS: u64 = 12;

/// How long new connections take to begin.
const SETTLE: Duration = Duration::from_millis(250);

/// A candidate is kept early when it gains this share of what it could,
const CLEAR_SHARE: f64 = 0.5;

/// or, when its time is over, from this gain on.
const LONGEST_WATCH: Duration = Duration::from_secs(2);
const WORTH_GAIN: f64 = 1.15;

/// A candidate that loses this much is reverted after a glance.
const GLANCE: Duration = Duration::from_millis(700);
const LOSS_GAIN: f64 = 0.75;

/// The first pause after a candidate that was not worth it; it doubles.
const FIRST_PAUSE: Duration = Duration::from_secs(15);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// Whether no more is left than arrives while more connections begin and are judged.
pub(crate) fn is_nearly_complete(arrived: u64, left: u64) -> bool {
    left <= arrived.saturating_mul(LAST_STEPS)
}

/// Whether a rate is as much as more connections are tried for.
pub(super) fn is_enough_rate(bytes_per_second: f64) -> bool {
    bytes_per_second >= ENOUGH_BYTES_PER_SECOND
}

/// How more connections are judged.
pub(super) fn rule(before: &Numbers, more: &Numbers) -> Rule {
    Rule {
        settle: SETTLE,
        keep_early_gain: Some(1.0 + (more.growth(before) - 1.0) * CLEAR_SHARE),
        revert_early: Some((GLANCE, LOSS_GAIN)),
        watch: LONGEST_WATCH,
        worth_gain: WORTH_GAIN,
        needs_second_miss: false,
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Nothing has arrived yet.
    Begun,
    /// Watching the present number since a moment, with the bytes since then and those of the step before.
    Watching { since: Duration, bytes: u64, before: u64 },
    /// An origin refused: no more are tried.
    Over,
}

/// Measures the present number, and says when more may be tried.
#[derive(Clone, Debug)]
pub(super) struct SlowStart {
    phase: Phase,
    pause: Duration,
}

impl Default for SlowStart {
    fn default() -> Self {
        Self {
            phase: Phase::Begun,
            pause: FIRST_PAUSE,
        }
    }
}

impl SlowStart {
    /// Takes in what arrived since the last step. Answers the rate per second of the present number once it is known and
    /// that number is what bounds it.
    pub(super) fn observe(&mut self, now: Duration, bytes: u64, is_bound: bool) -> Option<f64> {
        match &mut self.phase {
            Phase::Begun if bytes > 0 => self.watch(now, bytes),
            Phase::Watching { since, .. } if now <= *since => {}
            Phase::Watching {
                since,
                bytes: watched,
                before,
            } => {
                // TCP begins slowly: what arrives then says little.
                let is_starting = bytes > before.saturating_mul(STARTING_FACTOR);
                *before = bytes;
                *watched += bytes;
                let (watched, seconds) = (*watched, now.saturating_sub(*since));
                if !is_bound || is_starting {
                    self.watch(now, bytes);
                } else if seconds >= WATCH {
                    return Some(watched as f64 / seconds.as_secs_f64());
                }
            }
            Phase::Begun | Phase::Over => {}
        }
        None
    }

    /// Watches from a moment on, after a step that delivered `before`.
    pub(super) fn watch(&mut self, since: Duration, before: u64) {
        if self.phase != Phase::Over {
            self.phase = Phase::Watching {
                since,
                bytes: 0,
                before,
            };
        }
    }

    /// The numbers change otherwise: what was watched says nothing about them.
    pub(super) fn watch_again(&mut self, now: Duration) {
        if let Phase::Watching { since, .. } = self.phase
            && since < now
        {
            self.watch(now, u64::MAX);
        }
    }

    /// Tries no more for a while, longer each time.
    pub(super) fn pause(&mut self, now: Duration) {
        self.watch(now + self.pause, u64::MAX);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// Ends a pause: what was found in it no longer holds.
    pub(super) fn resume(&mut self, now: Duration) {
        self.watch(now, u64::MAX);
        self.pause = FIRST_PAUSE;
    }

    /// Tries no more.
    pub(super) fn end(&mut self) {
        self.phase = Phase::Over;
    }
}
