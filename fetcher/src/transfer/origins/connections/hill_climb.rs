//! When fewer or more connections to one origin are tried, a few at a time.

use std::time::Duration;

use crate::transfer::schedule::experiment::Rule;

/// How long a number of connections is watched.
const WATCH: Duration = Duration::from_secs(2);

/// How long a change takes to show.
const SETTLE: Duration = Duration::from_secs(1);

/// For how long the first number is left alone: many fetches are over by then, and an experiment costs them more than it can
/// gain.
const UNTRIED: Duration = Duration::from_secs(13);

/// A candidate that delivers less than this share is reverted after a glance.
const CLEAR_LOSS_GAIN: f64 = 0.9;
const GLANCE: Duration = Duration::from_millis(700);

/// The first pause between experiments; it doubles as long as they are not worth it.
const FIRST_PAUSE: Duration = Duration::from_secs(8);
const LONGEST_PAUSE: Duration = Duration::from_mins(2);

/// Fewer connections than this are kept only when they gain clearly.
const FEW_CONNECTIONS: usize = 4;
const CLEAR_GAIN: f64 = 1.05;

/// How another number is judged.
pub(super) fn rule(tried: usize, present: usize) -> Rule {
    let is_costly = tried > present || tried < FEW_CONNECTIONS;
    Rule {
        settle: SETTLE,
        keep_early_gain: None,
        revert_early: Some((GLANCE, CLEAR_LOSS_GAIN)),
        watch: WATCH,
        worth_gain: if is_costly { CLEAR_GAIN } else { 1.0 },
        needs_second_miss: false,
    }
}

/// Measures an origin, and says when and in which direction another number may be tried.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HillClimb {
    /// Since when it is watched, and the bytes since then.
    watched: Option<(Duration, u64)>,
    pause: Option<Duration>,
    is_up: bool,
}

impl HillClimb {
    /// Takes in what arrived since the last step. Answers the rate per second once it is known.
    pub(super) fn observe(&mut self, now: Duration, bytes: u64) -> Option<f64> {
        let (since, watched) = self.watched.get_or_insert((now + UNTRIED, 0));
        if now <= *since {
            return None;
        }
        *watched += bytes;
        let time = now.saturating_sub(*since);
        (time >= WATCH).then(|| *watched as f64 / time.as_secs_f64())
    }

    /// The number to try in place of the present one.
    pub(super) fn candidate(&self, present: usize, most: usize) -> usize {
        if self.is_up {
            (present + (present / 4).max(1)).min(most)
        } else {
            (present * 3 / 4).max(1)
        }
    }

    /// Whether more were tried, or are to be tried next.
    pub(super) fn is_up(&self) -> bool {
        self.is_up
    }

    /// Nothing can be tried in this direction.
    pub(super) fn turn(&mut self, now: Duration) {
        self.is_up = !self.is_up;
        self.watched = Some((now, 0));
    }

    /// The candidate was worth it: the next one follows in the same direction.
    pub(super) fn kept(&mut self, now: Duration) {
        self.pause = None;
        self.watched = Some((now, 0));
    }

    /// The candidate was not worth it: after a pause the other direction is tried.
    pub(super) fn reverted(&mut self, now: Duration) {
        let pause = self.pause.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE));
        self.pause = Some(pause);
        self.is_up = !self.is_up;
        self.watched = Some((now + pause, 0));
    }

    /// The number changed otherwise: what was watched says nothing about it.
    pub(super) fn watch_again(&mut self, now: Duration) {
        if let Some((since, bytes)) = &mut self.watched
            && *since < now
        {
            (*since, *bytes) = (now, 0);
        }
    }
}
