//! Files on any HTTP server, proven against digests that are given: one file and its digest in the address, or a list
//! as `sha256sum` writes it. No credentials are sent but what the address itself carries.

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

use self::address::Named;
pub use self::address::{HttpAddress, InvalidHttpAddress};
use super::api;
use super::api::{persist, read_body};
use super::{Listing, Location, Source};
use crate::http::location::HttpLocation;
use crate::http::redact::SecretUrl;
use crate::http::retry::{Policy, retry_after};
use crate::model::digest::{ContentDigest, hex};
use crate::model::error::SourceError;
use crate::model::path::FilePath;
use crate::model::remote_file::RemoteFile;

/// Sizes are asked for file by file; as many at once as a browser would.
const SIZES_AT_ONCE: usize = 8;

/// What stays as it is in a path; separators too.
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

    async fn ask(&self, method: Method, url: &Url, range: Option<&str>) -> Result<Response, SourceError> {
        let answered = api::ask(&self.client, &method, url, HeaderMap::new(), range).await?;
        Ok(answered.response)
    }

    async fn sums(&self) -> Result<Vec<u8>, SourceError> {
        let url = self.address.url.expose();
        let mut response = self.ask(Method::GET, url, None).await?;
        if !response.status().is_success() {
            return Err(refusal(response.status(), response.headers(), &self.address.url));
        }
        read_body(&mut response, &self.address.url).await
    }

    /// A file's size: by HEAD, or, where only GET is known or HEAD says none, by the first byte.
    async fn size(&self, url: &Url) -> Result<u64, SourceError> {
        let shown = SecretUrl::new(url.clone());
        let head = self.ask(Method::HEAD, url, None).await?;
        let length = number(head.headers().get(CONTENT_LENGTH).map(AsRef::as_ref));
        if head.status().is_success()
            && let Some(length) = length
        {
            return Ok(length);
        }
        // Servers that sign addresses refuse another method with 403, others with 404, 405 or 501.
        let get = self.ask(Method::GET, url, Some("bytes=0-0")).await?;
        let (status, headers) = (get.status(), get.headers());
        let total = headers.get(CONTENT_RANGE).map(AsRef::as_ref).and_then(total);
        match (status, total) {
            // No byte 0: the file is empty.
            (StatusCode::RANGE_NOT_SATISFIABLE, Some(total)) => Ok(total),
            _ if !status.is_success() => Err(refusal(status, headers, &shown)),
            (_, Some(total)) => Ok(total),
            (StatusCode::OK, None) => {
                number(headers.get(CONTENT_LENGTH).map(AsRef::as_ref)).ok_or_else(|| no_size(&shown))
            }
            _ => Err(no_size(&shown)),
        }
    }

    fn url(&self, path: &FilePath) -> Result<Url, SourceError> {
        let url = self.address.url.expose();
        match &self.address.names {
            Named::File { .. } => Ok(url.clone()),
            Named::Sums => {
                let mut beside = url
                    .join(&format!("./{}", utf8_percent_encode(path.as_str(), PATH)))
                    .map_err(|error| SourceError::new(FailureClass::InvalidListing, format!("{path}: {error}")))?;
                // A query that opens the list, a SAS token for one, opens what is beside it.
                beside.set_query(url.query());
                Ok(beside)
            }
        }
    }
}

#[async_trait]
impl Source for PlainHttp {
    async fn list(&self) -> Result<Listing, SourceError> {
        let (revision, named) = match &self.address.names {
            Named::File { path, digest } => (digest.to_string(), vec![(path.clone(), *digest)]),
            Named::Sums => {
                let list = persist(self.retry, || self.sums()).await?;
                let revision = format!("sha256:{}", hex(&Sha256::digest(&list)));
                (revision, read_sums(&list, &self.address.url)?)
            }
        };
        let sized = stream::iter(named).map(|(path, digest)| async move {
            let url = self.url(&path)?;
            let size = persist(self.retry, || self.size(&url)).await?;
            Ok::<_, SourceError>(RemoteFile { path, size, digest })
        });
        let files = sized.buffered(SIZES_AT_ONCE).try_collect().await?;
        Ok(Listing { revision, files })
    }

    async fn locate(&self, _revision: &str, file: &RemoteFile) -> Result<Location, SourceError> {
        // The engine follows redirects itself, and comes back here when what it was led to has expired.
        Ok(Location::Http(HttpLocation {
            url: SecretUrl::new(self.url(&file.path)?),
            headers: HeaderMap::new(),
            expires: None,
        }))
    }
}

/// The files of a list; `from` says where it is.
pub(crate) fn read_sums(list: &[u8], from: &dyn Display) -> Result<Vec<(FilePath, ContentDigest)>, SourceError> {
    let invalid = |why: String| SourceError::new(FailureClass::InvalidListing, format!("{from}: {why}"));
    let text = std::str::from_utf8(list).map_err(|error| invalid(format!("the list is no UTF-8 text: {error}")))?;
    let files = sums::parse(text).map_err(|error| invalid(error.to_string()))?;
    if files.is_empty() {
        return Err(invalid("the list names no file".to_owned()));
    }
    Ok(files)
}

fn refusal(status: StatusCode, headers: &HeaderMap, url: &SecretUrl) -> SourceError {
    let (class, advice) = match status.as_u16() {
        404 | 410 => (FailureClass::FileNotFound, "check the address"),
        401 => (
            FailureClass::AuthenticationFailed,
            "give an address that carries its own signature",
        ),
        403 => (
            FailureClass::AccessDenied,
            "it is not open to everyone; give a signed address that has not expired",
        ),
        429 => (FailureClass::RateLimited, "trying again later helps"),
        _ => (FailureClass::SourceError, "the server failed; trying again may help"),
    };
    SourceError::new(class, format!("{url} answered {status}: {advice}"))
        .with_retry_after(retry_after(headers, jiff::Timestamp::now()))
}

fn no_size(url: &SecretUrl) -> SourceError {
    SourceError::new(
        FailureClass::SourceError,
        format!("{url} does not say how long it is (no Content-Length, no Content-Range); use another server"),
    )
}

fn number(text: Option<&[u8]>) -> Option<u64> {
    std::str::from_utf8(text?).ok()?.trim().parse().ok()
}

/// The length in `bytes 0-0/1234` and `bytes */1234`.
fn total(content_range: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(content_range).ok()?;
    text.rsplit_once('/')?.1.trim().parse().ok()
}
