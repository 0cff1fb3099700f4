//! The bandwidth cap: a token bucket that all connections share. A connection acquires bytes after it received them, and does
//! not read until they are granted. This backpressure slows the sender down.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// The unused time that is granted as a burst. Longer than timer delays, so that these do not lower the rate; much shorter
/// than a second, so that others on the same link do not notice it.
const BURST: Duration = Duration::from_millis(50);

const NANOSECONDS: u128 = 1_000_000_000;

/// The bytes that all connections may receive.
#[derive(Debug)]
pub(crate) struct Bandwidth(Mutex<Bucket>);

impl Bandwidth {
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self(Mutex::new(Bucket::new(bytes_per_second, Instant::now())))
    }

    /// Waits until the rate grants received bytes. Grants are in order of the calls, and a connection has one call at a time,
    /// so all get the same share.
    pub(crate) async fn acquire(&self, bytes: u64) {
        let until = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .acquire(bytes, Instant::now());
        sleep_until(until).await;
    }
}

/// How far the rate is used. Each grant takes the time that its bytes need at the rate, right after the previous grant.
#[derive(Debug)]
struct Bucket {
    bytes_per_second: u128,
    /// Until when the rate is used.
    used_until: Instant,
    /// The fraction of a nanosecond beyond that, times bytes per second. Kept, so that rounding does not change the rate
    /// however small the grants are.
    rest: u128,
}

impl Bucket {
    fn new(bytes_per_second: u64, now: Instant) -> Self {
        Self {
            bytes_per_second: u128::from(bytes_per_second.max(1)),
            used_until: now,
            rest: 0,
        }
    }

    /// Acquires bytes. Returns the time at which they are granted.
    fn acquire(&mut self, bytes: u64, now: Instant) -> Instant {
        // Unused time is lost, except for the burst.
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let worth = u128::from(bytes) * NANOSECONDS + self.rest;
        self.rest = worth % self.bytes_per_second;
        let nanoseconds = u64::try_from(worth / self.bytes_per_second).unwrap_or(u64::MAX);
        self.used_until = self.used_until.max(earliest) + Duration::from_nanos(nanoseconds);
        self.used_until.max(now)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rstest::rstest;

    use super::*;

    /// Bytes of a rate in a time, rounded up.
    fn worth(rate: u64, time: Duration) -> u128 {
        (u128::from(rate) * time.as_nanos()).div_ceil(NANOSECONDS)
    }

    proptest! {
        #[test]
        fn grants_never_exceed_the_rate_and_a_burst(
            rate in 1_000_u64..10_000_000_000,
            calls in proptest::collection::vec((1_u64..1 << 20, 0_u64..100_000_000, any::<bool>()), 1..60),
        ) {
            let begin = Instant::now();
            let mut bucket = Bucket::new(rate, begin);
            let mut now = begin;
            let mut grants: Vec<(Instant, u128)> = Vec::new();
            for (bytes, pause, waits) in calls {
                now += Duration::from_nanos(pause);
                let granted = bucket.acquire(bytes, now);
                prop_assert!(granted >= now);
                grants.push((granted, bytes.into()));
                // If not, another connection acquires bytes while this one waits.
                if waits {
                    now = granted;
                }
            }
            let largest = grants.iter().map(|(_, bytes)| *bytes).max().unwrap();
            let burst = largest.max(worth(rate, BURST));
            for (first, (from, _)) in grants.iter().enumerate() {
                let mut sum = 0;
                for (until, bytes) in &grants[first..] {
                    sum += bytes;
                    // A nanosecond more for rounding.
                    let nanosecond = worth(rate, Duration::from_nanos(1));
                    prop_assert!(sum <= worth(rate, *until - *from) + burst + nanosecond);
                }
            }
        }

        #[test]
        fn busy_connections_use_the_whole_rate_together(
            rate in 100_000_u64..10_000_000_000,
            connections in 1_usize..16,
            sizes in proptest::collection::vec(1_u64..1 << 18, 1..40),
            late in 0_u64..5_000_000,
        ) {
            let begin = Instant::now();
            let mut bucket = Bucket::new(rate, begin);
            let mut ready = vec![begin; connections];
            let mut granted = vec![0_u128; connections];
            let mut last = begin;
            // Long enough that every timer is late many times.
            for bytes in sizes.iter().cycle().take(4000) {
                let (who, now) = ready.iter().copied().enumerate().min_by_key(|(_, at)| *at).unwrap();
                // Timers fire late, never early. A connection that did not wait is not late.
                last = bucket.acquire(*bytes, now);
                let delay = if last > now { Duration::from_nanos(late) } else { Duration::ZERO };
                ready[who] = last + delay;
                granted[who] += u128::from(*bytes);
            }
            let total: u128 = granted.iter().sum();
            let demanded = worth(rate, last - begin);
            // Late timers cost nothing, except the last one.
            prop_assert!(total + worth(rate, Duration::from_nanos(late + 1)) >= demanded, "{total} of {demanded}");
        }
    }

    #[rstest]
    #[case::at_once(0, 500)]
    #[case::after_less_than_a_burst(20, 480)]
    #[case::after_a_long_pause(60_000, 450)]
    fn a_grant_waits_for_the_time_of_its_bytes_less_the_burst(#[case] pause: u64, #[case] wait: u64) {
        let begin = Instant::now();
        let mut bucket = Bucket::new(1000, begin);
        let now = begin + Duration::from_millis(pause);
        assert_eq!(bucket.acquire(500, now), now + Duration::from_millis(wait));
    }

    #[tokio::test(start_paused = true)]
    async fn connections_share_the_rate_evenly() {
        let bandwidth = Bandwidth::new(1000);
        let begin = Instant::now();
        let connection = async || {
            let mut granted = 0;
            while begin.elapsed() < Duration::from_secs(10) {
                bandwidth.acquire(100).await;
                granted += 100;
            }
            granted
        };
        let (a, b, c) = tokio::join!(connection(), connection(), connection());
        let granted = [a, b, c];
        assert!(
            granted.iter().all(|granted| (3200..=3600).contains(granted)),
            "{granted:?}"
        );
    }
}
