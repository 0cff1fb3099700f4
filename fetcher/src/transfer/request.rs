//! One request for a byte range: locate; then ask, follow redirects and judge the answer, or open the file that is
//! mounted here.

pub(crate) mod bandwidth;
mod body;
pub(crate) mod connection;
pub(crate) mod local;
pub(crate) mod pauses;

use std::error::Error;
use std::fmt::Write as _;
use std::ops::Range;
use std::time::Duration;

use jiff::Timestamp;
use modelcache_crds::report::FailureClass;
use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode};
use tokio::time::timeout;
use url::Url;

use self::body::Body;
use self::local::Reading;
use super::file::active::ActiveFile;
use super::schedule::OriginNumber;
use super::{Run, Trouble};
use crate::http::client::describe;
use crate::http::range_request::{Judged, RangeRequest};
use crate::http::redact::SecretUrl;
use crate::model::error::{FetchError, SourceError};
use crate::source::{LocalFile, Location};

/// An answer that may be read.
pub(super) struct Answer {
    pub(super) body: Body,
    /// What answered, for messages.
    pub(super) from: String,
    /// Bytes before the ones asked for.
    pub(super) skip: u64,
    /// Bytes of the range asked for.
    pub(super) length: u64,
    /// The body is the whole file and goes on beyond the range asked for.
    pub(super) runs_on: bool,
}

/// Asks an origin for a range of a file.
pub(super) async fn ask(
    run: &Run,
    number: OriginNumber,
    file: &ActiveFile,
    range: Range<u64>,
    sequential: bool,
) -> Result<Answer, Trouble> {
    let (Some(origin), Some(offer)) = (run.origins.get(number), file.offers.get(&number)) else {
        let error = format!("{} was asked of an origin that does not offer it", file.remote.path);
        return Err(Trouble::Failed(FetchError::Internal(error)));
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
        .map_err(Trouble::from)?;
    match &located.location {
        Location::File(local) => open(run, local, range).await,
        Location::Http(location) => {
            let request = RangeRequest::new(location, range, file.remote.size, sequential);
            let answered = ask_server(run, number, request).await;
            if let Err(Refusal { discard: true, .. }) = answered {
                offer.locations.discard(&located).await;
            }
            answered.map_err(|refusal| refusal.trouble)
        }
    }
}

/// Opens a file that is mounted here.
async fn open(run: &Run, local: &LocalFile, range: Range<u64>) -> Result<Answer, Trouble> {
    let from = local.path.display().to_string();
    let length = range.end - range.start;
    let stall = run.settings.stall_timeout;
    let opened = timeout(stall, Reading::open(&run.readers, local, range)).await;
    let reading = opened
        .map_err(|_| stalled(stall))
        .flatten()
        .map_err(|error| Trouble::from(named(&from, &error)))?;
    Ok(Answer {
        body: Body::File(reading),
        from,
        skip: 0,
        length,
        runs_on: false,
    })
}

/// Why a server did not answer as it was to.
struct Refusal {
    trouble: Trouble,
    /// Whether its address is not to be used again.
    discard: bool,
}

impl From<Trouble> for Refusal {
    fn from(trouble: Trouble) -> Self {
        let discard = matches!(trouble, Trouble::Relocate(_) | Trouble::Forbidden(_));
        Self { trouble, discard }
    }
}

/// Asks a server, and those it redirects to.
async fn ask_server(run: &Run, number: OriginNumber, mut request: RangeRequest) -> Result<Answer, Refusal> {
    loop {
        let url = request.url().clone();
        run.pauses.wait(&url).await;
        let response = send(run, &request).await?;
        let is_refusal = is_too_much(response.status());
        if is_refusal {
            run.origins.refused(number);
        }
        match request.judge(&response, Timestamp::now()) {
            Judged::Accept { skip, length } => {
                return Ok(Answer {
                    // What is accepted without a Content-Range is the whole file.
                    runs_on: !response.headers().contains_key(CONTENT_RANGE) && !request.is_to_the_end(),
                    body: Body::Http(response),
                    from: SecretUrl::new(url).to_string(),
                    skip,
                    length,
                });
            }
            Judged::Whole => return Err(Trouble::RangesIgnored.into()),
            Judged::Redirected => {}
            Judged::Astray(error) => {
                return Err(Refusal {
                    trouble: Trouble::Again(at(&url, &error)),
                    discard: true,
                });
            }
            Judged::Relocate(error) => {
                let trouble = if is_refusal {
                    Trouble::Forbidden
                } else {
                    Trouble::Relocate
                };
                return Err(trouble(at(&url, &error)).into());
            }
            Judged::Retry(error) => {
                let error = at(&url, &error);
                // What one connection is told to wait, all wait, rather than be told so in turn.
                if let Some(pause) = error.retry_after {
                    run.pauses.pause(&url, pause.min(run.settings.retry.retry_after_cap));
                }
                let trouble = if is_refusal { Trouble::Refused } else { Trouble::Again };
                return Err(trouble(error).into());
            }
        }
    }
}

/// What servers answer that are asked too much. Some say 403 then, as they do when an address has expired.
fn is_too_much(status: StatusCode) -> bool {
    matches!(status.as_u16(), 403 | 429 | 503)
}

async fn send(run: &Run, request: &RangeRequest) -> Result<Response, Trouble> {
    let url = request.url();
    match timeout(run.settings.stall_timeout, request.build(&run.client).send()).await {
        Err(_) => Err(Trouble::Again(at(url, &stalled(run.settings.stall_timeout)))),
        Ok(Err(error)) => Err(Trouble::Again(describe(&error, &SecretUrl::new(url.clone())))),
        Ok(Ok(response)) => Ok(response),
    }
}

/// The error of a connection that brings nothing.
pub(super) fn stalled(timeout: Duration) -> SourceError {
    SourceError::new(
        FailureClass::SourceUnreachable,
        format!("brought no byte for {} s", timeout.as_secs_f32()),
    )
}

/// The error of a connection that brings next to nothing.
pub(super) fn trickled(gained: u64, waited: Duration) -> SourceError {
    SourceError::new(
        FailureClass::SourceUnreachable,
        format!("brought only {gained} bytes in {:.1} s", waited.as_secs_f32()),
    )
}

/// The error of a connection that broke, with the reasons below it and without the address, which may be signed.
pub(super) fn network(error: reqwest::Error) -> SourceError {
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

/// An error in the protocol, which another try may not meet.
pub(super) fn against_protocol(message: String) -> SourceError {
    SourceError::new(FailureClass::SourceError, message)
}

/// Names the address an error is about, without its secrets.
fn at(url: &Url, error: &SourceError) -> SourceError {
    named(&SecretUrl::new(url.clone()).to_string(), error)
}

/// Names what an error is about.
pub(super) fn named(from: &str, error: &SourceError) -> SourceError {
    let message = format!("{from}: {}", error.message);
    SourceError::new(error.class, message).with_retry_after(error.retry_after)
}
