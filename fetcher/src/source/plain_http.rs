//! Files on any HTTP server, with digests from the address or from a list that `sha256sum` wrote.
//!
//! No credentials are sent other than those in the URL itself.

mod address;
mod open;
mod sums;

use std::fmt::Display;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use modelcache_crds::report::FailureClass;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap};
use reqwest::{Method, Response, StatusCode};
use sha2::{Digest, Sha256};
use url::Url;

use self::address::Target;
pub use self::address::{HttpAddress, InvalidHttpAddress};
use super::api;
use super::api::{read_body, with_retries};
use super::{Listing, Location, Source};
use crate::http::location::HttpLocation;
use crate::http::redact::SecretUrl;
use crate::http::retry::{Policy, retry_after};
use crate::model::digest::{ContentDigest, hex};
use crate::model::error::SourceError;
use crate::model::path::FilePath;
use crate::model::remote_file::RemoteFile;

/// Concurrent requests for file sizes; about as many as a browser sends.
const MAX_SIZE_REQUESTS: usize = 8;

/// The characters to encode in a path; separators are not.
const PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'_')
    .remove(b'.')
    .remove(b'-')
    .remove(b'~');

/// Files on one server.
#[derive(Clone, Debug)]
pub struct PlainHttp {
    address: HttpAddress,
    client: reqwest::Client,
    retry: Policy,
}

impl PlainHttp {
    /// Files at an address. The client must not follow redirects.
    #[must_use]
    pub fn new(address: HttpAddress, client: reqwest::Client, retry: Policy) -> Self {
        Self { address, client, retry }
    }

    async fn send(&self, method: Method, url: &Url, range: Option<&str>) -> Result<Response, SourceError> {
        let answer = api::send(&self.client, &method, url, HeaderMap::new(), range).await?;
        Ok(answer.response)
    }

    async fn sums(&self) -> Result<Vec<u8>, SourceError> {
        let url = self.address.url.expose();
        let mut response = self.send(Method::GET, url, None).await?;
        if !response.status().is_success() {
            return Err(response_error(response.status(), response.headers(), &self.address.url));
        }
        read_body(&mut response, &self.address.url).await
    }

    /// Requests a file's size in bytes: by HEAD, or by a GET for the first byte if HEAD fails or has no size.
    async fn size(&self, url: &Url) -> Result<u64, SourceError> {
        let shown = SecretUrl::new(url.clone());
        let head = self.send(Method::HEAD, url, None).await?;
        let length = number(head.headers().get(CONTENT_LENGTH).map(AsRef::as_ref));
        if head.status().is_success()
            && let Some(length) = length
        {
            return Ok(length);
        }
        // URLs signed for GET reject HEAD with 403, other servers with 404, 405 or 501.
        let get = self.send(Method::GET, url, Some("bytes=0-0")).await?;
        let (status, headers) = (get.status(), get.headers());
        let total = headers.get(CONTENT_RANGE).map(AsRef::as_ref).and_then(total);
        match (status, total) {
            // An empty file has no byte 0.
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(total)) => Ok(total),
            _ if !status.is_success() => Err(response_error(status, headers, &shown)),
            (_, Some(total)) => Ok(total),
            (StatusCode::OK, None) => {
                number(headers.get(CONTENT_LENGTH).map(AsRef::as_ref)).ok_or_else(|| no_size(&shown))
            }
            _ => Err(no_size(&shown)),
        }
    }

    fn url(&self, path: &FilePath) -> Result<Url, SourceError> {
        let url = self.address.url.expose();
        match &self.address.target {
            Target::File { .. } => Ok(url.clone()),
            Target::Sums => {
                let mut sibling = url
                    .join(&format!("./{}", utf8_percent_encode(path.as_str(), PATH)))
                    .map_err(|error| SourceError::new(FailureClass::InvalidListing, format!("{path}: {error}")))?;
                // A query that grants access to the list, such as a SAS token, also grants it to its files.
                sibling.set_query(url.query());
                Ok(sibling)
            }
        }
    }
}

#[async_trait]
impl Source for PlainHttp {
    async fn list(&self) -> Result<Listing, SourceError> {
        let (revision, named) = match &self.address.target {
            Target::File { path, digest } => (digest.to_string(), vec![(path.clone(), *digest)]),
            Target::Sums => {
                let list = with_retries(self.retry, || self.sums()).await?;
                let revision = format!("sha256:{}", hex(&Sha256::digest(&list)));
                (revision, read_sums(&list, &self.address.url)?)
            }
        };
        let sized = stream::iter(named).map(|(path, digest)| async move {
            let url = self.url(&path)?;
            let size = with_retries(self.retry, || self.size(&url)).await?;
            Ok::<_, SourceError>(RemoteFile { path, size, digest })
        });
        let files = sized.buffered(MAX_SIZE_REQUESTS).try_collect().await?;
        Ok(Listing { revision, files })
    }

    async fn locate(&self, _revision: &str, file: &RemoteFile) -> Result<Location, SourceError> {
        // The engine follows redirects itself, and locates the file again when their target has expired.
        Ok(Location::Http(HttpLocation {
            url: SecretUrl::new(self.url(&file.path)?),
            headers: HeaderMap::new(),
            expires: None,
        }))
    }
}

/// Parses a list of digests; `from` is its place in messages.
pub(crate) fn read_sums(list: &[u8], from: &dyn Display) -> Result<Vec<(FilePath, ContentDigest)>, SourceError> {
    let invalid = |why: String| SourceError::new(FailureClass::InvalidListing, format!("{from}: {why}"));
    let text = std::str::from_utf8(list).map_err(|error| invalid(format!("the list is not UTF-8: {error}")))?;
    let files = sums::parse(text).map_err(|error| invalid(error.to_string()))?;
    if files.is_empty() {
        return Err(invalid("the list has no files".to_owned()));
    }
    Ok(files)
}

fn response_error(status: StatusCode, headers: &HeaderMap, url: &SecretUrl) -> SourceError {
    let (class, advice) = match status.as_u16() {
        404 | 410 => (FailureClass::FileNotFound, "check the URL"),
        401 => (FailureClass::AuthenticationFailed, "give a signed URL"),
        403 => (
            FailureClass::AccessDenied,
            "the file is not public; give a signed URL that has not expired",
        ),
        429 => (FailureClass::RateLimited, "trying again later helps"),
        _ => (FailureClass::SourceError, "the server failed; trying again may help"),
    };
    SourceError::new(class, format!("{url} returned {status}: {advice}"))
        .with_retry_after(retry_after(headers, jiff::Timestamp::now()))
}

fn no_size(url: &SecretUrl) -> SourceError {
    SourceError::new(
        FailureClass::SourceError,
        format!("{url} sends no size (neither Content-Length nor Content-Range); use another server"),
    )
}

fn number(text: Option<&[u8]>) -> Option<u64> {
    std::str::from_utf8(text?).ok()?.trim().parse().ok()
}

/// The total size in `bytes 0-0/1234` and `bytes */1234`.
fn total(content_range: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(content_range).ok()?;
    text.rsplit_once('/')?.1.trim().parse().ok()
}
