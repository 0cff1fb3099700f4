//! A cap on bytes per second, exact over any time longer than a few milliseconds.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Unused time that later bytes may catch up on, so that a late timer does not lower the rate.
const SLACK: Duration = Duration::from_millis(5);

/// A rate limiter without burst. Connections that share it take turns.
#[derive(Debug)]
pub(super) struct Pace {
    bytes_per_second: u64,
    next: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(bytes_per_second: u64) -> Self {
        Self {
            bytes_per_second: bytes_per_second.max(1),
            next: Mutex::new(Instant::now()),
        }
    }

    /// Number of bytes to send at once: five milliseconds at this rate.
    pub(super) fn chunk(&self) -> usize {
        usize::try_from(self.bytes_per_second / 200)
            .unwrap_or(usize::MAX)
            .clamp(512, 64 * 1024)
    }

    /// Waits for the time that these bytes take at this rate.
    pub(super) async fn wait(&self, bytes: usize) {
        let until = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            let from = (*next).max(now.checked_sub(SLACK).unwrap_or(now));
            *next = from + Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
            *next
        };
        tokio::time::sleep_until(until).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn bytes_take_the_time_that_the_cap_says() {
        let (pace, start) = (Pace::new(1_000_000), Instant::now());
        for _ in 0..1000 {
            pace.wait(2000).await;
        }
        let took = start.elapsed();
        assert!(
            (Duration::from_millis(1990)..=Duration::from_millis(2005)).contains(&took),
            "{took:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn idle_time_is_not_made_up_for() {
        let pace = Pace::new(1_000_000);
        pace.wait(1000).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        let start = Instant::now();
        pace.wait(1_000_000).await;
        assert!(start.elapsed() >= Duration::from_millis(990));
    }
}
