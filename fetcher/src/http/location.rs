//! Where a server serves the bytes of one file.

use jiff::Timestamp;
use reqwest::header::HeaderMap;

use super::redact::SecretUrl;

/// An address that answers byte-range requests for one file, for a while.
#[derive(Clone, Debug)]
pub struct HttpLocation {
    /// The address; signed, so never shown whole.
    pub url: SecretUrl,
    /// Headers to send there: credentials only where this host is the one they were given for.
    pub headers: HeaderMap,
    /// When the address stops working, where that is known.
    pub expires: Option<Timestamp>,
}
