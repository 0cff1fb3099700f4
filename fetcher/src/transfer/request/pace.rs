//! Detects a connection that delivers too little to be kept.

use std::time::Duration;

/// Bytes per second below which a connection counts as stalled. Otherwise a byte now and then would keep a dead connection
/// for days. Low, so that a slow link does not count as stalled.
const STALLED_BYTES_PER_SECOND: f64 = 1024.0;

/// Bytes that a connection delivered, and the time spent waiting for them. Without the time that the disk or the bandwidth
/// cap takes, which is not the connection's fault.
#[derive(Debug, Default)]
pub(super) struct Pace {
    pub(super) waited: Duration,
    pub(super) gained: u64,
}

impl Pace {
    /// The bytes delivered in a complete window, if they are too few. Otherwise a complete window is followed by the next.
    pub(super) fn too_slow(&mut self, window: Duration) -> Option<u64> {
        if self.waited < window {
            return None;
        }
        if (self.gained as f64) < STALLED_BYTES_PER_SECOND * self.waited.as_secs_f64() {
            return Some(self.gained);
        }
        *self = Self::default();
        None
    }
}
