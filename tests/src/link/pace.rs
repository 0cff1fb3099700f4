//! A cap on bytes a second, exact over any time longer than some milliseconds.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Time that was not used and may be made up for: as long as a timer may be late.
const SLACK: Duration = Duration::from_millis(5);

/// Whoever waits takes the next free moment: connections that share a pace take turns.
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

    /// How many bytes to pass on at once: a few milliseconds' worth.
    pub(super) fn chunk(&self) -> usize {
        usize::try_from(self.bytes_per_second / 200)
            .unwrap_or(usize::MAX)
            .clamp(512, 64 * 1024)
    }

    /// Waits until these bytes have had their time on the link.
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
    async fn a_rest_is_not_made_up_for() {
        let pace = Pace::new(1_000_000);
        pace.wait(1000).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        let start = Instant::now();
        pace.wait(1_000_000).await;
        assert!(start.elapsed() >= Duration::from_millis(990));
    }
}
