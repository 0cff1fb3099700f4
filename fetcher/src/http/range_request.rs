//! A request for a byte range of a file, followed through redirects.
//!
//! It only builds requests and judges responses. The caller sends them, with its own timeouts and pauses.

use std::ops::Range;

use jiff::Timestamp;
use modelcache_crds::report::FailureClass;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, COOKIE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Client, RequestBuilder, Response};
use url::Url;

use super::location::HttpLocation;
use super::range::{Decision, Requested, decide};
use super::redirect::{MAX_REDIRECTS, follow};
use crate::model::error::SourceError;

/// The request to send next.
pub(crate) struct RangeRequest {
    url: Url,
    headers: HeaderMap,
    requested: Requested,
    /// Redirects followed so far.
    redirects: usize,
}

impl RangeRequest {
    /// A request for a range of a file of `size` bytes. `sequential`: read in one stream from a server that ignores
    /// ranges.
    pub(crate) fn new(location: &HttpLocation, range: Range<u64>, size: u64, sequential: bool) -> Self {
        Self {
            url: location.url.expose().clone(),
            headers: location.headers.clone(),
            requested: Requested {
                range,
                size,
                sequential,
                credentials: false,
            },
            redirects: 0,
        }
    }

    /// The URL of the next request.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// Whether the range includes the last byte of the file.
    pub(crate) fn is_to_the_end(&self) -> bool {
        self.requested.range.end == self.requested.size
    }

    /// Builds the request to send.
    pub(crate) fn build(&self, client: &Client) -> RequestBuilder {
        let Range { start, end } = self.requested.range;
        client
            .get(self.url.clone())
            .headers(self.headers.clone())
            .header(RANGE, format!("bytes={start}-{}", end - 1))
            // Digest, size and range are those of the uncompressed bytes.
            .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
    }

    /// Decides what to do after a response; moves on to the next URL if it is a redirect. Fails where it redirects to a
    /// forbidden URL, or too often.
    pub(crate) fn judge(&mut self, response: &Response, now: Timestamp) -> Result<Decision, SourceError> {
        self.requested.credentials = self.headers.contains_key(AUTHORIZATION) || self.headers.contains_key(COOKIE);
        let decision = decide(response.status(), response.headers(), &self.requested, now);
        if matches!(decision, Decision::Redirect) {
            self.follow(response.headers())?;
        }
        Ok(decision)
    }

    fn follow(&mut self, response: &HeaderMap) -> Result<(), SourceError> {
        if self.redirects == MAX_REDIRECTS {
            let error = format!("redirects more than {MAX_REDIRECTS} times");
            return Err(SourceError::new(FailureClass::SourceError, error));
        }
        self.redirects += 1;
        (self.url, self.headers) = follow(&self.url, response, std::mem::take(&mut self.headers))?;
        Ok(())
    }
}
