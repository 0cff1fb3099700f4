//! What can fail in a reconcile.

use std::time::Duration;

use thiserror::Error;

use crate::metrics::ErrorCategory;

/// Why a reconcile failed. All are tried again with growing pauses; what is permanent is a condition, not an error.
#[derive(Debug, Error)]
pub enum Error {
    /// The cluster could not be looked at.
    #[error("failed to read {what}")]
    Observe {
        /// What was read.
        what: &'static str,
        /// Why it failed.
        source: kube::Error,
    },
    /// A decision could not be carried out.
    #[error("failed to {what}")]
    Apply {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        source: kube::Error,
    },
    /// The status could not be written.
    #[error("failed to write the status")]
    Status {
        /// Why it failed.
        source: kube::Error,
    },
    /// It took too long.
    #[error("the reconcile did not end within {} s", .0.as_secs())]
    Timeout(Duration),
    /// A watch has ended, as it does when the process stops.
    #[error("the watch of {0} has ended")]
    WatchEnded(&'static str),
}

impl Error {
    /// What kind of thing failed, for the metrics.
    #[must_use]
    pub fn category(&self) -> ErrorCategory {
        match self {
            Self::Observe { source, .. } | Self::Apply { source, .. } | Self::Status { source } => source.into(),
            Self::Timeout(_) => ErrorCategory::Timeout,
            Self::WatchEnded(_) => ErrorCategory::Other,
        }
    }
}
