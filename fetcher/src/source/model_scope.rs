//! ModelScope: a branch or tag is listed with the sha256 of each file, and each file located by following its
//! redirect. Its branches cannot be resolved to commits, so the listing itself is the revision: its digest.

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
use super::api::{persist, read_body};
use super::expiry::expiry;
use super::hugging_face::Endpoint;
use super::{Listing, Location, Source};
use crate::http::location::HttpLocation;
use crate::http::redact::SecretUrl;
use crate::http::retry::{Policy, retry_after};
use crate::model::error::SourceError;
use crate::model::manifest::manifest_digest;
use crate::model::remote_file::RemoteFile;

/// A listing of this many entries was cut off without a word; its folders are listed one by one then.
const CUT_OFF_AT: usize = 3000;

/// How much of a server's own words is repeated.
const MAX_QUOTE: usize = 200;

/// As ModelScope's own client: more requests for one listing than this do not end.
const MAX_REQUESTS: usize = 5000;

/// More than this is no error, whatever it says.
const MAX_REFUSAL_BYTES: u64 = 64 << 10;

/// A listing must fit into memory.
const MAX_FILES: usize = 100_000;

/// One model of ModelScope.
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
        let mut response = api::ask(&self.client, &Method::GET, &url, self.headers.clone(), None)
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
            Ok(envelope) => Err(self.refusal(told(status, envelope.code), envelope.message, &headers)),
            Err(_) if !status.is_success() => Err(self.refusal(status.as_u16(), None, &headers)),
            Err(error) => Err(SourceError::new(
                FailureClass::SourceError,
                format!("{shown} answered no listing ({error}); check the endpoint, and what is in between"),
            )),
        }
    }

    fn refusal(&self, status: u16, message: Option<String>, headers: &HeaderMap) -> SourceError {
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
        // The advice comes after it, and is not to be cut.
        let message = message.map(|message| message.chars().take(MAX_QUOTE).collect::<String>());
        let message = message.map(|message| format!(" ({message})")).unwrap_or_default();
        SourceError::new(
            class,
            format!("{} answered {status} for {address}{message}: {advice}", self.endpoint),
        )
        .with_retry_after(retry_after(headers, jiff::Timestamp::now()))
    }

    /// All entries. Once it was granted, access is not denied any more: a 403 in between is one of the hub's whims.
    async fn tree(&self) -> Result<Vec<Entry>, SourceError> {
        let all = persist(self.retry, || self.entries(None, true)).await?;
        if all.len() < CUT_OFF_AT {
            return Ok(all);
        }
        let granted = |error: SourceError| match error.class {
            FailureClass::AccessDenied => SourceError::new(FailureClass::SourceError, error.message),
            _ => error,
        };
        let list = async |folder: Option<&str>, recursive| {
            persist(self.retry, || async {
                self.entries(folder, recursive).await.map_err(granted)
            })
            .await
        };
        let mut files = Vec::new();
        let mut folders = VecDeque::from([None::<String>]);
        let mut requests = 0;
        while let Some(folder) = folders.pop_front() {
            requests += 2;
            if requests > MAX_REQUESTS || files.len() > MAX_FILES {
                return Err(self.endless());
            }
            if folder.is_some() {
                let below = list(folder.as_deref(), true).await?;
                if below.len() < CUT_OFF_AT {
                    files.extend(below);
                    continue;
                }
            }
            let beside = list(folder.as_deref(), false).await?;
            if beside.len() >= CUT_OFF_AT {
                return Err(SourceError::new(
                    FailureClass::InvalidListing,
                    format!(
                        "{} lists {CUT_OFF_AT} entries in one folder of {} and leaves out the others",
                        self.endpoint, self.address
                    ),
                ));
            }
            let (inner, plain): (Vec<_>, Vec<_>) = beside.into_iter().partition(Entry::is_folder);
            folders.extend(inner.into_iter().map(|entry| Some(entry.path)));
            files.extend(plain);
        }
        Ok(files)
    }

    fn endless(&self) -> SourceError {
        SourceError::new(
            FailureClass::InvalidListing,
            format!(
                "the listing of {} does not end, or holds more than {MAX_FILES} files",
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
        // HEAD is answered differently from GET here; a byte is enough to learn where GET leads.
        let range = (file.size > 0).then_some("bytes=0-0");
        let mut answered = api::ask(&self.client, &Method::GET, &url, self.headers.clone(), range).await?;
        let status = answered.response.status();
        let shown = SecretUrl::new(answered.url.clone());
        let refused = if status.is_success() {
            hidden_refusal(&mut answered.response, file, &shown).await?
        } else {
            (status != StatusCode::RANGE_NOT_SATISFIABLE).then_some(status.as_u16())
        };
        if let Some(refused) = refused {
            let error = self.refusal(refused, Some(file.path.to_string()), answered.response.headers());
            // The model itself was listed.
            let class = match error.class {
                FailureClass::RepositoryNotFound => FailureClass::FileNotFound,
                class => class,
            };
            return Err(SourceError { class, ..error });
        }
        Ok(Location::Http(HttpLocation {
            expires: expiry(&answered.url),
            url: shown,
            headers: answered.headers,
        }))
    }
}

/// The code of an error that is sent with status 200 in place of the file.
async fn hidden_refusal(
    response: &mut Response,
    file: &RemoteFile,
    url: &SecretUrl,
) -> Result<Option<u16>, SourceError> {
    let is_part = response.headers().contains_key(CONTENT_RANGE);
    let length = response.content_length().unwrap_or(u64::MAX);
    if is_part || length == file.size || length > MAX_REFUSAL_BYTES {
        return Ok(None);
    }
    let body = read_body(response, url).await?;
    let envelope = serde_json::from_slice::<Envelope>(&body).ok();
    let refused = envelope.filter(|envelope| !envelope.is_success());
    Ok(refused.map(|envelope| told(response.status(), envelope.code)))
}

#[async_trait]
impl Source for ModelScope {
    async fn list(&self) -> Result<Listing, SourceError> {
        let entries = self.tree().await?;
        let mut files = Vec::new();
        for entry in &entries {
            files.extend(entry.remote_file(&self.address)?);
        }
        if files.len() > MAX_FILES {
            return Err(self.endless());
        }
        Ok(Listing {
            revision: manifest_digest(&files),
            files,
        })
    }

    async fn locate(&self, _revision: &str, file: &RemoteFile) -> Result<Location, SourceError> {
        persist(self.retry, || self.locate_once(file)).await
    }
}

/// Its servers look at the one or the other.
fn credentials(token: &SecretString) -> Result<HeaderMap, SourceError> {
    let token = token.expose_secret();
    let header = |text: String| {
        let mut value = HeaderValue::from_str(&text).map_err(|_| {
            SourceError::new(
                FailureClass::AuthenticationFailed,
                "the token holds characters that no token has; check that the Secret or file holds the token alone",
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

/// The status that counts: an error's code may come with status 200. Codes of five digits and more are no statuses.
fn told(status: StatusCode, code: Option<i64>) -> u16 {
    let code = code
        .and_then(|code| u16::try_from(code).ok())
        .filter(|code| (400..600).contains(code));
    match code {
        Some(code) if status.is_success() => code,
        _ if status.is_success() => 500,
        _ => status.as_u16(),
    }
}
