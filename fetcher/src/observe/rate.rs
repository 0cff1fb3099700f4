//! The transfer rate over the last seconds. Pure, except for [`Meter`], which shares the last reading.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::progress::{Progress, Snapshot};

/// Time over which the rate is averaged: smooths the bursts of pieces, but soon shows a standstill.
const RATE_WINDOW: Duration = Duration::from_secs(10);

/// Time between two readings of a meter.
const READING_INTERVAL: Duration = Duration::from_secs(1);

/// Readings of a growing counter over the last seconds.
#[derive(Debug, Default)]
pub(crate) struct Window(VecDeque<(Duration, u64)>);

impl Window {
    /// Adds a reading (time since the start, counter) and returns the growth per second.
    pub(crate) fn record(&mut self, now: Duration, counter: u64) -> u64 {
        self.0.push_back((now, counter));
        // Keeps one reading at or before the start of the window, so that the whole window counts.
        while self
            .0
            .get(1)
            .is_some_and(|(at, _)| now.saturating_sub(*at) >= RATE_WINDOW)
        {
            self.0.pop_front();
        }
        let Some((from, first)) = self.0.front() else { return 0 };
        let elapsed = now.saturating_sub(*from);
        let millis = elapsed.as_millis().max(1);
        let growth = u128::from(counter.saturating_sub(*first));
        if elapsed.is_zero() {
            return 0;
        }
        u64::try_from(growth * 1000 / millis).unwrap_or(u64::MAX)
    }
}

/// Progress with its current rate.
#[derive(Clone, Debug)]
pub(crate) struct Meter {
    progress: Progress,
    bytes_per_second: Arc<AtomicU64>,
}

/// Selects the counter to measure or to show.
pub(crate) type Counter = fn(&Snapshot) -> u64;

/// A reading of a meter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) counters: Snapshot,
    /// Rate of the network while fetching, of hashing while verifying.
    pub(crate) bytes_per_second: u64,
}

impl Meter {
    pub(crate) fn new(progress: Progress) -> Self {
        Self {
            progress,
            bytes_per_second: Arc::new(AtomicU64::new(0)),
        }
    }

    pub(crate) fn read(&self) -> Reading {
        Reading {
            counters: self.progress.snapshot(),
            bytes_per_second: self.bytes_per_second.load(Ordering::Relaxed),
        }
    }

    /// Updates the rate and calls `show` with each reading, until the future is dropped.
    pub(crate) async fn run(self, counter: Counter, mut show: impl FnMut(Reading)) {
        let mut window = Window::default();
        let start = Instant::now();
        let mut ticks = tokio::time::interval(READING_INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let speed = window.record(start.elapsed(), counter(&self.progress.snapshot()));
            self.bytes_per_second.store(speed, Ordering::Relaxed);
            show(self.read());
        }
    }
}

impl Reading {
    /// Time to the last byte at this rate; `None` at a standstill or at the end.
    pub(crate) fn remaining(&self, done: u64) -> Option<Duration> {
        let rest = self.counters.bytes_total.saturating_sub(done);
        let seconds = rest.checked_div(self.bytes_per_second)?;
        (rest > 0).then(|| Duration::from_secs(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(window: &mut Window, second: u64, counter: u64) -> u64 {
        window.record(Duration::from_secs(second), counter)
    }

    #[test]
    fn the_first_reading_has_no_speed() {
        assert_eq!(record(&mut Window::default(), 0, 1000), 0);
    }

    #[test]
    fn the_speed_is_that_of_the_last_ten_seconds() {
        let mut window = Window::default();
        for second in 0..=10 {
            record(&mut window, second, second * 100);
        }
        assert_eq!(record(&mut window, 11, 1100), 100);
        for second in 12..=21 {
            record(&mut window, second, 1100);
        }
        assert_eq!(record(&mut window, 22, 1100), 0);
    }

    #[test]
    fn a_counter_that_shrinks_is_no_speed() {
        let mut window = Window::default();
        record(&mut window, 0, 1000);
        assert_eq!(record(&mut window, 1, 0), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_meter_shares_the_speed_it_measures() {
        let progress = Progress::default();
        progress.set_total(1, 10_000);
        let meter = Meter::new(progress.clone());
        let mut readings = Vec::new();
        let run = meter.clone().run(
            |counters| counters.bytes_received,
            |reading| {
                readings.push(reading.bytes_per_second);
                progress.received(500);
            },
        );
        let _ = tokio::time::timeout(Duration::from_millis(2500), run).await;
        assert_eq!(readings, [0, 500, 500]);
        assert_eq!(meter.read().bytes_per_second, 500);
        assert_eq!(meter.read().remaining(1500), Some(Duration::from_secs(17)));
    }
}
