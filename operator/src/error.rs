//! Errors of a reconcile.

use std::time::Duration;

use thiserror::Error;

use crate::metrics::ErrorCategory;

/// Why a reconcile failed. Every error is retried with backoff; a permanent fault is a condition instead.
#[derive(Debug, Error)]
pub enum Error {
    /// Reading from the cluster failed.
    #[error("failed to read {what} from the API server")]
    Observe {
        /// The object read.
        what: &'static str,
        /// The client's error.
        source: kube::Error,
    },
    /// Applying a decision failed.
    #[error("failed to {what}")]
    Apply {
        /// The action, as a verb phrase.
        what: &'static str,
        /// The client's error.
        source: kube::Error,
    },
    /// Writing the status failed.
    #[error("failed to write the ModelCache's status")]
    Status {
        /// The client's error.
        source: kube::Error,
    },
    /// The reconcile exceeded its time limit.
    #[error("reconcile timed out after {} s", .0.as_secs())]
    Timeout(Duration),
    /// A watch ended, as all do when the process stops.
    #[error("the watch of {0} ended")]
    WatchEnded(&'static str),
}

impl Error {
    /// The category, for the metrics.
    #[must_use]
    pub fn category(&self) -> ErrorCategory {
        match self {
            Self::Observe { source, .. } | Self::Apply { source, .. } | Self::Status { source } => source.into(),
            Self::Timeout(_) => ErrorCategory::Timeout,
            Self::WatchEnded(_) => ErrorCategory::Other,
        }
    }
}
