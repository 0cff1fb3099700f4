//! Container registries, as the OCI distribution specification describes them: manifests by tag or digest, blobs by
//! digest, and tokens for both. What the blobs mean is not known here.

pub(super) mod challenge;
mod credentials;
pub(super) mod manifest;
mod name;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use modelcache_crds::report::FailureClass;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use reqwest::{Client, Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex;
use url::Url;

use self::challenge::{Challenge, parse_challenges};
pub use self::credentials::RegistryCredentials;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::credentials::read_anything as read_any_credentials;
use self::manifest::MANIFEST_TYPES;
pub use self::name::InvalidImageName;
pub(super) use self::name::{ImageName, Reference};
use super::Location;
use super::api;
use super::api::{Answered, persist, read_body};
use super::expiry::expiry;
use crate::http::location::HttpLocation;
use crate::http::redact::SecretUrl;
use crate::http::retry::{Policy, retry_after};
use crate::model::digest::hex;
use crate::model::error::SourceError;

/// How long a token is good that does not say: the shortest that registries give.
const TOKEN_SECONDS: u64 = 60;

/// A manifest as the registry sent it, proven against the digest where one was asked for.
pub(super) struct RawManifest {
    pub(super) bytes: Vec<u8>,
    pub(super) digest: String,
    pub(super) media_type: String,
}

/// One repository of a registry.
pub(super) struct Repository {
    name: ImageName,
    credentials: RegistryCredentials,
    client: Client,
    retry: Policy,
    /// What to send, and until when.
    granted: Mutex<Option<Granted>>,
}

#[derive(Clone)]
struct Granted {
    header: HeaderValue,
    until: Timestamp,
}

#[derive(Deserialize)]
struct Answer {
    token: Option<SecretString>,
    access_token: Option<SecretString>,
    expires_in: Option<u64>,
}

impl Repository {
    pub(super) fn new(name: ImageName, credentials: RegistryCredentials, client: Client, retry: Policy) -> Self {
        Self {
            name,
            credentials,
            client,
            retry,
            granted: Mutex::new(None),
        }
    }

    pub(super) fn name(&self) -> &ImageName {
        &self.name
    }

    /// A manifest by tag or digest.
    pub(super) async fn manifest(&self, reference: &Reference) -> Result<RawManifest, SourceError> {
        persist(self.retry, || self.manifest_once(reference)).await
    }

    async fn manifest_once(&self, reference: &Reference) -> Result<RawManifest, SourceError> {
        let url = self.name.url(&format!("manifests/{reference}"));
        let Answered { mut response, .. } = self.ask(&url, &accept_manifests(), None).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let shown = SecretUrl::new(url);
        let bytes = read_body(&mut response, &shown).await?;
        if !status.is_success() {
            return Err(self.refusal(status, &headers, &format!("manifest {reference}")));
        }
        let digest = format!("sha256:{}", hex(&Sha256::digest(&bytes)));
        if let Reference::Digest(asked) = reference
            && *asked != digest
        {
            return Err(SourceError::new(
                FailureClass::SourceError,
                format!("{shown} answered a manifest whose digest is {digest}; what is in between changes it"),
            ));
        }
        let media_type = headers
            .get(CONTENT_TYPE)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        Ok(RawManifest {
            bytes,
            digest,
            media_type,
        })
    }

    /// A small blob, whole.
    pub(super) async fn blob(&self, digest: &str) -> Result<Vec<u8>, SourceError> {
        persist(self.retry, || self.blob_once(digest)).await
    }

    async fn blob_once(&self, digest: &str) -> Result<Vec<u8>, SourceError> {
        let url = self.name.url(&format!("blobs/{digest}"));
        let Answered { mut response, .. } = self.ask(&url, &HeaderMap::new(), None).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        if !status.is_success() {
            return Err(self.refusal(status, &headers, digest));
        }
        let shown = SecretUrl::new(url);
        let bytes = read_body(&mut response, &shown).await?;
        let actual = format!("sha256:{}", hex(&Sha256::digest(&bytes)));
        if actual == digest {
            return Ok(bytes);
        }
        Err(SourceError::new(
            FailureClass::SourceError,
            format!("{shown} answered a blob whose digest is {actual}; what is in between changes it"),
        ))
    }

    /// Where a blob is now.
    pub(super) async fn locate_blob(&self, digest: &str) -> Result<Location, SourceError> {
        let url = self.name.url(&format!("blobs/{digest}"));
        let headers = HeaderMap::new();
        persist(self.retry, || self.locate_once(&url, &headers, digest)).await
    }

    /// Where the bytes of a manifest are.
    pub(super) async fn locate_manifest(&self, digest: &str) -> Result<Location, SourceError> {
        let url = self.name.url(&format!("manifests/{digest}"));
        let headers = accept_manifests();
        persist(self.retry, || self.locate_once(&url, &headers, digest)).await
    }

    async fn locate_once(&self, url: &Url, headers: &HeaderMap, digest: &str) -> Result<Location, SourceError> {
        // Some registries refuse HEAD for blobs; a byte is enough to learn where they redirect.
        let answered = self.ask(url, headers, Some("bytes=0-0")).await?;
        let status = answered.response.status();
        if !status.is_success() && status != StatusCode::RANGE_NOT_SATISFIABLE {
            return Err(self.refusal(status, answered.response.headers(), digest));
        }
        let is_granted = answered.headers.contains_key(AUTHORIZATION);
        let granted = self.granted.lock().await.as_ref().map(|granted| granted.until);
        Ok(Location::Http(HttpLocation {
            expires: expiry(&answered.url).or(granted.filter(|_| is_granted)),
            url: SecretUrl::new(answered.url),
            headers: answered.headers,
        }))
    }

    /// Asks, and gets a token where the registry wants one.
    async fn ask(&self, url: &Url, headers: &HeaderMap, range: Option<&str>) -> Result<Answered, SourceError> {
        let mut with_token = headers.clone();
        with_token.extend(self.present_token().await.map(|value| (AUTHORIZATION, value)));
        let answered = api::ask(&self.client, &Method::GET, url, with_token, range).await?;
        let is_challenged =
            answered.response.status() == StatusCode::UNAUTHORIZED && answered.url.origin() == url.origin();
        if !is_challenged {
            return Ok(answered);
        }
        let Some(header) = self.authorize(answered.response.headers()).await? else {
            return Ok(answered);
        };
        let mut with_token = headers.clone();
        with_token.insert(AUTHORIZATION, header);
        api::ask(&self.client, &Method::GET, url, with_token, range).await
    }

    async fn present_token(&self) -> Option<HeaderValue> {
        let granted = self.granted.lock().await;
        let granted = granted.as_ref().filter(|granted| granted.until > Timestamp::now())?;
        Some(granted.header.clone())
    }

    /// What a challenge asks for; `None` when there is nothing to answer it with.
    async fn authorize(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, SourceError> {
        let challenges = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let basic = self.credentials.basic(self.name.registry());
        for challenge in challenges.flat_map(parse_challenges) {
            let granted = match challenge {
                Challenge::Bearer { realm, service, scope } => {
                    let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", self.name.repository()));
                    self.token(&realm, service.as_deref(), &scope, basic.as_ref()).await?
                }
                Challenge::Basic => match &basic {
                    Some(header) => Granted {
                        header: header.clone(),
                        until: Timestamp::MAX,
                    },
                    None => continue,
                },
            };
            let header = granted.header.clone();
            *self.granted.lock().await = Some(granted);
            return Ok(Some(header));
        }
        Ok(None)
    }

    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        scope: &str,
        basic: Option<&HeaderValue>,
    ) -> Result<Granted, SourceError> {
        let broken = |what: String| {
            let registry = self.name.registry();
            SourceError::new(FailureClass::SourceError, format!("{registry} asks for a token {what}"))
        };
        let url = token_address(realm, service, scope, self.name.is_plain_http()).map_err(broken)?;
        let headers = basic.iter().map(|value| (AUTHORIZATION, (*value).clone())).collect();
        let asked = Timestamp::now();
        let mut response = api::ask(&self.client, &Method::GET, &url, headers, None)
            .await?
            .response;
        let (status, headers) = (response.status(), response.headers().clone());
        let shown = SecretUrl::new(url);
        let body = read_body(&mut response, &shown).await?;
        if !status.is_success() {
            return Err(self.refusal(status, &headers, "token"));
        }
        granted(&body, asked).map_err(|what| broken(format!("at {shown}, which {what}")))
    }

    fn refusal(&self, status: StatusCode, headers: &HeaderMap, what: &str) -> SourceError {
        let name = &self.name;
        let (class, advice) = match status.as_u16() {
            404 => (
                FailureClass::RepositoryNotFound,
                "check registry, repository and tag; some registries say this too where credentials are missing",
            ),
            401 => (
                FailureClass::AuthenticationFailed,
                "give credentials of the registry (tokenSecretRef, DOCKER_AUTH_CONFIG, or docker login)",
            ),
            403 => (FailureClass::AccessDenied, "give credentials that may pull it"),
            429 => (FailureClass::RateLimited, "trying again later helps"),
            _ => (FailureClass::SourceError, "trying again may help"),
        };
        SourceError::new(
            class,
            format!("{name} ({what}): the registry answered {status}: {advice}"),
        )
        .with_retry_after(retry_after(headers, Timestamp::now()))
    }
}

/// Where a token is asked for; why not, where a password would go there that should not.
fn token_address(realm: &str, service: Option<&str>, scope: &str, plain_http: bool) -> Result<Url, String> {
    let mut url: Url = realm
        .parse()
        .map_err(|_| format!("at {realm:?}, which is no address"))?;
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && plain_http);
    if !is_safe {
        let shown = SecretUrl::new(url);
        return Err(format!("at {shown}, which is not encrypted; refused"));
    }
    if let Some(service) = service {
        url.query_pairs_mut().append_pair("service", service);
    }
    url.query_pairs_mut().append_pair("scope", scope);
    Ok(url)
}

/// The token in an answer, asked for at a time.
fn granted(body: &[u8], asked: Timestamp) -> Result<Granted, &'static str> {
    let Answer {
        token,
        access_token,
        expires_in,
    } = serde_json::from_slice(body).map_err(|_| "answers none")?;
    let token = token.or(access_token).ok_or("answers none")?;
    let mut header = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
        .map_err(|_| "answers what no header can hold")?;
    header.set_sensitive(true);
    let seconds = Duration::from_secs(expires_in.unwrap_or(TOKEN_SECONDS).max(TOKEN_SECONDS));
    let until = SignedDuration::try_from(seconds)
        .ok()
        .and_then(|seconds| asked.checked_add(seconds).ok())
        .unwrap_or(Timestamp::MAX);
    Ok(Granted { header, until })
}

/// Reads a challenge in the first line and the answer to a request for a token in the rest; for the fuzz targets. A
/// token is asked for where nobody listens, is good for a while, and is never printed.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_anything(bytes: &[u8]) {
    let (challenge, body) = crate::model::fuzz_input::line(bytes);
    for challenge in parse_challenges(&String::from_utf8_lossy(challenge)) {
        let Challenge::Bearer { realm, service, scope } = challenge else {
            continue;
        };
        let scope = scope.unwrap_or_default();
        for plain_http in [false, true] {
            if let Ok(url) = token_address(&realm, service.as_deref(), &scope, plain_http) {
                assert!(url.scheme() == "https" || plain_http && url.scheme() == "http");
                assert!(url.query_pairs().any(|(name, value)| name == "scope" && value == scope));
            }
        }
    }
    let asked = Timestamp::UNIX_EPOCH;
    if let Ok(granted) = granted(body, asked) {
        assert!(granted.header.is_sensitive() && granted.header.as_bytes().starts_with(b"Bearer "));
        assert!(granted.until.duration_since(asked) >= SignedDuration::from_mins(1));
    }
}

fn accept_manifests() -> HeaderMap {
    HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(MANIFEST_TYPES))])
}
