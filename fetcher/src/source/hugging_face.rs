//! The Hugging Face Hub, and every server that speaks its protocol: a revision is resolved to a commit, the commit
//! listed, and each file located by following redirects on the hub's own host. The token goes to that host only.

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
use self::answers::Asked;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::listing::read_anything;
use self::locate::Hop;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::locate::read_anything as read_any_location;
pub use self::token::{find_modelscope_token, find_token};
use super::api::{is_head_unknown, is_redirect, persist, read_body};
use super::expiry::expiry;
use super::{Listing, Location, Source};
use crate::http::client::describe;
use crate::http::location::HttpLocation;
use crate::http::redact::SecretUrl;
use crate::http::retry::Policy;
use crate::model::error::SourceError;
use crate::model::remote_file::RemoteFile;

/// As the hub's own client: more hops are a loop.
const MAX_HOPS: usize = 20;

/// A page holds a thousand files; a listing with more pages than this does not end.
const MAX_PAGES: usize = 10_000;

/// The hub asks to stay well below this in one repository, and a listing must fit into memory.
const MAX_FILES: usize = 100_000;

/// One model of a hub.
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
        // With an encoding, lengths and tags would be those of the encoded body.
        request = request.header(ACCEPT_ENCODING, "identity");
        request
            .send()
            .await
            .map_err(|error| describe(&error, &SecretUrl::new(url.clone())))
    }

    /// What may be sent to the endpoint's own host, and to no other.
    fn headers(&self) -> HeaderMap {
        self.authorization
            .iter()
            .map(|value| (AUTHORIZATION, value.clone()))
            .collect()
    }

    /// A JSON document of the API.
    async fn json<T: DeserializeOwned>(&self, url: &Url) -> Result<(HeaderMap, T), SourceError> {
        let mut url = url.clone();
        for _ in 0..MAX_HOPS {
            let mut response = self.send(Method::GET, &url).await?;
            let (status, headers) = (response.status(), response.headers().clone());
            if is_redirect(status) {
                // A renamed repository is redirected on the same host.
                match locate::hop(&url, self.endpoint.url().path(), &headers)? {
                    Hop::Same(next) => url = next,
                    Hop::Other(next) => return Err(self.leads_elsewhere(&next)),
                }
                continue;
            }
            let shown = SecretUrl::new(url);
            let body = read_body(&mut response, &shown).await?;
            if !status.is_success() {
                return Err(self.refusal(status, &headers, &body, self.address.revision.as_str(), None, &shown));
            }
            let value = parse_json(&headers, &body, &shown)?;
            return Ok((headers, value));
        }
        Err(redirect_loop(&url))
    }

    fn leads_elsewhere(&self, next: &Url) -> SourceError {
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

    fn refusal(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        revision: &str,
        file: Option<&RemoteFile>,
        url: &SecretUrl,
    ) -> SourceError {
        let asked = Asked {
            endpoint: &self.endpoint,
            repo: &self.address.repo,
            revision,
            file: file.map(|file| &file.path),
            with_token: self.authorization.is_some(),
            url,
        };
        answers::refusal(status, headers, body, &asked, Timestamp::now())
    }

    async fn tree(&self, commit: &str) -> Result<Vec<RemoteFile>, SourceError> {
        let page = self.endpoint.page(&self.address.repo);
        let mut files = Vec::new();
        let mut seen = HashSet::new();
        let mut next = Some(self.endpoint.tree(&self.address.repo, commit));
        while let Some(url) = next {
            if !seen.insert(url.clone()) || seen.len() > MAX_PAGES {
                return Err(endless(
                    "its pages do not end, as with a mirror that shows the first one only",
                ));
            }
            let (headers, entries) = persist(self.retry, || self.json::<Vec<listing::Entry>>(&url)).await?;
            for entry in entries {
                files.extend(listing::remote_file(&entry, &self.address.repo, &page)?);
            }
            if files.len() > MAX_FILES {
                return Err(endless(&format!("it holds more than {MAX_FILES} files")));
            }
            next = listing::next_page(&headers, &url)?;
        }
        Ok(files)
    }

    async fn locate_once(&self, commit: &str, file: &RemoteFile) -> Result<Location, SourceError> {
        let mut url = self.endpoint.file(&self.address.repo, commit, &file.path);
        let mut method = Method::HEAD;
        for _ in 0..MAX_HOPS {
            let response = self.send(method.clone(), &url).await?;
            let (status, headers) = (response.status(), response.headers());
            if method == Method::HEAD && is_head_unknown(status) {
                // Some mirrors know GET alone; what it would send is not read.
                method = Method::GET;
                continue;
            }
            if is_redirect(status) {
                locate::check(headers, true, commit, file)?;
                match locate::hop(&url, self.endpoint.url().path(), headers)? {
                    Hop::Same(next) => url = next,
                    Hop::Other(next) => {
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
                return Err(self.refusal(status, headers, &[], commit, Some(file), &shown));
            }
            locate::check(headers, false, commit, file)?;
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
        let (_, info) = persist(self.retry, || self.json(&url)).await?;
        let revision = listing::commit(info)?;
        let files = self.tree(&revision).await?;
        Ok(Listing { revision, files })
    }

    async fn locate(&self, revision: &str, file: &RemoteFile) -> Result<Location, SourceError> {
        persist(self.retry, || self.locate_once(revision, file)).await
    }
}

fn parse_json<T: DeserializeOwned>(headers: &HeaderMap, body: &[u8], url: &SecretUrl) -> Result<T, SourceError> {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let wrong = |what: &str| SourceError::new(FailureClass::SourceError, format!("{url} answered {what}"));
    if content_type.starts_with("text/html") || body.trim_ascii_start().starts_with(b"<") {
        return Err(wrong(
            "a web page where JSON belongs; the endpoint is no hub, or a proxy or login page is in between",
        ));
    }
    serde_json::from_slice(body).map_err(|error| match error.classify() {
        serde_json::error::Category::Eof => wrong("only a part of a JSON document; trying again may help"),
        // The parser's own words may quote the document.
        _ => wrong(&format!(
            "what no hub answers (line {}, column {}); check the endpoint",
            error.line(),
            error.column()
        )),
    })
}

/// Reads an answer of the API, as what it is with its status; for the fuzz targets.
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
        // Its words are ours alone.
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
        format!("more than {MAX_HOPS} redirects, the last to {url}; the hub or mirror is broken"),
    )
}

fn endless(why: &str) -> SourceError {
    SourceError::new(
        FailureClass::InvalidListing,
        format!("the listing is refused: {why}; the endpoint is no hub, or is broken: use another one"),
    )
}
