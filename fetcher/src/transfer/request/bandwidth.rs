//! A bound on the bytes received per second, which all connections share. Bytes are drawn after they came: whoever
//! drew waits until they are paid for and reads nothing meanwhile, so that the sender is slowed down in turn.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How much may be received at once after a lull. Long beside the delays of timers, so that these lose nothing of the
/// rate; short beside a second, so that nobody on the same line notices it.
const BURST: Duration = Duration::from_millis(50);

const NANOSECONDS: u128 = 1_000_000_000;

/// The bytes that all connections may receive.
#[derive(Debug)]
pub(crate) struct Bandwidth(Mutex<Bucket>);

impl Bandwidth {
    pub(crate) fn new(bytes_per_second: u64) -> Self {
        Self(Mutex::new(Bucket::new(bytes_per_second, Instant::now())))
    }

    /// Draws received bytes, and waits until they are paid for. Draws are served in the order they were made in; a
    /// connection waits for one before it makes the next, so that all get the same share.
    pub(crate) async fn draw(&self, bytes: u64) {
        let until = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .draw(bytes, Instant::now());
        sleep_until(until).await;
    }
}

/// How far the rate is used up. Every draw takes the time it is worth, right after the draw before it.
#[derive(Debug)]
struct Bucket {
    bytes_per_second: u128,
    /// Until when the rate is used up.
    used_until: Instant,
    /// What the last draw took beyond that, in bytes per second times nanoseconds: less than a nanosecond is worth.
    /// Kept, so that however small the draws are, nothing is lost or given away.
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

    /// Draws bytes. Returns when they are paid for.
    fn draw(&mut self, bytes: u64, now: Instant) -> Instant {
        // What was not used is lost, but for the burst.
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

    /// What a rate brings in a time, rounded up.
    fn worth(rate: u64, time: Duration) -> u128 {
        (u128::from(rate) * time.as_nanos()).div_ceil(NANOSECONDS)
    }

    proptest! {
        #[test]
        fn never_more_is_granted_than_the_rate_and_a_burst(
            rate in 1_000_u64..10_000_000_000,
            draws in proptest::collection::vec((1_u64..1 << 20, 0_u64..100_000_000, any::<bool>()), 1..60),
        ) {
            let begin = Instant::now();
            let mut bucket = Bucket::new(rate, begin);
            let mut now = begin;
            let mut grants: Vec<(Instant, u128)> = Vec::new();
            for (bytes, pause, waits) in draws {
                now += Duration::from_nanos(pause);
                let granted = bucket.draw(bytes, now);
                prop_assert!(granted >= now);
                grants.push((granted, bytes.into()));
                // Other connections draw while one waits.
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
                    // One more byte for what is worth less than a nanosecond.
                    let nanosecond = worth(rate, Duration::from_nanos(1));
                    prop_assert!(sum <= worth(rate, *until - *from) + burst + nanosecond);
                }
            }
        }

        #[test]
        fn connections_that_always_have_bytes_get_the_rate_between_them(
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
            // Long enough for every timer to be late many times.
            for bytes in sizes.iter().cycle().take(4000) {
                let (who, now) = ready.iter().copied().enumerate().min_by_key(|(_, at)| *at).unwrap();
                // A timer wakes late, never early; a connection that has not waited is not late.
                last = bucket.draw(*bytes, now);
                let delay = if last > now { Duration::from_nanos(late) } else { Duration::ZERO };
                ready[who] = last + delay;
                granted[who] += u128::from(*bytes);
            }
            let total: u128 = granted.iter().sum();
            let demanded = worth(rate, last - begin);
            // Timers being late costs nothing but the last time.
            prop_assert!(total + worth(rate, Duration::from_nanos(late + 1)) >= demanded, "{total} of {demanded}");
        }
    }

    #[rstest]
    #[case::at_once(0, 500)]
    #[case::after_less_than_a_burst(20, 480)]
    #[case::after_a_long_lull(60_000, 450)]
    fn a_draw_waits_for_what_it_is_worth_beyond_the_burst(#[case] lull: u64, #[case] wait: u64) {
        let begin = Instant::now();
        let mut bucket = Bucket::new(1000, begin);
        let now = begin + Duration::from_millis(lull);
        assert_eq!(bucket.draw(500, now), now + Duration::from_millis(wait));
    }

    #[tokio::test(start_paused = true)]
    async fn connections_share_the_rate_evenly() {
        let bandwidth = Bandwidth::new(1000);
        let begin = Instant::now();
        let connection = async || {
            let mut drawn = 0;
            while begin.elapsed() < Duration::from_secs(10) {
                bandwidth.draw(100).await;
                drawn += 100;
            }
            drawn
        };
        let (a, b, c) = tokio::join!(connection(), connection(), connection());
        let drawn = [a, b, c];
        assert!(drawn.iter().all(|drawn| (3200..=3600).contains(drawn)), "{drawn:?}");
    }
}
