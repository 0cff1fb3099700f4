//! A cap on bytes per second over all connections, adjustable at run time.

use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

/// Bytes sent at once under a cap. Small, so that few bytes are in flight when a client disconnects.
const CAPPED_CHUNK: usize = 16 * 1024;
/// Bytes sent at once without a cap.
const FREE_CHUNK: usize = 256 * 1024;

#[derive(Debug)]
pub(crate) struct Pacer {
    rate: watch::Sender<Option<u64>>,
    /// When the next byte may be sent.
    next: Mutex<Instant>,
}

impl Pacer {
    pub(crate) fn new(rate: Option<u64>) -> Self {
        Self {
            rate: watch::Sender::new(rate),
            next: Mutex::new(Instant::now()),
        }
    }

    pub(crate) fn set(&self, rate: Option<u64>) {
        *lock(&self.next) = Instant::now();
        self.rate.send_replace(rate);
    }

    /// Number of bytes to send at once.
    pub(crate) fn chunk(&self) -> usize {
        match *self.rate.borrow() {
            // At a low rate, one chunk must not delay the other connections for seconds.
            Some(rate) => CAPPED_CHUNK
                .min(usize::try_from(rate / 8).unwrap_or(CAPPED_CHUNK))
                .max(256),
            None => FREE_CHUNK,
        }
    }

    /// Waits until this many bytes may be sent, or until the cap changes.
    pub(crate) async fn wait(&self, bytes: usize) {
        let mut rate = self.rate.subscribe();
        let Some(cap) = *rate.borrow_and_update() else { return };
        let turn = {
            let mut next = lock(&self.next);
            let turn = (*next).max(Instant::now());
            *next = turn + Duration::from_secs_f64(bytes as f64 / cap.max(1) as f64);
            turn
        };
        tokio::select! {
            () = tokio::time::sleep_until(turn) => {}
            _ = rate.changed() => {}
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_cap_holds_over_many_chunks_and_can_be_removed() {
        let pacer = Pacer::new(Some(1000));
        let start = Instant::now();
        for _ in 0..21 {
            pacer.wait(100).await;
        }
        assert_eq!(start.elapsed().as_secs(), 2);
        pacer.set(None);
        pacer.wait(1_000_000).await;
        assert_eq!(start.elapsed().as_secs(), 2);
    }
}
