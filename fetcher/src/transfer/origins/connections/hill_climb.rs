//! Hill climbing: when fewer or more connections to one origin are tried, a few at a time.

use std::time::Duration;

use crate::transfer::schedule::experiment::Rule;

/// How long the rate of a number of connections is measured.
const WATCH: Duration = Duration::from_secs(2);

/// How long a change takes to show an effect.
const SETTLE: Duration = Duration::from_secs(1);

/// The time before the first experiment. Many fetches end earlier, and an experiment would cost them more than it gains.
const INITIAL_PAUSE: Duration = Duration::from_secs(13);

/// A candidate with less than this gain is reverted early, after this time.
const EARLY_REVERT_GAIN: f64 = 0.9;
const EARLY_REVERT_AFTER: Duration = Duration::from_millis(700);

/// The pause after a failed experiment. It doubles as long as experiments fail.
const FIRST_PAUSE: Duration = Duration::from_secs(8);
const LONGEST_PAUSE: Duration = Duration::from_mins(2);

/// Fewer connections than this, and additional ones, are kept only from this gain on.
const CLEAR_GAIN_BELOW_CONNECTIONS: usize = 4;
const CLEAR_GAIN: f64 = 1.05;

/// The rule that judges another number of connections.
pub(super) fn rule(tried: usize, current: usize) -> Rule {
    let is_costly = tried > current || tried < CLEAR_GAIN_BELOW_CONNECTIONS;
    Rule {
        settle: SETTLE,
        keep_early_gain: None,
        revert_early: Some((EARLY_REVERT_AFTER, EARLY_REVERT_GAIN)),
        watch: WATCH,
        worth_gain: if is_costly { CLEAR_GAIN } else { 1.0 },
        needs_second_miss: false,
    }
}

/// Measures one origin, and decides when and in which direction to try another number.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HillClimb {
    /// Start of the measurement, and the bytes since then.
    watched: Option<(Duration, u64)>,
    pause: Option<Duration>,
    is_up: bool,
}

impl HillClimb {
    /// Adds the bytes since the last step. Returns the rate per second once it is known.
    pub(super) fn observe(&mut self, now: Duration, bytes: u64) -> Option<f64> {
        let (since, watched) = self.watched.get_or_insert((now + INITIAL_PAUSE, 0));
        if now <= *since {
            return None;
        }
        *watched += bytes;
        let time = now.saturating_sub(*since);
        (time >= WATCH).then(|| *watched as f64 / time.as_secs_f64())
    }

    /// The number to try instead of the current one.
    pub(super) fn candidate(&self, current: usize, max: usize) -> usize {
        if self.is_up {
            (current + (current / 4).max(1)).min(max)
        } else {
            (current * 3 / 4).max(1)
        }
    }

    /// Whether the current or next experiment tries more connections.
    pub(super) fn is_up(&self) -> bool {
        self.is_up
    }

    /// Changes the direction, because nothing can be tried in the current one.
    pub(super) fn turn_around(&mut self, now: Duration) {
        self.is_up = !self.is_up;
        self.watched = Some((now, 0));
    }

    /// Records that the candidate is kept. The next experiment has the same direction.
    pub(super) fn kept(&mut self, now: Duration) {
        self.pause = None;
        self.watched = Some((now, 0));
    }

    /// Records that the candidate is reverted. After a pause, the next experiment has the other direction.
    pub(super) fn reverted(&mut self, now: Duration) {
        let pause = self.pause.map_or(FIRST_PAUSE, |pause| (pause * 2).min(LONGEST_PAUSE));
        self.pause = Some(pause);
        self.is_up = !self.is_up;
        self.watched = Some((now + pause, 0));
    }

    /// Restarts the measurement, because something else changed the number of connections.
    pub(super) fn restart(&mut self, now: Duration) {
        if let Some((since, bytes)) = &mut self.watched
            && *since < now
        {
            (*since, *bytes) = (now, 0);
        }
    }
}
