//! The URL that serves the bytes of one file.

use jiff::Timestamp;
use reqwest::header::HeaderMap;

use super::redact::SecretUrl;

/// A URL that serves byte ranges of one file, possibly for a limited time.
#[derive(Clone, Debug)]
pub struct HttpLocation {
    /// The URL. It may be signed, so it is always shown redacted.
    pub url: SecretUrl,
    /// Headers to send; credentials only if they belong to this host.
    pub headers: HeaderMap,
    /// When the URL expires, if known.
    pub expires: Option<Timestamp>,
}
