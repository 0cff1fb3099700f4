//! What the APIs of all sources have in common: trying again, bounded answers, redirects that are none of ours.

use std::time::Duration;

use modelcache_crds::report::FailureClass;
use reqwest::header::{ACCEPT_ENCODING, HeaderMap, RANGE};
use reqwest::{Client, Method, Response, StatusCode};
use url::Url;

use crate::http::client::{describe, proxy_auth_required};
use crate::http::redact::SecretUrl;
use crate::http::redirect::{MAX_REDIRECTS, follow};
use crate::http::retry::{Backoff, Policy};
use crate::model::error::SourceError;

/// A page of a thousand entries is below one MiB.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// Five tries, as the hub's own client; a pause of more than a minute is left to whoever started us.
pub const API_RETRY: Policy = Policy {
    base: Duration::from_millis(500),
    cap: Duration::from_secs(8),
    retry_after_cap: Duration::from_mins(1),
    attempts: 5,
};

/// Tries until it succeeds, fails for good, or the policy gives up.
pub(super) async fn persist<T, F>(policy: Policy, mut attempt: impl FnMut() -> F) -> Result<T, SourceError>
where
    F: Future<Output = Result<T, SourceError>>,
{
    let mut backoff = Backoff::new(policy, rand::random());
    loop {
        let error = match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let is_hopeless = error.class.is_permanent() || error.class == FailureClass::Internal;
        let is_too_long = policy.is_too_long(error.retry_after);
        if is_hopeless || is_too_long {
            return Err(error);
        }
        let Some(pause) = backoff.failed(error.retry_after) else {
            return Err(error);
        };
        tracing::warn!(error = %error, class = %error.class, pause = ?pause, "the source failed; trying again");
        tokio::time::sleep(pause).await;
    }
}

/// An answer and who gave it.
pub(super) struct Answered {
    pub(super) response: Response,
    /// The address that answered, after all redirects.
    pub(super) url: Url,
    /// What may be sent there.
    pub(super) headers: HeaderMap,
}

/// Asks and follows redirects. The headers go to the host they were meant for, and to no other.
pub(super) async fn ask(
    client: &Client,
    method: &Method,
    url: &Url,
    headers: HeaderMap,
    range: Option<&str>,
) -> Result<Answered, SourceError> {
    let (mut url, mut headers) = (url.clone(), headers);
    for _ in 0..=MAX_REDIRECTS {
        let shown = SecretUrl::new(url.clone());
        let mut request = client
            .request(method.clone(), url.clone())
            .headers(headers.clone())
            // With an encoding, lengths and tags would be those of the encoded body.
            .header(ACCEPT_ENCODING, "identity");
        if let Some(range) = range {
            request = request.header(RANGE, range);
        }
        let response = request.send().await.map_err(|error| describe(&error, &shown))?;
        if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            return Err(proxy_auth_required());
        }
        if !is_redirect(response.status()) {
            return Ok(Answered { response, url, headers });
        }
        (url, headers) = follow(&url, response.headers(), headers)
            .map_err(|error| SourceError::new(error.class, format!("{shown} {}", error.message)))?;
    }
    Err(SourceError::new(
        FailureClass::SourceError,
        format!(
            "{} and others redirect more than {MAX_REDIRECTS} times; the server is broken",
            SecretUrl::new(url)
        ),
    ))
}

/// The body of an answer of the API, which is no model.
pub(super) async fn read_body(response: &mut Response, url: &SecretUrl) -> Result<Vec<u8>, SourceError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| describe(&error, url))? {
        if body.len() + chunk.len() > MAX_ANSWER_BYTES {
            return Err(SourceError::new(
                FailureClass::SourceError,
                format!(
                    "{url} answered more than {} MiB; that is no listing",
                    MAX_ANSWER_BYTES >> 20
                ),
            ));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Not all of 3xx: `304` redirects nowhere.
pub(super) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Some mirrors and signed addresses know GET alone.
pub(super) fn is_head_unknown(status: StatusCode) -> bool {
    matches!(status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED)
}
