//! ModelScope: lists a branch or tag with the sha256 of each file, and locates files by following their redirects.
//!
//! The API cannot resolve a branch to a commit, so the revision is the digest of the listing.

mod address;
mod listing;
mod open;

use std::collections::VecDeque;

use async_trait::async_trait;
use modelcache_crds::report::FailureClass;
use reqwest::header::{AUTHORIZATION, CONTENT_RANGE, COOKIE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

pub use self::address::{InvalidModelScopeAddress, ModelScopeAddress};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::listing::read_anything;
use self::listing::{Entry, Envelope};
use super::api;
use super::api::{read_body, with_retries};
use super::expiry::expiry;
use super::hugging_face::Endpoint;
use super::{Listing, Location, Source};
use crate::http::location::HttpLocation;
use crate::http::redact::SecretUrl;
use crate::http::retry::{Policy, retry_after};
use crate::model::error::SourceError;
use crate::model::manifest::manifest_digest;
use crate::model::remote_file::RemoteFile;

/// ModelScope silently truncates a listing at this many entries; its folders are then listed one by one.
const TRUNCATED_AT_ENTRIES: usize = 3000;

/// Longest quote of a server's error message.
const MAX_QUOTE_CHARS: usize = 200;

/// Requests for one listing, as in ModelScope's own client; a listing with more does not end.
const MAX_LISTING_REQUESTS: usize = 5000;

/// Largest body with status 200 that is checked for an error.
const MAX_ERROR_BODY_BYTES: u64 = 64 << 10;

/// Files of a listing, which must fit into memory.
const MAX_LISTING_FILES: usize = 100_000;

/// A model at ModelScope.
#[derive(Clone, Debug)]
pub struct ModelScope {
    endpoint: Endpoint,
    address: ModelScopeAddress,
    headers: HeaderMap,
    client: reqwest::Client,
    retry: Policy,
}

impl ModelScope {
    /// A model at an endpoint. The client must not follow redirects.
    pub fn new(
        endpoint: Endpoint,
        address: ModelScopeAddress,
        token: Option<&SecretString>,
        client: reqwest::Client,
        retry: Policy,
    ) -> Result<Self, SourceError> {
        let headers = token.map(credentials).transpose()?.unwrap_or_default();
        Ok(Self {
            endpoint,
            address,
            headers,
            client,
            retry,
        })
    }

    fn url(&self, what: &str, query: &[(&str, &str)]) -> Url {
        let mut url = self.endpoint.url().clone();
        let prefix = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{prefix}/api/v1/models/{}/{what}", self.address.repo));
        url.query_pairs_mut().extend_pairs(query);
        url
    }

    async fn entries(&self, folder: Option<&str>, recursive: bool) -> Result<Vec<Entry>, SourceError> {
        let recursive = if recursive { "True" } else { "False" };
        let mut query = vec![("Revision", self.address.revision.as_str()), ("Recursive", recursive)];
        query.extend(folder.map(|folder| ("Root", folder)));
        let url = self.url("repo/files", &query);
        let mut response = api::send(&self.client, &Method::GET, &url, self.headers.clone(), None)
            .await?
            .response;
        let (status, headers) = (response.status(), response.headers().clone());
        let shown = SecretUrl::new(url);
        let body = read_body(&mut response, &shown).await?;
        let envelope = serde_json::from_slice::<Envelope>(&body);
        match envelope {
            Ok(Envelope { data: Some(data), .. }) if status.is_success() && data.files.is_some() => {
                Ok(data.files.unwrap_or_default())
            }
            Ok(envelope) if status.is_success() && envelope.is_success() => Ok(Vec::new()),
            Ok(envelope) => {
                let status = effective_status(status, envelope.code);
                Err(self.response_error(status, envelope.message, &headers))
            }
            Err(_) if !status.is_success() => Err(self.response_error(status.as_u16(), None, &headers)),
            Err(error) => Err(SourceError::new(
                FailureClass::SourceError,
                format!("{shown} returned no listing ({error}); check the endpoint, and proxies in between"),
            )),
        }
    }

    fn response_error(&self, status: u16, message: Option<String>, headers: &HeaderMap) -> SourceError {
        let address = &self.address;
        let (class, advice) = match status {
            404 => (
                FailureClass::RepositoryNotFound,
                "check owner, name and revision; a private model needs a token (MODELSCOPE_API_TOKEN, --token-file)",
            ),
            401 => (
                FailureClass::AuthenticationFailed,
                "give a valid token (MODELSCOPE_API_TOKEN, --token-file)",
            ),
            403 => (
                FailureClass::AccessDenied,
                "give a token of an account that may read it",
            ),
            429 => (FailureClass::RateLimited, "trying again later helps"),
            _ => (FailureClass::SourceError, "trying again may help"),
        };
        // Cut the quote, so that the advice after it is not cut off.
        let message = message.map(|message| message.chars().take(MAX_QUOTE_CHARS).collect::<String>());
        let message = message.map(|message| format!(" ({message})")).unwrap_or_default();
        SourceError::new(
            class,
            format!("{} returned {status} for {address}{message}: {advice}", self.endpoint),
        )
        .with_retry_after(retry_after(headers, jiff::Timestamp::now()))
    }

    /// Lists all entries, folder by folder if ModelScope truncates the listing.
    async fn tree(&self) -> Result<Vec<Entry>, SourceError> {
        let all = with_retries(self.retry, || self.entries(None, true)).await?;
        if all.len() < TRUNCATED_AT_ENTRIES {
            return Ok(all);
        }
        // The first request had access, so a later 403 is transient.
        let as_transient = |error: SourceError| match error.class {
            FailureClass::AccessDenied => SourceError::new(FailureClass::SourceError, error.message),
            _ => error,
        };
        let list = async |folder: Option<&str>, recursive| {
            with_retries(self.retry, || async {
                self.entries(folder, recursive).await.map_err(as_transient)
            })
            .await
        };
        let mut files = Vec::new();
        let mut folders = VecDeque::from([None::<String>]);
        let mut requests = 0;
        while let Some(folder) = folders.pop_front() {
            requests += 2;
            if requests > MAX_LISTING_REQUESTS || files.len() > MAX_LISTING_FILES {
                return Err(self.unbounded_listing());
            }
            if folder.is_some() {
                let below = list(folder.as_deref(), true).await?;
                if below.len() < TRUNCATED_AT_ENTRIES {
                    files.extend(below);
                    continue;
                }
            }
            let children = list(folder.as_deref(), false).await?;
            if children.len() >= TRUNCATED_AT_ENTRIES {
                return Err(SourceError::new(
                    FailureClass::InvalidListing,
                    format!(
                        "{} truncates the listing of a folder of {} at {TRUNCATED_AT_ENTRIES} entries",
                        self.endpoint, self.address
                    ),
                ));
            }
            let (inner, plain): (Vec<_>, Vec<_>) = children.into_iter().partition(Entry::is_folder);
            folders.extend(inner.into_iter().map(|entry| Some(entry.path)));
            files.extend(plain);
        }
        Ok(files)
    }

    fn unbounded_listing(&self) -> SourceError {
        SourceError::new(
            FailureClass::InvalidListing,
            format!(
                "the listing of {} does not end, or has more than {MAX_LISTING_FILES} files",
                self.address
            ),
        )
    }

    async fn locate_once(&self, file: &RemoteFile) -> Result<Location, SourceError> {
        let query = [
            ("Revision", self.address.revision.as_str()),
            ("FilePath", file.path.as_str()),
        ];
        let url = self.url("repo", &query);
        // ModelScope redirects GET and HEAD differently; a GET for one byte shows where GET leads.
        let range = (file.size > 0).then_some("bytes=0-0");
        let mut answer = api::send(&self.client, &Method::GET, &url, self.headers.clone(), range).await?;
        let status = answer.response.status();
        let shown = SecretUrl::new(answer.url.clone());
        let error_status = if status.is_success() {
            hidden_error_status(&mut answer.response, file, &shown).await?
        } else {
            (status != StatusCode::RANGE_NOT_SATISFIABLE).then_some(status.as_u16())
        };
        if let Some(status) = error_status {
            let error = self.response_error(status, Some(file.path.to_string()), answer.response.headers());
            // The model exists, since it was listed.
            let class = match error.class {
                FailureClass::RepositoryNotFound => FailureClass::FileNotFound,
                class => class,
            };
            return Err(SourceError { class, ..error });
        }
        Ok(Location::Http(HttpLocation {
            expires: expiry(&answer.url),
            url: shown,
            headers: answer.headers,
        }))
    }
}

/// The code of an error that ModelScope sends with status 200 instead of the file.
async fn hidden_error_status(
    response: &mut Response,
    file: &RemoteFile,
    url: &SecretUrl,
) -> Result<Option<u16>, SourceError> {
    let is_part = response.headers().contains_key(CONTENT_RANGE);
    let length = response.content_length().unwrap_or(u64::MAX);
    if is_part || length == file.size || length > MAX_ERROR_BODY_BYTES {
        return Ok(None);
    }
    let body = read_body(response, url).await?;
    let envelope = serde_json::from_slice::<Envelope>(&body).ok();
    let error = envelope.filter(|envelope| !envelope.is_success());
    Ok(error.map(|envelope| effective_status(response.status(), envelope.code)))
}

#[async_trait]
impl Source for ModelScope {
    async fn list(&self) -> Result<Listing, SourceError> {
        let entries = self.tree().await?;
        let mut files = Vec::new();
        for entry in &entries {
            files.extend(entry.remote_file(&self.address)?);
        }
        if files.len() > MAX_LISTING_FILES {
            return Err(self.unbounded_listing());
        }
        Ok(Listing {
            revision: manifest_digest(&files),
            files,
        })
    }

    async fn locate(&self, _revision: &str, file: &RemoteFile) -> Result<Location, SourceError> {
        with_retries(self.retry, || self.locate_once(file)).await
    }
}

/// The headers that carry a token. Some of ModelScope's servers read `Authorization`, others the cookie.
fn credentials(token: &SecretString) -> Result<HeaderMap, SourceError> {
    let token = token.expose_secret();
    let header = |text: String| {
        let mut value = HeaderValue::from_str(&text).map_err(|_| {
            SourceError::new(
                FailureClass::AuthenticationFailed,
                "the token contains invalid characters; check that the Secret or file contains only the token",
            )
        })?;
        value.set_sensitive(true);
        Ok::<_, SourceError>(value)
    };
    Ok(HeaderMap::from_iter([
        (AUTHORIZATION, header(format!("Bearer {token}"))?),
        (COOKIE, header(format!("m_session_id={token}"))?),
    ]))
}

/// The status of an error response: its code if the HTTP status is a success, else the HTTP status.
///
/// Codes of five digits and more are not HTTP statuses; they count as 500.
fn effective_status(status: StatusCode, code: Option<i64>) -> u16 {
    let code = code
        .and_then(|code| u16::try_from(code).ok())
        .filter(|code| (400..600).contains(code));
    match code {
        Some(code) if status.is_success() => code,
        _ if status.is_success() => 500,
        _ => status.as_u16(),
    }
}
