//! A request for a byte range of a file, and where redirects lead it. Sends nothing itself: who sends it has its own
//! patience, and pauses.

use std::ops::Range;

use jiff::Timestamp;
use modelcache_crds::report::FailureClass;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, COOKIE, HeaderMap, HeaderValue, RANGE};
use reqwest::{Client, RequestBuilder, Response};
use url::Url;

use super::location::HttpLocation;
use super::range::{Asked, Decision, decide};
use super::redirect::{MAX_HOPS, follow};
use crate::model::error::SourceError;

/// What is to be asked next.
pub(crate) struct RangeRequest {
    url: Url,
    headers: HeaderMap,
    asked: Asked,
    hops: usize,
}

/// What follows from an answer.
pub(crate) enum Judged {
    /// Read the body: throw `skip` bytes away, then `length` bytes are the first ones asked for.
    Accept { skip: u64, length: u64 },
    /// The server ignores ranges, and the body is the whole file.
    Whole,
    /// It redirects: ask again.
    Redirected,
    /// It redirects to where nobody is to go, or without end.
    Astray(SourceError),
    /// This address does not serve the file (any more): locate it anew.
    Relocate(SourceError),
    /// Ask again, later.
    Retry(SourceError),
}

impl RangeRequest {
    /// For some bytes of a file of a size; perhaps as one stream, from a server that ignores ranges.
    pub(crate) fn new(location: &HttpLocation, range: Range<u64>, size: u64, sequential: bool) -> Self {
        Self {
            url: location.url.expose().clone(),
            headers: location.headers.clone(),
            asked: Asked {
                range,
                size,
                sequential,
                credentials: false,
            },
            hops: 0,
        }
    }

    /// Where it goes next.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// Whether it asks for the last byte of the file.
    pub(crate) fn is_to_the_end(&self) -> bool {
        self.asked.range.end == self.asked.size
    }

    /// The request to send.
    pub(crate) fn build(&self, client: &Client) -> RequestBuilder {
        let Range { start, end } = self.asked.range;
        client
            .get(self.url.clone())
            .headers(self.headers.clone())
            .header(RANGE, format!("bytes={start}-{}", end - 1))
            // Compressed bytes are not the ones that were hashed and counted.
            .header(ACCEPT_ENCODING, HeaderValue::from_static("identity"))
    }

    /// What follows from the answer to it.
    pub(crate) fn judge(&mut self, response: &Response, now: Timestamp) -> Judged {
        self.asked.credentials = self.headers.contains_key(AUTHORIZATION) || self.headers.contains_key(COOKIE);
        match decide(response.status(), response.headers(), &self.asked, now) {
            Decision::Accept { skip, length } => Judged::Accept { skip, length },
            Decision::Whole => Judged::Whole,
            Decision::Relocate(error) => Judged::Relocate(error),
            Decision::Retry(error) => Judged::Retry(error),
            Decision::Redirect => self.redirect(response.headers()),
        }
    }

    fn redirect(&mut self, answer: &HeaderMap) -> Judged {
        if self.hops == MAX_HOPS {
            let error = format!("redirects more than {MAX_HOPS} times");
            return Judged::Astray(SourceError::new(FailureClass::SourceError, error));
        }
        self.hops += 1;
        match follow(&self.url, answer, std::mem::take(&mut self.headers)) {
            Ok(next) => {
                (self.url, self.headers) = next;
                Judged::Redirected
            }
            Err(error) => Judged::Astray(error),
        }
    }
}
