//! Finds out whether fewer or more connections to an origin bring more: changes their number a little, looks for a
//! while, and goes back when that did not help.

use std::time::Duration;

/// How long a number of connections is watched.
const WATCH: Duration = Duration::from_secs(2);

/// How long a change takes to show.
const SETTLE: Duration = Duration::from_secs(1);

/// For how long the first number is left alone: many fetches are over by then, and a try costs them more than it can gain.
const UNTRIED: Duration = Duration::from_secs(13);

/// A try that brings less than this share is ended after a glance.
const CLEARLY_LESS: f64 = 0.9;
const GLANCE: Duration = Duration::from_millis(700);

/// The first pause between tries; it doubles as long as they do not help.
const PAUSE: Duration = Duration::from_secs(8);
const LONGEST_PAUSE: Duration = Duration::from_mins(2);

/// Fewer connections than this are not tried unless they bring clearly more.
const FEW: usize = 4;

/// By how much more is clearly more.
const CLEARLY: f64 = 1.05;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Phase {
    /// Watching the present number since a moment, with so many bytes by then.
    Watching { since: Duration, bytes: u64 },
    /// Trying another number, after one that brought so much per second.
    Trying {
        since: Duration,
        bytes: u64,
        former: usize,
        brought: f64,
    },
}

/// The search for the best number of connections to one origin.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Climb {
    phase: Option<Phase>,
    pause: Option<Duration>,
    /// Whether the next try is with more.
    up: bool,
}

impl Climb {
    /// The number of connections from now on, given what came since the last step. Only where the number is what
    /// bounds the origin does trying another one tell anything.
    pub(super) fn step(&mut self, now: Duration, bytes: u64, is_bound: bool, limit: usize, cap: usize) -> usize {
        match &mut self.phase {
            None => {
                self.phase = Some(Phase::Watching {
                    since: now + UNTRIED,
                    bytes: 0,
                });
                limit
            }
            Some(Phase::Watching { since, bytes: watched }) => {
                if now <= *since {
                    return limit;
                }
                *watched += bytes;
                let (since, watched) = (*since, *watched);
                let watch = now.saturating_sub(since);
                if watch < WATCH {
                    return limit;
                }
                let tried = if self.up {
                    (limit + (limit / 4).max(1)).min(cap)
                } else {
                    (limit * 3 / 4).max(1)
                };
                if !is_bound || tried == limit {
                    self.up = !self.up;
                    self.phase = Some(Phase::Watching { since: now, bytes: 0 });
                    return limit;
                }
                self.phase = Some(Phase::Trying {
                    since: now + SETTLE,
                    bytes: 0,
                    former: limit,
                    brought: watched as f64 / watch.as_secs_f64(),
                });
                tried
            }
            Some(Phase::Trying {
                since,
                bytes: watched,
                former,
                brought,
            }) => {
                if now <= *since {
                    return limit;
                }
                *watched += bytes;
                let watch = now.saturating_sub(*since);
                let gain = *watched as f64 / watch.as_secs_f64() / brought.max(1.0);
                if watch < WATCH && !(watch >= GLANCE && gain < CLEARLY_LESS) {
                    return limit;
                }
                let wanted = if limit > *former || limit < FEW { CLEARLY } else { 1.0 };
                if gain >= wanted {
                    // In the same direction, at once.
                    self.pause = None;
                    self.phase = Some(Phase::Watching { since: now, bytes: 0 });
                    return limit;
                }
                let former = *former;
                let pause = self.pause.map_or(PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE));
                self.pause = Some(pause);
                self.up = !self.up;
                self.phase = Some(Phase::Watching {
                    since: now + pause,
                    bytes: 0,
                });
                former
            }
        }
    }
}
