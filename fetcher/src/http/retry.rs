//! Retry schedules, and the pauses that servers ask for.
//!
//! Pure: nothing here sleeps or classifies errors. Callers check first whether an error is permanent.

use std::time::Duration;

use jiff::Timestamp;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use reqwest::header::{HeaderMap, RETRY_AFTER};

/// A retry policy: length of pauses and number of attempts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Upper bound of the first pause. It doubles with every failure.
    pub base: Duration,
    /// Upper bound of every pause.
    pub cap: Duration,
    /// Longest pause that a server may ask for.
    pub retry_after_cap: Duration,
    /// Failures in a row, without progress, after which to give up.
    pub attempts: u32,
}

impl Default for Policy {
    /// Eight attempts, with pauses of up to 0.5 s at first and 30 s at most.
    ///
    /// Half a second is more than a round trip, and thirty seconds outlast the restart of a proxy. Eight failures in a
    /// row take about a minute; after that the caller's own, longer backoff takes over.
    fn default() -> Self {
        Self {
            base: Duration::from_millis(500),
            cap: Duration::from_secs(30),
            retry_after_cap: Duration::from_mins(5),
            attempts: 8,
        }
    }
}

impl Policy {
    /// Whether a server asks for a longer pause than the policy grants.
    pub(crate) fn is_too_long(&self, asked: Option<Duration>) -> bool {
        asked.is_some_and(|pause| pause > self.retry_after_cap)
    }
}

/// Exponential backoff: counts failures since the last progress and returns the next pause.
#[derive(Debug)]
pub struct Backoff {
    policy: Policy,
    failures: u32,
    random: SmallRng,
}

impl Backoff {
    /// A backoff without failures so far. The seed fixes its jitter.
    #[must_use]
    pub fn new(policy: Policy, seed: u64) -> Self {
        Self {
            policy,
            failures: 0,
            random: SmallRng::seed_from_u64(seed),
        }
    }

    /// Counts a failure and returns the pause before the next attempt; `None` to give up.
    ///
    /// Full jitter, so that clients that failed together do not retry together. A pause that the server asks for is a
    /// lower bound, with a little jitter added for the same reason.
    pub fn failed(&mut self, retry_after: Option<Duration>) -> Option<Duration> {
        self.failures += 1;
        if self.failures >= self.policy.attempts {
            return None;
        }
        let doublings = (self.failures - 1).min(20);
        let bound = self.policy.base.saturating_mul(1 << doublings).min(self.policy.cap);
        let jittered = bound.mul_f64(self.random.random::<f64>());
        Some(match retry_after {
            None => jittered,
            Some(asked) => {
                let spread = self.policy.base.min(jittered);
                asked.min(self.policy.retry_after_cap) + spread
            }
        })
    }

    /// Resets the count of failures after progress.
    pub fn progressed(&mut self) {
        self.failures = 0;
    }
}

/// The pause that a server asks for: an exhausted `RateLimit` window, or `Retry-After` as seconds or date.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    rate_limit(headers).or_else(|| {
        let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
        if let Ok(seconds) = text.parse::<u64>() {
            return Some(Duration::from_secs(seconds));
        }
        let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
        Some(Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO))
    })
}

/// The time until every exhausted window of a `RateLimit` header resets.
///
/// `RateLimit: "api";r=10;t=5, "resolvers";r=0;t=55`: the second policy has no requests left, and its window resets in
/// 55 s. Adds one second, since servers round down.
fn rate_limit(headers: &HeaderMap) -> Option<Duration> {
    let lines = headers
        .get_all("ratelimit")
        .iter()
        .filter_map(|line| line.to_str().ok());
    let resets = lines.flat_map(|line| line.split(',')).filter_map(|policy| {
        let parameter = |name: &str| {
            let mut parts = policy.split(';').filter_map(|part| part.trim().split_once('='));
            let (_, value) = parts.find(|(key, _)| *key == name)?;
            value.trim().parse::<u64>().ok()
        };
        (parameter("r")? == 0).then(|| parameter("t"))?
    });
    Some(Duration::from_secs(resets.max()?.saturating_add(1)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    #[test]
    fn it_gives_up_after_the_last_attempt_and_not_before() {
        let policy = Policy::default();
        let mut backoff = Backoff::new(policy, 7);
        for _ in 1..policy.attempts {
            assert!(backoff.failed(None).is_some());
        }
        assert_eq!(backoff.failed(None), None);
    }

    #[test]
    fn progress_makes_the_next_failure_the_first() {
        let policy = Policy::default();
        let mut backoff = Backoff::new(policy, 7);
        for _ in 0..100 {
            let pause = backoff.failed(None).unwrap();
            assert!(pause <= policy.base, "{pause:?}");
            backoff.progressed();
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_pauses() {
        let pauses = |seed| {
            let mut backoff = Backoff::new(Policy::default(), seed);
            std::iter::from_fn(|| backoff.failed(None)).collect::<Vec<_>>()
        };
        assert_eq!(pauses(1), pauses(1));
        assert_ne!(pauses(1), pauses(2));
    }

    proptest! {
        #[test]
        fn a_pause_doubles_at_most_and_stays_below_the_cap(seed: u64, attempts in 2_u32..100) {
            let policy = Policy { attempts, ..Policy::default() };
            let mut backoff = Backoff::new(policy, seed);
            for failure in 1..attempts {
                let pause = backoff.failed(None).unwrap();
                prop_assert!(pause <= policy.cap);
                prop_assert!(pause <= policy.base * 2_u32.saturating_pow((failure - 1).min(10)));
            }
        }

        #[test]
        fn the_pause_a_server_asks_for_is_kept_but_capped(seed: u64, seconds in 0_u64..100_000) {
            let policy = Policy::default();
            let asked = Duration::from_secs(seconds);
            let pause = Backoff::new(policy, seed).failed(Some(asked)).unwrap();
            prop_assert!(pause >= asked.min(policy.retry_after_cap));
            prop_assert!(pause <= policy.retry_after_cap + policy.base);
        }
    }

    #[rstest]
    #[case("retry-after", "120", Some(120))]
    #[case("retry-after", "Thu, 01 Jan 2026 00:01:00 GMT", Some(60))]
    #[case("retry-after", "soon", None)]
    #[case("retry-after", "-5", None)]
    #[case("ratelimit", "\"resolvers\";r=0;t=55", Some(56))]
    #[case("ratelimit", "\"resolvers\";r=12;t=55", None)]
    #[case("ratelimit", "r=0", None)]
    #[case::the_second_policy_is_spent("ratelimit", "\"api\";r=10;t=5, \"resolvers\";r=0;t=55", Some(56))]
    #[case::the_first_policy_is_spent("ratelimit", "\"api\";r=0;t=5, \"resolvers\";r=7;t=55", Some(6))]
    #[case::the_last_to_reset_of_two_that_are_spent("ratelimit", "\"a\";r=0;t=55,\"b\";r=0;t=5", Some(56))]
    #[case::none_of_two_is_spent("ratelimit", "\"a\";r=1;t=55, \"b\";r=2;t=5", None)]
    #[case::spent_without_a_time_beside_one_that_is_not("ratelimit", "\"a\";r=0, \"b\";r=2;t=5", None)]
    #[case("date", "Thu, 01 Jan 2026 00:01:00 GMT", None)]
    fn headers_that_ask_for_a_pause(
        #[case] name: &'static str,
        #[case] value: &'static str,
        #[case] seconds: Option<u64>,
    ) {
        let headers = HeaderMap::from_iter([(
            reqwest::header::HeaderName::from_static(name),
            reqwest::header::HeaderValue::from_static(value),
        )]);
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(retry_after(&headers, now), seconds.map(Duration::from_secs));
    }
}
