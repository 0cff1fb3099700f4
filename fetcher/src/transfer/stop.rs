//! The one way a fetch ends: complete, failed, or stopped by its caller.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::model::error::FetchError;

/// Why a fetch ended by itself.
#[derive(Debug)]
enum End {
    Complete,
    Failed(FetchError),
}

/// Shared by everything that works on a fetch.
#[derive(Debug)]
pub(crate) struct Stop {
    /// Cancelled when the fetch has ended, for whatever reason.
    token: CancellationToken,
    end: Mutex<Option<End>>,
    /// No connection writes any more: workers may sync what they have and end.
    is_drained: AtomicBool,
}

impl Stop {
    /// Ends when the caller's token is cancelled.
    pub(crate) fn new(caller: &CancellationToken) -> Self {
        Self {
            token: caller.child_token(),
            end: Mutex::default(),
            is_drained: AtomicBool::new(false),
        }
    }

    /// Ends with an error; the first end counts.
    pub(crate) fn fail(&self, error: FetchError) {
        // An interruption has its reason elsewhere.
        if !matches!(error, FetchError::Interrupted) {
            self.record(End::Failed(error));
        }
        self.token.cancel();
    }

    /// Ends because everything is done; the first end counts.
    pub(crate) fn complete(&self) {
        self.record(End::Complete);
        self.token.cancel();
    }

    fn record(&self, end: End) {
        self.end
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert(end);
    }

    /// Whether the fetch has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Waits until the fetch has ended.
    pub(crate) async fn ended(&self) {
        self.token.cancelled().await;
    }

    /// For what stops early by itself, such as hashing.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// No connection writes any more.
    pub(crate) fn set_drained(&self) {
        self.is_drained.store(true, Ordering::Release);
    }

    /// Whether no connection writes any more.
    pub(crate) fn is_drained(&self) -> bool {
        self.is_drained.load(Ordering::Acquire)
    }

    /// How the fetch ended.
    pub(crate) fn result(&self) -> Result<(), FetchError> {
        match self.end.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(End::Complete) => Ok(()),
            Some(End::Failed(error)) => Err(error),
            None => Err(FetchError::Interrupted),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure(what: &str) -> FetchError {
        FetchError::Internal(what.to_owned())
    }

    #[test]
    fn the_first_end_counts() {
        let stop = Stop::new(&CancellationToken::new());
        stop.fail(failure("first"));
        stop.fail(failure("second"));
        stop.complete();
        assert!(stop.has_ended());
        assert!(stop.result().unwrap_err().to_string().contains("first"));
    }

    #[test]
    fn a_caller_that_stops_after_the_end_changes_nothing() {
        let caller = CancellationToken::new();
        let stop = Stop::new(&caller);
        stop.complete();
        caller.cancel();
        assert!(stop.result().is_ok());
    }

    #[test]
    fn a_caller_that_stops_interrupts() {
        let caller = CancellationToken::new();
        let stop = Stop::new(&caller);
        caller.cancel();
        assert!(stop.has_ended());
        assert!(matches!(stop.result(), Err(FetchError::Interrupted)));
    }
}
