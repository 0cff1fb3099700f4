//! The body of a response, from a server or from a mounted file.

use bytes::Bytes;
use reqwest::Response;

use super::error::network;
use super::local::Reading;
use crate::model::error::SourceError;

/// A stream of bytes.
pub(crate) enum Body {
    /// The body of an HTTP response.
    Http(Response),
    /// A range of a mounted file.
    File(Reading),
}

impl Body {
    /// Reads the next bytes; `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, SourceError> {
        match self {
            Self::Http(response) => response.chunk().await.map_err(network),
            Self::File(reading) => reading.chunk().await,
        }
    }
}
