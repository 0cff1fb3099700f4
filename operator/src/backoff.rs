//! Retry schedules. Pure except [`ErrorBackoff`], which counts each object's failures.
//!
//! Two schedules: failed attempts of a step (Jobs) are counted in status and survive the operator; failed reconciles
//! (API errors) are counted here and start over with the process.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest, Sha256};

/// First pause after a failed attempt: most faults of a hub or a network pass within seconds.
const ATTEMPT_BACKOFF_MIN: Duration = Duration::from_secs(5);

/// Longest pause after a failed attempt: an unreachable hub gets six requests an hour.
const ATTEMPT_BACKOFF_MAX: Duration = Duration::from_mins(10);

/// First pause after a failed reconcile.
const ERROR_BACKOFF_MIN: Duration = Duration::from_secs(1);

/// Longest pause after a failed reconcile: a raised quota or a granted permission sends no watch event.
const ERROR_BACKOFF_MAX: Duration = Duration::from_mins(5);

/// Jitter of every pause, so that caches that failed together do not retry together.
const BACKOFF_JITTER_PERCENT: u64 = 10;

/// Pause after the `count`-th failed attempt of a step, counted from 1.
///
/// Deterministic in count and seed, so that a restarted operator computes the time that status shows.
#[must_use]
pub fn attempt_backoff(count: i32, seed: &str) -> Duration {
    jittered(doubled(ATTEMPT_BACKOFF_MIN, ATTEMPT_BACKOFF_MAX, count), count, seed)
}

/// Pause after the `count`-th consecutive failed reconcile, counted from 1.
#[must_use]
pub fn error_backoff(count: i32, seed: &str) -> Duration {
    jittered(doubled(ERROR_BACKOFF_MIN, ERROR_BACKOFF_MAX, count), count, seed)
}

fn doubled(first: Duration, longest: Duration, count: i32) -> Duration {
    let doublings = u32::try_from(count.saturating_sub(1)).unwrap_or(0).min(30);
    first.saturating_mul(1 << doublings).min(longest)
}

fn jittered(pause: Duration, count: i32, seed: &str) -> Duration {
    let mut hash = Sha256::new();
    hash.update(seed.as_bytes());
    hash.update(count.to_be_bytes());
    let digest = hash.finalize();
    let random = u64::from(digest[0]) << 8 | u64::from(digest[1]);
    // Between 100 - JITTER and 100 + JITTER percent, in steps that spread a thousand caches.
    let per_mille = 1000 - 10 * BACKOFF_JITTER_PERCENT + random * 20 * BACKOFF_JITTER_PERCENT / u64::from(u16::MAX);
    let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(millis.saturating_mul(per_mille) / 1000)
}

/// Counts the consecutive reconcile failures of each object.
#[derive(Debug, Default)]
pub struct ErrorBackoff {
    counts: Mutex<HashMap<String, i32>>,
}

impl ErrorBackoff {
    /// Counts a failed reconcile of the object; returns the pause before the next one.
    #[must_use]
    pub fn failed(&self, object: &str) -> Duration {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(object.to_owned()).or_insert(0);
        *count = count.saturating_add(1);
        error_backoff(*count, object)
    }

    /// Resets the count of an object that was reconciled, or is gone.
    pub fn succeeded(&self, object: &str) {
        self.counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(object);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case(1, 5)]
    #[case(2, 10)]
    #[case(3, 20)]
    #[case(7, 320)]
    #[case(8, 600)]
    #[case(100, 600)]
    #[case(i32::MAX, 600)]
    // An impossible count still gives a sane pause.
    #[case(0, 5)]
    #[case(i32::MIN, 5)]
    fn attempts_wait_five_seconds_doubling_to_ten_minutes(#[case] count: i32, #[case] seconds: u64) {
        let pause = attempt_backoff(count, "uid").as_millis();
        let nominal = u128::from(seconds) * 1000;
        assert!(
            (nominal * 9 / 10..=nominal * 11 / 10).contains(&pause),
            "{pause} ms for attempt {count}"
        );
    }

    #[test]
    fn errors_wait_one_second_doubling_to_five_minutes_for_each_object_alone() {
        let backoff = ErrorBackoff::default();
        let pauses: Vec<u128> = (0..12).map(|_| backoff.failed("ns/a").as_millis()).collect();
        assert!((900..=1100).contains(&pauses[0]), "{pauses:?}");
        assert!((1800..=2200).contains(&pauses[1]), "{pauses:?}");
        assert!((270_000..=330_000).contains(&pauses[11]), "{pauses:?}");
        assert!(backoff.failed("ns/b").as_millis() <= 1100, "another object starts over");
        backoff.succeeded("ns/a");
        assert!(backoff.failed("ns/a").as_millis() <= 1100, "a success starts over");
    }

    #[test]
    fn caches_that_failed_together_do_not_retry_together() {
        let pauses: std::collections::BTreeSet<_> =
            (0..100).map(|uid| attempt_backoff(5, &format!("uid-{uid}"))).collect();
        assert!(pauses.len() > 50, "{} different pauses", pauses.len());
    }

    proptest! {
        #[test]
        fn the_same_count_and_seed_give_the_same_pause_within_bounds(count in any::<i32>(), seed in "\\PC{0,40}") {
            prop_assert_eq!(attempt_backoff(count, &seed), attempt_backoff(count, &seed));
            prop_assert!(attempt_backoff(count, &seed) <= ATTEMPT_BACKOFF_MAX * 11 / 10);
            prop_assert!(attempt_backoff(count, &seed) >= ATTEMPT_BACKOFF_MIN * 9 / 10);
        }
    }
}
