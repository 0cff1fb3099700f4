//! One request for a byte range: locates the file, then sends the request and follows redirects, or opens a mounted file.

pub(crate) mod bandwidth;
mod body;
pub(crate) mod connection;
pub(crate) mod context;
mod error;
mod gathering;
pub(crate) mod local;
mod pace;
mod patience;
pub(crate) mod pauses;

use std::ops::Range;

use jiff::Timestamp;
use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode};
use tokio::time::timeout;
use url::Url;

use self::body::Body;
use self::context::Requests;
use self::error::{RequestError, named, stalled};
use self::local::Reading;
use super::file::active::ActiveFile;
use super::schedule::OriginNumber;
use crate::http::client::describe;
use crate::http::range::Decision;
use crate::http::range_request::RangeRequest;
use crate::http::redact::SecretUrl;
use crate::model::error::{FetchError, SourceError};
use crate::source::{LocalFile, Location};

/// A response whose body can be read.
pub(super) struct Answer {
    pub(super) body: Body,
    /// The server or file, for messages.
    pub(super) from: String,
    /// Bytes before the requested range.
    pub(super) skip: u64,
    /// Bytes of the requested range.
    pub(super) length: u64,
    /// The body is the whole file and continues beyond the requested range.
    pub(super) runs_on: bool,
}

/// Requests a range of a file from an origin.
pub(super) async fn ask(
    requests: &Requests,
    number: OriginNumber,
    file: &ActiveFile,
    range: Range<u64>,
    sequential: bool,
) -> Result<Answer, RequestError> {
    let (Some(origin), Some(offer)) = (requests.origins.get(number), file.offers.get(&number)) else {
        let error = format!("{} was asked of an origin that does not offer it", file.remote.path);
        return Err(RequestError::Local(FetchError::Internal(error)));
    };
    let located = offer
        .locations
        .get(
            origin.source.as_ref(),
            &origin.revision,
            &offer.remote,
            Timestamp::now(),
        )
        .await
        .map_err(RequestError::from)?;
    match &located.location {
        Location::File(local) => open(requests, local, range).await,
        Location::Http(location) => {
            let request = RangeRequest::new(location, range, file.remote.size, sequential);
            let answered = ask_server(requests, number, request).await;
            if answered.as_ref().is_err_and(RequestError::discards_location) {
                offer.locations.discard(&located).await;
            }
            answered
        }
    }
}

/// Opens a mounted file.
async fn open(requests: &Requests, local: &LocalFile, range: Range<u64>) -> Result<Answer, RequestError> {
    let from = local.path.display().to_string();
    let length = range.end - range.start;
    let stall = requests.settings.stall_timeout;
    let opened = timeout(stall, Reading::open(&requests.readers, local, range)).await;
    let reading = opened
        .map_err(|_| stalled(stall))
        .flatten()
        .map_err(|error| RequestError::from(named(&from, &error)))?;
    Ok(Answer {
        body: Body::File(reading),
        from,
        skip: 0,
        length,
        runs_on: false,
    })
}

/// Sends a request to a server, and to those it redirects to.
async fn ask_server(
    requests: &Requests,
    number: OriginNumber,
    mut request: RangeRequest,
) -> Result<Answer, RequestError> {
    loop {
        let url = request.url().clone();
        requests.pauses.wait(&url).await;
        let response = send(requests, &request).await?;
        let is_refusal = is_too_much(response.status());
        if is_refusal {
            requests.origins.refused(number);
        }
        let decision = request
            .judge(&response, Timestamp::now())
            .map_err(|error| RequestError::Transient {
                error: at(&url, &error),
                is_astray: true,
            })?;
        match decision {
            Decision::Accept { skip, length } => {
                return Ok(Answer {
                    // A body without Content-Range is the whole file.
                    runs_on: !response.headers().contains_key(CONTENT_RANGE) && !request.is_to_the_end(),
                    body: Body::Http(response),
                    from: SecretUrl::new(url).to_string(),
                    skip,
                    length,
                });
            }
            Decision::Whole => return Err(RequestError::RangesIgnored),
            Decision::Redirect => {}
            Decision::Relocate(error) => {
                return Err(RequestError::LocationLost {
                    error: at(&url, &error),
                    is_refusal,
                });
            }
            Decision::Retry(error) => {
                let error = at(&url, &error);
                // The pause holds for all connections: each of them would be refused as well.
                if let Some(pause) = error.retry_after {
                    requests
                        .pauses
                        .pause(&url, pause.min(requests.settings.retry.retry_after_cap));
                }
                return Err(if is_refusal {
                    RequestError::Refused(error)
                } else {
                    RequestError::transient(error)
                });
            }
        }
    }
}

/// Status codes of servers that refuse further load. Some return 403, as they do for an expired URL.
fn is_too_much(status: StatusCode) -> bool {
    matches!(status.as_u16(), 403 | 429 | 503)
}

async fn send(requests: &Requests, request: &RangeRequest) -> Result<Response, RequestError> {
    let url = request.url();
    match timeout(requests.settings.stall_timeout, request.build(&requests.client).send()).await {
        Err(_) => Err(RequestError::transient(at(
            url,
            &stalled(requests.settings.stall_timeout),
        ))),
        Ok(Err(error)) => Err(RequestError::transient(describe(&error, &SecretUrl::new(url.clone())))),
        Ok(Ok(response)) => Ok(response),
    }
}

/// Adds the redacted URL to an error.
fn at(url: &Url, error: &SourceError) -> SourceError {
    named(&SecretUrl::new(url.clone()).to_string(), error)
}
