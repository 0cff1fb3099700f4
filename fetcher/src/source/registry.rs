//! Client for container registries by the OCI distribution specification.
//!
//! It fetches manifests by tag or digest, locates blobs by digest, and gets the tokens for both. It does not interpret
//! blobs.

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
use super::api::{ApiResponse, read_body, with_retries};
use super::expiry::expiry;
use crate::http::location::HttpLocation;
use crate::http::redact::SecretUrl;
use crate::http::retry::{Policy, retry_after};
use crate::model::digest::hex;
use crate::model::error::SourceError;

/// Lifetime of a token without `expires_in`, and the shortest that the specification allows.
const MIN_TOKEN_LIFETIME_SECS: u64 = 60;

/// A manifest as the registry sent it; verified if it was requested by digest.
pub(super) struct RawManifest {
    pub(super) bytes: Vec<u8>,
    pub(super) digest: String,
    pub(super) media_type: String,
}

/// A repository in a registry.
pub(super) struct Repository {
    name: ImageName,
    credentials: RegistryCredentials,
    client: Client,
    retry: Policy,
    /// The last authorization that was granted.
    authorization: Mutex<Option<Authorization>>,
}

/// A value of the `Authorization` header, and when it expires.
#[derive(Clone)]
struct Authorization {
    header: HeaderValue,
    expires: Timestamp,
}

#[derive(Deserialize)]
struct TokenResponse {
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
            authorization: Mutex::new(None),
        }
    }

    pub(super) fn name(&self) -> &ImageName {
        &self.name
    }

    /// Fetches a manifest by tag or digest.
    pub(super) async fn manifest(&self, reference: &Reference) -> Result<RawManifest, SourceError> {
        with_retries(self.retry, || self.manifest_once(reference)).await
    }

    async fn manifest_once(&self, reference: &Reference) -> Result<RawManifest, SourceError> {
        let url = self.name.url(&format!("manifests/{reference}"));
        let ApiResponse { mut response, .. } = self.send(&url, &accept_manifests(), None).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let shown = SecretUrl::new(url);
        let bytes = read_body(&mut response, &shown).await?;
        if !status.is_success() {
            return Err(self.response_error(status, &headers, &format!("manifest {reference}")));
        }
        let digest = format!("sha256:{}", hex(&Sha256::digest(&bytes)));
        if let Reference::Digest(requested) = reference
            && *requested != digest
        {
            return Err(SourceError::new(
                FailureClass::SourceError,
                format!("{shown} returned a manifest with digest {digest}; a proxy in between may change it"),
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

    /// Fetches a small blob into memory.
    pub(super) async fn blob(&self, digest: &str) -> Result<Vec<u8>, SourceError> {
        with_retries(self.retry, || self.blob_once(digest)).await
    }

    async fn blob_once(&self, digest: &str) -> Result<Vec<u8>, SourceError> {
        let url = self.name.url(&format!("blobs/{digest}"));
        let ApiResponse { mut response, .. } = self.send(&url, &HeaderMap::new(), None).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        if !status.is_success() {
            return Err(self.response_error(status, &headers, digest));
        }
        let shown = SecretUrl::new(url);
        let bytes = read_body(&mut response, &shown).await?;
        let actual = format!("sha256:{}", hex(&Sha256::digest(&bytes)));
        if actual == digest {
            return Ok(bytes);
        }
        Err(SourceError::new(
            FailureClass::SourceError,
            format!("{shown} returned a blob with digest {actual}; a proxy in between may change it"),
        ))
    }

    /// Locates a blob.
    pub(super) async fn locate_blob(&self, digest: &str) -> Result<Location, SourceError> {
        let url = self.name.url(&format!("blobs/{digest}"));
        let headers = HeaderMap::new();
        with_retries(self.retry, || self.locate_once(&url, &headers, digest)).await
    }

    /// Locates the bytes of a manifest.
    pub(super) async fn locate_manifest(&self, digest: &str) -> Result<Location, SourceError> {
        let url = self.name.url(&format!("manifests/{digest}"));
        let headers = accept_manifests();
        with_retries(self.retry, || self.locate_once(&url, &headers, digest)).await
    }

    async fn locate_once(&self, url: &Url, headers: &HeaderMap, digest: &str) -> Result<Location, SourceError> {
        // Some registries reject HEAD for blobs; a GET for one byte shows where they redirect.
        let answer = self.send(url, headers, Some("bytes=0-0")).await?;
        let status = answer.response.status();
        if !status.is_success() && status != StatusCode::RANGE_NOT_SATISFIABLE {
            return Err(self.response_error(status, answer.response.headers(), digest));
        }
        let is_authorized = answer.headers.contains_key(AUTHORIZATION);
        let cached = self.authorization.lock().await;
        let token_expires = cached.as_ref().map(|cached| cached.expires);
        drop(cached);
        Ok(Location::Http(HttpLocation {
            expires: expiry(&answer.url).or(token_expires.filter(|_| is_authorized)),
            url: SecretUrl::new(answer.url),
            headers: answer.headers,
        }))
    }

    /// Sends a GET; if the registry responds with a challenge, sends it again with a token.
    async fn send(&self, url: &Url, headers: &HeaderMap, range: Option<&str>) -> Result<ApiResponse, SourceError> {
        let mut with_token = headers.clone();
        with_token.extend(self.cached_authorization().await.map(|value| (AUTHORIZATION, value)));
        let answer = api::send(&self.client, &Method::GET, url, with_token, range).await?;
        let is_challenged = answer.response.status() == StatusCode::UNAUTHORIZED && answer.url.origin() == url.origin();
        if !is_challenged {
            return Ok(answer);
        }
        let Some(header) = self.authorize(answer.response.headers()).await? else {
            return Ok(answer);
        };
        let mut with_token = headers.clone();
        with_token.insert(AUTHORIZATION, header);
        api::send(&self.client, &Method::GET, url, with_token, range).await
    }

    /// The cached authorization, unless it expired.
    async fn cached_authorization(&self) -> Option<HeaderValue> {
        let cached = self.authorization.lock().await;
        let cached = cached.as_ref().filter(|cached| cached.expires > Timestamp::now())?;
        Some(cached.header.clone())
    }

    /// Gets an authorization for the challenges in a response; `None` without credentials for any of them.
    async fn authorize(&self, headers: &HeaderMap) -> Result<Option<HeaderValue>, SourceError> {
        let challenges = headers
            .get_all(WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let basic = self.credentials.basic(self.name.registry());
        for challenge in challenges.flat_map(parse_challenges) {
            let authorization = match challenge {
                Challenge::Bearer { realm, service, scope } => {
                    let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", self.name.repository()));
                    self.token(&realm, service.as_deref(), &scope, basic.as_ref()).await?
                }
                Challenge::Basic => match &basic {
                    Some(header) => Authorization {
                        header: header.clone(),
                        expires: Timestamp::MAX,
                    },
                    None => continue,
                },
            };
            let header = authorization.header.clone();
            *self.authorization.lock().await = Some(authorization);
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
    ) -> Result<Authorization, SourceError> {
        let failed = |what: String| {
            let registry = self.name.registry();
            SourceError::new(FailureClass::SourceError, format!("{registry} asks for a token {what}"))
        };
        let url = token_url(realm, service, scope, self.name.is_plain_http()).map_err(failed)?;
        let headers = basic.iter().map(|value| (AUTHORIZATION, (*value).clone())).collect();
        let requested_at = Timestamp::now();
        let mut response = api::send(&self.client, &Method::GET, &url, headers, None)
            .await?
            .response;
        let (status, headers) = (response.status(), response.headers().clone());
        let shown = SecretUrl::new(url);
        let body = read_body(&mut response, &shown).await?;
        if !status.is_success() {
            return Err(self.response_error(status, &headers, "token"));
        }
        parse_token(&body, requested_at).map_err(|what| failed(format!("at {shown}, which {what}")))
    }

    fn response_error(&self, status: StatusCode, headers: &HeaderMap, what: &str) -> SourceError {
        let name = &self.name;
        let (class, advice) = match status.as_u16() {
            404 => (
                FailureClass::RepositoryNotFound,
                "check registry, repository and tag; some registries return this for missing credentials too",
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
            format!("{name} ({what}): the registry returned {status}: {advice}"),
        )
        .with_retry_after(retry_after(headers, Timestamp::now()))
    }
}

/// The URL of a token request. A realm without TLS is an error unless the registry has none either.
fn token_url(realm: &str, service: Option<&str>, scope: &str, plain_http: bool) -> Result<Url, String> {
    let mut url: Url = realm.parse().map_err(|_| format!("at {realm:?}, which is not a URL"))?;
    let is_safe = url.scheme() == "https" || (url.scheme() == "http" && plain_http);
    if !is_safe {
        let shown = SecretUrl::new(url);
        return Err(format!("at {shown}, which is not encrypted; not requested"));
    }
    if let Some(service) = service {
        url.query_pairs_mut().append_pair("service", service);
    }
    url.query_pairs_mut().append_pair("scope", scope);
    Ok(url)
}

/// Parses the response to a token request that was sent at `requested_at`.
fn parse_token(body: &[u8], requested_at: Timestamp) -> Result<Authorization, &'static str> {
    let TokenResponse {
        token,
        access_token,
        expires_in,
    } = serde_json::from_slice(body).map_err(|_| "returned none")?;
    let token = token.or(access_token).ok_or("returned none")?;
    let mut header = HeaderValue::from_str(&format!("Bearer {}", token.expose_secret()))
        .map_err(|_| "returned one with invalid characters")?;
    header.set_sensitive(true);
    let lifetime_secs = expires_in
        .unwrap_or(MIN_TOKEN_LIFETIME_SECS)
        .max(MIN_TOKEN_LIFETIME_SECS);
    let expires = SignedDuration::try_from(Duration::from_secs(lifetime_secs))
        .ok()
        .and_then(|lifetime| requested_at.checked_add(lifetime).ok())
        .unwrap_or(Timestamp::MAX);
    Ok(Authorization { header, expires })
}

/// Reads the first line as a challenge and the rest as a token response, for the fuzz targets.
///
/// Asserts that tokens are requested with TLS unless the registry has none, live a minute at least, and are marked as
/// sensitive.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_anything(bytes: &[u8]) {
    let (challenge, body) = crate::model::fuzz_input::line(bytes);
    for challenge in parse_challenges(&String::from_utf8_lossy(challenge)) {
        let Challenge::Bearer { realm, service, scope } = challenge else {
            continue;
        };
        let scope = scope.unwrap_or_default();
        for plain_http in [false, true] {
            if let Ok(url) = token_url(&realm, service.as_deref(), &scope, plain_http) {
                assert!(url.scheme() == "https" || plain_http && url.scheme() == "http");
                assert!(url.query_pairs().any(|(name, value)| name == "scope" && value == scope));
            }
        }
    }
    let requested_at = Timestamp::UNIX_EPOCH;
    if let Ok(Authorization { header, expires }) = parse_token(body, requested_at) {
        assert!(header.is_sensitive() && header.as_bytes().starts_with(b"Bearer "));
        assert!(expires.duration_since(requested_at) >= SignedDuration::from_mins(1));
    }
}

fn accept_manifests() -> HeaderMap {
    HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(MANIFEST_TYPES))])
}
