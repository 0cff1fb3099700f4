//! API requests, as all sources send them: retries, redirects, bounded response bodies.

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

/// Longest body of an API response. A listing page of a thousand entries is below 1 MiB.
const MAX_API_BODY_MIB: usize = 16;

/// Retry policy of API requests: five attempts, as `huggingface_hub`.
///
/// A longer pause than a minute ends the run; the operator then waits before it starts the next Job.
pub const API_RETRY: Policy = Policy {
    base: Duration::from_millis(500),
    cap: Duration::from_secs(8),
    retry_after_cap: Duration::from_mins(1),
    attempts: 5,
};

/// Repeats an attempt until it succeeds, fails permanently, or the policy gives up.
pub(super) async fn with_retries<T, F>(policy: Policy, mut attempt: impl FnMut() -> F) -> Result<T, SourceError>
where
    F: Future<Output = Result<T, SourceError>>,
{
    let mut backoff = Backoff::new(policy, rand::random());
    loop {
        let error = match attempt().await {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        let is_permanent = error.class.is_permanent() || error.class == FailureClass::Internal;
        if is_permanent || policy.is_too_long(error.retry_after) {
            return Err(error);
        }
        let Some(pause) = backoff.failed(error.retry_after) else {
            return Err(error);
        };
        tracing::warn!(error = %error, class = %error.class, pause = ?pause, "request to the source failed; trying again");
        tokio::time::sleep(pause).await;
    }
}

/// A response and the URL that it came from.
pub(super) struct ApiResponse {
    pub(super) response: Response,
    /// The last URL, after all redirects.
    pub(super) url: Url,
    /// The headers that were sent to it, and may be sent again.
    pub(super) headers: HeaderMap,
}

/// Sends a request and follows redirects. The headers go to the origin of `url` only.
pub(super) async fn send(
    client: &Client,
    method: &Method,
    url: &Url,
    headers: HeaderMap,
    range: Option<&str>,
) -> Result<ApiResponse, SourceError> {
    let (mut url, mut headers) = (url.clone(), headers);
    for _ in 0..=MAX_REDIRECTS {
        let shown = SecretUrl::new(url.clone());
        let mut request = client
            .request(method.clone(), url.clone())
            .headers(headers.clone())
            // With compression, Content-Length and ETag would be those of the compressed body.
            .header(ACCEPT_ENCODING, "identity");
        if let Some(range) = range {
            request = request.header(RANGE, range);
        }
        let response = request.send().await.map_err(|error| describe(&error, &shown))?;
        if response.status() == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
            return Err(proxy_auth_required());
        }
        if !is_redirect(response.status()) {
            return Ok(ApiResponse { response, url, headers });
        }
        (url, headers) = follow(&url, response.headers(), headers)
            .map_err(|error| SourceError::new(error.class, format!("{shown} {}", error.message)))?;
    }
    Err(SourceError::new(
        FailureClass::SourceError,
        format!(
            "more than {MAX_REDIRECTS} redirects, the last to {}; the server is broken",
            SecretUrl::new(url)
        ),
    ))
}

/// Reads the body of an API response; fails if it exceeds [`MAX_API_BODY_MIB`].
pub(super) async fn read_body(response: &mut Response, url: &SecretUrl) -> Result<Vec<u8>, SourceError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| describe(&error, url))? {
        if body.len() + chunk.len() > MAX_API_BODY_MIB << 20 {
            return Err(SourceError::new(
                FailureClass::SourceError,
                format!("{url}: response exceeds {MAX_API_BODY_MIB} MiB; not parsed as a listing"),
            ));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// Whether a status is a redirect. Not all of 3xx are: 304 has no `Location`.
pub(super) fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

/// Whether a status says that HEAD is not supported, as with some mirrors and signed URLs.
pub(super) fn is_head_unsupported(status: StatusCode) -> bool {
    matches!(status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED)
}
