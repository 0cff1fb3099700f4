//! Why a request did not deliver what it asked for, and the errors of connections.

use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

use modelcache_crds::report::FailureClass;

use crate::model::error::{FetchError, SourceError};

/// Why a request did not deliver what it asked for.
#[derive(Debug)]
pub(crate) enum RequestError {
    /// The server ignores ranges.
    RangesIgnored,
    /// The location no longer serves the file. Some servers say so to whoever asks too much: then it is a refusal as well.
    LocationLost { error: SourceError, is_refusal: bool },
    /// The server is asked too much.
    Refused(SourceError),
    /// A retry may help, of a new location where this one leads astray.
    Transient { error: SourceError, is_astray: bool },
    /// A retry cannot help.
    Permanent(SourceError),
    /// Something here failed, not the source.
    Local(FetchError),
}

impl RequestError {
    /// An error of a connection, which a retry may not meet.
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

/// A connection that delivers nothing.
pub(crate) fn stalled(timeout: Duration) -> SourceError {
    SourceError::new(
        FailureClass::SourceUnreachable,
        format!("delivered no byte for {} s", timeout.as_secs_f32()),
    )
}

/// A connection that delivers next to nothing.
pub(crate) fn trickled(gained: u64, waited: Duration) -> SourceError {
    SourceError::new(
        FailureClass::SourceUnreachable,
        format!("delivered only {gained} bytes in {:.1} s", waited.as_secs_f32()),
    )
}

/// A connection that broke, with the reasons below it and without the address, which may be signed.
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

/// A violation of the protocol, which a retry may not meet.
pub(crate) fn against_protocol(message: String) -> SourceError {
    SourceError::new(FailureClass::SourceError, message)
}

/// Names what an error is about.
pub(crate) fn named(from: &str, error: &SourceError) -> SourceError {
    let message = format!("{from}: {}", error.message);
    SourceError::new(error.class, message).with_retry_after(error.retry_after)
}
