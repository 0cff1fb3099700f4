//! Whether a connection delivers too little to be kept.

use std::time::Duration;

/// Bytes per second below which a connection counts as stalled. A byte now and then would keep a dead connection for
/// days; a new one gets past it. Low, so that a slow line is not mistaken for it.
const STALLED_BYTES_PER_SECOND: f64 = 1024.0;

/// What a connection brought in the time it was waited for. The disk may be slower, and so may the bound
/// on the bandwidth: that is not its fault.
#[derive(Debug, Default)]
pub(super) struct Pace {
    pub(super) waited: Duration,
    pub(super) gained: u64,
}

impl Pace {
    /// The bytes that a whole window of waiting brought, when they are too few; otherwise a window that is over makes
    /// place for the next.
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
