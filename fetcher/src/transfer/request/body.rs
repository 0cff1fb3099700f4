//! The bytes of an answer, wherever they come from.

use bytes::Bytes;
use reqwest::Response;

use super::error::network;
use super::local::Reading;
use crate::model::error::SourceError;

/// A stream of bytes.
pub(crate) enum Body {
    /// Of a server.
    Http(Response),
    /// Of a file that is mounted here.
    File(Reading),
}

impl Body {
    /// The next bytes; `None` at the end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, SourceError> {
        match self {
            Self::Http(response) => response.chunk().await.map_err(network),
            Self::File(reading) => reading.chunk().await,
        }
    }
}
