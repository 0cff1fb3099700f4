//! Why a request failed, and the errors of connections.

use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

use modelcache_crds::report::FailureClass;

use crate::model::error::{FetchError, SourceError};

/// Why a request failed.
#[derive(Debug)]
pub(crate) enum RequestError {
    /// The server ignores ranges.
    RangesIgnored,
    /// The location no longer serves the file. Some servers answer the same to too many requests; `is_refusal` marks that.
    LocationLost { error: SourceError, is_refusal: bool },
    /// The server has too many requests.
    Refused(SourceError),
    /// A retry may help. With `is_astray` it needs a new location, because this one leads to a wrong address.
    Transient { error: SourceError, is_astray: bool },
    /// A retry cannot help.
    Permanent(SourceError),
    /// The fetcher itself failed, not the source.
    Local(FetchError),
}

impl RequestError {
    /// An error after which a retry may succeed at the same location.
    pub(crate) fn transient(error: SourceError) -> Self {
        Self::Transient {
            error,
            is_astray: false,
        }
    }

    /// Whether the location must not be used again.
    pub(crate) fn discards_location(&self) -> bool {
        matches!(
            self,
            Self::LocationLost { .. } | Self::Transient { is_astray: true, .. }
        )
    }
}

impl From<SourceError> for RequestError {
    fn from(error: SourceError) -> Self {
        if error.class.is_permanent() {
            Self::Permanent(error)
        } else {
            Self::transient(error)
        }
    }
}

/// The error of a connection that delivers nothing.
pub(crate) fn stalled(timeout: Duration) -> SourceError {
    SourceError::new(
        FailureClass::SourceUnreachable,
        format!("delivered no byte for {} s", timeout.as_secs_f32()),
    )
}

/// The error of a connection that delivers almost nothing.
pub(crate) fn too_slow(gained: u64, waited: Duration) -> SourceError {
    SourceError::new(
        FailureClass::SourceUnreachable,
        format!("delivered only {gained} bytes in {:.1} s", waited.as_secs_f32()),
    )
}

/// The error of a broken connection, with its causes. Without the URL, which may be signed.
pub(crate) fn network(error: reqwest::Error) -> SourceError {
    let class = if error.is_timeout() {
        FailureClass::SourceUnreachable
    } else {
        FailureClass::SourceError
    };
    let error = error.without_url();
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(message, ": {error}");
        cause = error.source();
    }
    SourceError::new(class, message)
}

/// The error of a response that violates the protocol. A retry may succeed.
pub(crate) fn protocol_error(message: String) -> SourceError {
    SourceError::new(FailureClass::SourceError, message)
}

/// Prefixes an error with what it is about.
pub(crate) fn named(from: &str, error: &SourceError) -> SourceError {
    let message = format!("{from}: {}", error.message);
    SourceError::new(error.class, message).with_retry_after(error.retry_after)
}
