//! Slow start: when more connections over all origins are tried. One connection is limited by its server or by its round-trip
//! time, and the first ones together may use only a small part of the available bandwidth.

use std::time::Duration;

use modelcache_crds::fetch_defaults::INITIAL_CONNECTIONS;

use super::numbers::Numbers;
use crate::transfer::schedule::experiment::Rule;

/// Connections at the start, if settings allow that many.
pub(crate) const FIRST_CONNECTIONS: usize = INITIAL_CONNECTIONS as usize;

/// No more connections are tried from this rate on: few disks are faster, and each connection needs memory.
const ENOUGH_BYTES_PER_SECOND: f64 = 400e6;

/// How long the rate of a number of connections is measured before more are tried.
const WATCH: Duration = Duration::from_millis(250);

/// Connections are still starting while a step delivers more than this multiple of the previous.
const STARTING_FACTOR: u64 = 2;

/// More connections are not tried if the rest arrives within this many steps anyway.
const NEARLY_COMPLETE_STEPS: u64 = 12;

/// How long new connections take to start.
const SETTLE: Duration = Duration::from_millis(250);

/// A candidate is kept early if it gains this share of what it could gain.
const KEEP_EARLY_SHARE: f64 = 0.5;

/// A candidate is kept at the end of this time from this gain on.
const LONGEST_WATCH: Duration = Duration::from_secs(2);
const WORTH_GAIN: f64 = 1.15;

/// A candidate with less than this gain is reverted early, after this time.
const EARLY_REVERT_AFTER: Duration = Duration::from_millis(700);
const EARLY_REVERT_GAIN: f64 = 0.75;

/// The pause after the first failed experiment. It doubles each time.
const FIRST_PAUSE: Duration = Duration::from_secs(15);
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// Whether the rest arrives in less time than an experiment with more connections takes.
pub(crate) fn is_nearly_complete(arrived: u64, left: u64) -> bool {
    left <= arrived.saturating_mul(NEARLY_COMPLETE_STEPS)
}

/// Whether a rate is so high that more connections are not tried.
pub(super) fn is_enough_rate(bytes_per_second: f64) -> bool {
    bytes_per_second >= ENOUGH_BYTES_PER_SECOND
}

/// The rule that judges more connections.
pub(super) fn rule(before: &Numbers, more: &Numbers) -> Rule {
    Rule {
        settle: SETTLE,
        keep_early_gain: Some(1.0 + (more.growth(before) - 1.0) * KEEP_EARLY_SHARE),
        revert_early: Some((EARLY_REVERT_AFTER, EARLY_REVERT_GAIN)),
        watch: LONGEST_WATCH,
        worth_gain: WORTH_GAIN,
        needs_second_miss: false,
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Nothing has arrived yet.
    NotStarted,
    /// Measuring the current number `since` a time: the bytes since then, and those of the step `before`.
    Watching { since: Duration, bytes: u64, before: u64 },
    /// An origin refused a request: no more connections are tried.
    Over,
}

/// Measures the current number of connections, and decides when to try more.
#[derive(Clone, Debug)]
pub(super) struct SlowStart {
    phase: Phase,
    pause: Duration,
}

impl Default for SlowStart {
    fn default() -> Self {
        Self {
            phase: Phase::NotStarted,
            pause: FIRST_PAUSE,
        }
    }
}

impl SlowStart {
    /// Adds the bytes since the last step. Returns the rate per second of the current number of connections, once it is
    /// known and that number limits it (`is_bound`).
    pub(super) fn observe(&mut self, now: Duration, bytes: u64, is_bound: bool) -> Option<f64> {
        match &mut self.phase {
            Phase::NotStarted if bytes > 0 => self.watch(now, bytes),
            Phase::Watching { since, .. } if now <= *since => {}
            Phase::Watching {
                since,
                bytes: watched,
                before,
            } => {
                // TCP starts slowly: the first bytes say little about the rate.
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
            Phase::NotStarted | Phase::Over => {}
        }
        None
    }

    /// Starts a measurement at a time, after a step that delivered `before` bytes.
    pub(super) fn watch(&mut self, since: Duration, before: u64) {
        if self.phase != Phase::Over {
            self.phase = Phase::Watching {
                since,
                bytes: 0,
                before,
            };
        }
    }

    /// Restarts the measurement, because something else changed the number of connections.
    pub(super) fn restart(&mut self, now: Duration) {
        if let Phase::Watching { since, .. } = self.phase
            && since < now
        {
            self.watch(now, u64::MAX);
        }
    }

    /// Pauses, longer each time.
    pub(super) fn pause(&mut self, now: Duration) {
        self.watch(now + self.pause, u64::MAX);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }

    /// Ends a pause early, because its reason no longer holds.
    pub(super) fn resume(&mut self, now: Duration) {
        self.watch(now, u64::MAX);
        self.pause = FIRST_PAUSE;
    }

    /// Ends slow start: no more connections are tried.
    pub(super) fn end(&mut self) {
        self.phase = Phase::Over;
    }
}
