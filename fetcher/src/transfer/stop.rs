//! The end of a fetch: complete, failed, or stopped by its caller.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::model::error::FetchError;

/// How a fetch ended without being stopped.
#[derive(Debug)]
enum End {
    Complete,
    Failed(FetchError),
}

/// Ends a fetch once, for all of its workers and connections.
#[derive(Debug)]
pub(crate) struct Stop {
    /// Cancelled when the fetch has ended, for any reason.
    token: CancellationToken,
    end: Mutex<Option<End>>,
    /// No connection writes any more, so workers may make their bytes durable and end.
    is_drained: AtomicBool,
}

impl Stop {
    /// A stop that also ends when the caller's token is cancelled.
    pub(crate) fn new(caller: &CancellationToken) -> Self {
        Self {
            token: caller.child_token(),
            end: Mutex::default(),
            is_drained: AtomicBool::new(false),
        }
    }

    /// Ends the fetch with an error. The first end counts.
    pub(crate) fn fail(&self, error: FetchError) {
        // An interruption is the consequence of an end, not its reason.
        if !matches!(error, FetchError::Interrupted) {
            self.record(End::Failed(error));
        }
        self.token.cancel();
    }

    /// Ends the fetch as complete. The first end counts.
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

    /// The token, for work that checks it, such as hashing.
    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Records that no connection writes any more.
    pub(crate) fn set_drained(&self) {
        self.is_drained.store(true, Ordering::Release);
    }

    /// Whether no connection writes any more.
    pub(crate) fn is_drained(&self) -> bool {
        self.is_drained.load(Ordering::Acquire)
    }

    /// The result of the fetch: `Interrupted` if its caller stopped it.
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
    fn a_stop_by_the_caller_after_the_end_changes_nothing() {
        let caller = CancellationToken::new();
        let stop = Stop::new(&caller);
        stop.complete();
        caller.cancel();
        assert!(stop.result().is_ok());
    }

    #[test]
    fn a_stop_by_the_caller_is_an_interruption() {
        let caller = CancellationToken::new();
        let stop = Stop::new(&caller);
        caller.cancel();
        assert!(stop.has_ended());
        assert!(matches!(stop.result(), Err(FetchError::Interrupted)));
    }
}
