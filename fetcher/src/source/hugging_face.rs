//! The Hugging Face Hub, and servers with the same API.
//!
//! It resolves a revision to a commit, lists the commit, and locates each file by following redirects on the hub's own
//! host. The token is sent to that host only.

mod address;
mod answers;
mod listing;
mod locate;
pub(crate) mod open;
mod token;

use std::collections::HashSet;

use async_trait::async_trait;
use jiff::Timestamp;
use modelcache_crds::report::FailureClass;
use reqwest::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Response, StatusCode};
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use url::Url;

pub use self::address::{Endpoint, InvalidAddress, InvalidEndpoint, ModelAddress, RepoId, Revision};
use self::answers::RequestContext;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::listing::read_anything;
use self::locate::RedirectTarget;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::locate::read_anything as read_any_location;
pub use self::token::{find_modelscope_token, find_token};
use super::api::{is_head_unsupported, is_redirect, read_body, with_retries};
use super::expiry::expiry;
use super::{Listing, Location, Source};
use crate::http::client::describe;
use crate::http::location::HttpLocation;
use crate::http::redact::SecretUrl;
use crate::http::retry::Policy;
use crate::model::error::SourceError;
use crate::model::remote_file::RemoteFile;

/// Requests for one redirected URL, as in `huggingface_hub`; more are a loop.
const MAX_HUB_REDIRECTS: usize = 20;

/// Pages of a listing. A page has up to a thousand files, so a listing with more pages does not end.
const MAX_LISTING_PAGES: usize = 10_000;

/// Files of a listing, which must fit into memory. The hub recommends far fewer per repository.
const MAX_LISTING_FILES: usize = 100_000;

/// A model at a hub.
#[derive(Clone, Debug)]
pub struct HuggingFace {
    endpoint: Endpoint,
    address: ModelAddress,
    authorization: Option<HeaderValue>,
    client: reqwest::Client,
    retry: Policy,
}

impl HuggingFace {
    /// A model at an endpoint. The client must not follow redirects.
    pub fn new(
        endpoint: Endpoint,
        address: ModelAddress,
        token: Option<&SecretString>,
        client: reqwest::Client,
        retry: Policy,
    ) -> Result<Self, SourceError> {
        Ok(Self {
            endpoint,
            address,
            authorization: token.map(token::authorization).transpose()?,
            client,
            retry,
        })
    }

    /// Sends a request to the endpoint's own host, with the token.
    async fn send(&self, method: Method, url: &Url) -> Result<Response, SourceError> {
        let mut request = self.client.request(method, url.clone()).headers(self.headers());
        // With compression, Content-Length and ETag would be those of the compressed body.
        request = request.header(ACCEPT_ENCODING, "identity");
        request
            .send()
            .await
            .map_err(|error| describe(&error, &SecretUrl::new(url.clone())))
    }

    /// The headers for the endpoint's own host, and for no other.
    fn headers(&self) -> HeaderMap {
        self.authorization
            .iter()
            .map(|value| (AUTHORIZATION, value.clone()))
            .collect()
    }

    /// Requests a JSON document of the API.
    async fn json<T: DeserializeOwned>(&self, url: &Url) -> Result<(HeaderMap, T), SourceError> {
        let mut url = url.clone();
        for _ in 0..MAX_HUB_REDIRECTS {
            let mut response = self.send(Method::GET, &url).await?;
            let (status, headers) = (response.status(), response.headers().clone());
            if is_redirect(status) {
                // The hub redirects renamed repositories on its own host.
                match locate::redirect_target(&url, self.endpoint.url().path(), &headers)? {
                    RedirectTarget::SameOrigin(next) => url = next,
                    RedirectTarget::OtherOrigin(next) => return Err(self.foreign_api_redirect(&next)),
                }
                continue;
            }
            let shown = SecretUrl::new(url);
            let body = read_body(&mut response, &shown).await?;
            if !status.is_success() {
                return Err(self.response_error(status, &headers, &body, self.address.revision.as_str(), None, &shown));
            }
            let value = parse_json(&headers, &body, &shown)?;
            return Ok((headers, value));
        }
        Err(redirect_loop(&url))
    }

    fn foreign_api_redirect(&self, next: &Url) -> SourceError {
        let host = next.origin().ascii_serialization();
        SourceError::new(
            FailureClass::SourceError,
            format!(
                "{} is a broken mirror: it redirects its API to {host}; set the endpoint (source.huggingFace.endpoint, \
                 HF_ENDPOINT) to that host, or to another mirror",
                self.endpoint
            ),
        )
    }

    fn response_error(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        revision: &str,
        file: Option<&RemoteFile>,
        url: &SecretUrl,
    ) -> SourceError {
        let context = RequestContext {
            endpoint: &self.endpoint,
            repo: &self.address.repo,
            revision,
            file: file.map(|file| &file.path),
            with_token: self.authorization.is_some(),
            url,
        };
        answers::response_error(status, headers, body, &context, Timestamp::now())
    }

    async fn tree(&self, commit: &str) -> Result<Vec<RemoteFile>, SourceError> {
        let page = self.endpoint.page(&self.address.repo);
        let mut files = Vec::new();
        let mut seen = HashSet::new();
        let mut next = Some(self.endpoint.tree(&self.address.repo, commit));
        while let Some(url) = next {
            if !seen.insert(url.clone()) || seen.len() > MAX_LISTING_PAGES {
                return Err(unbounded_listing(
                    "its pages do not end, as with a mirror that serves only the first one",
                ));
            }
            let (headers, entries) = with_retries(self.retry, || self.json::<Vec<listing::Entry>>(&url)).await?;
            for entry in entries {
                files.extend(listing::remote_file(&entry, &self.address.repo, &page)?);
            }
            if files.len() > MAX_LISTING_FILES {
                return Err(unbounded_listing(&format!(
                    "it has more than {MAX_LISTING_FILES} files"
                )));
            }
            next = listing::next_page(&headers, &url)?;
        }
        Ok(files)
    }

    async fn locate_once(&self, commit: &str, file: &RemoteFile) -> Result<Location, SourceError> {
        let mut url = self.endpoint.file(&self.address.repo, commit, &file.path);
        let mut method = Method::HEAD;
        for _ in 0..MAX_HUB_REDIRECTS {
            let response = self.send(method.clone(), &url).await?;
            let (status, headers) = (response.status(), response.headers());
            if method == Method::HEAD && is_head_unsupported(status) {
                // Some mirrors support GET only. Its body is not read.
                method = Method::GET;
                continue;
            }
            if is_redirect(status) {
                locate::check_unchanged(headers, true, commit, file)?;
                match locate::redirect_target(&url, self.endpoint.url().path(), headers)? {
                    RedirectTarget::SameOrigin(next) => url = next,
                    RedirectTarget::OtherOrigin(next) => {
                        return Ok(Location::Http(HttpLocation {
                            expires: expiry(&next),
                            url: SecretUrl::new(next),
                            headers: HeaderMap::new(),
                        }));
                    }
                }
                continue;
            }
            let shown = SecretUrl::new(url);
            if !status.is_success() {
                return Err(self.response_error(status, headers, &[], commit, Some(file), &shown));
            }
            locate::check_unchanged(headers, false, commit, file)?;
            return Ok(Location::Http(HttpLocation {
                expires: expiry(shown.expose()),
                url: shown,
                headers: self.headers(),
            }));
        }
        Err(redirect_loop(&url))
    }
}

#[async_trait]
impl Source for HuggingFace {
    async fn list(&self) -> Result<Listing, SourceError> {
        let url = self.endpoint.revision(&self.address.repo, &self.address.revision);
        let (_, info) = with_retries(self.retry, || self.json(&url)).await?;
        let revision = listing::commit(info)?;
        let files = self.tree(&revision).await?;
        Ok(Listing { revision, files })
    }

    async fn locate(&self, revision: &str, file: &RemoteFile) -> Result<Location, SourceError> {
        with_retries(self.retry, || self.locate_once(revision, file)).await
    }
}

fn parse_json<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8], url: &SecretUrl) -> Result<T, SourceError> {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let invalid = |what: &str| SourceError::new(FailureClass::SourceError, format!("{url} returned {what}"));
    if content_type.starts_with("text/html") || body.trim_ascii_start().starts_with(b"<") {
        return Err(invalid(
            "a web page instead of JSON; the endpoint is not a hub, or a proxy or login page is in between",
        ));
    }
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Eof => invalid("an incomplete JSON document; trying again may help"),
        // Without the parser's message, which may quote the document.
        _ => invalid(&format!(
            "JSON that is not a hub's (line {}, column {}); check the endpoint",
            error.line(),
            error.column()
        )),
    })
}

/// Reads an API response of any status, for the fuzz targets.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_any_answer(status: StatusCode, headers: &HeaderMap, body: &[u8]) {
    if !status.is_success() {
        return answers::read_anything(status, headers, body);
    }
    let Ok(url) = "https://hub/api?signature=s3cret".parse() else {
        return;
    };
    let parsed = parse_json::<Vec<listing::Entry>>(headers, body, &SecretUrl::new(url));
    if let Err(error) = parsed {
        // The message quotes neither the document nor the signature.
        assert!(
            error.message.len() < 200 && !error.message.contains("s3cret"),
            "{error}"
        );
    }
}

fn redirect_loop(url: &Url) -> SourceError {
    let url = SecretUrl::new(url.clone());
    SourceError::new(
        FailureClass::SourceError,
        format!("more than {MAX_HUB_REDIRECTS} redirects, the last to {url}; the hub or mirror is broken"),
    )
}

fn unbounded_listing(why: &str) -> SourceError {
    SourceError::new(
        FailureClass::InvalidListing,
        format!("listing rejected: {why}; the endpoint is not a hub, or is broken: use another one"),
    )
}
