//! Buckets of S3 and compatible stores. Every range request requires the entity tag of the listed version.
//!
//! Digests come from the sha256 that the store keeps per object, or from a `SHA256SUMS` next to the objects.

mod address;
mod answers;
mod credentials;
mod open;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::{SignedDuration, Timestamp};
use modelcache_crds::report::FailureClass;
use reqwest::header::{ETAG, HeaderMap, HeaderName, HeaderValue, IF_MATCH};
use reqwest::{Client, Method};
use rusty_s3::actions::ListObjectsV2;
use rusty_s3::{Bucket, Credentials, S3Action, UrlStyle};
use url::Url;

pub use self::address::{InvalidS3Address, S3Address};
pub use self::credentials::KeySource;
use self::credentials::Keys;
use super::api;
use super::api::{read_body, with_retries};
use super::plain_http::read_sums;
use super::{Listing, Location, Source};
use crate::http::location::HttpLocation;
use crate::http::redact::SecretUrl;
use crate::http::retry::Policy;
use crate::model::digest::ContentDigest;
use crate::model::error::SourceError;
use crate::model::manifest::manifest_digest;
use crate::model::path::FilePath;
use crate::model::remote_file::RemoteFile;

/// Lifetime of a signed URL.
const SIGNATURE_LIFETIME: Duration = Duration::from_hours(1);

/// Concurrent HEAD requests for checksums.
const MAX_HEAD_REQUESTS: usize = 16;

/// Files of a listing, which must fit into memory.
const MAX_LISTING_FILES: usize = 100_000;

/// Name of the list of digests.
const SUMS: &str = "SHA256SUMS";

const CHECKSUM_MODE: &str = "x-amz-checksum-mode";
const VERSION: &str = "x-amz-version-id";

/// The server of a bucket, and how to address it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Endpoint {
    /// Base URL; AWS if not set.
    pub url: Option<Url>,
    /// Region that requests are signed for.
    pub region: String,
    /// Whether the bucket is part of the host name instead of the path.
    pub virtual_hosted: bool,
}

/// Objects of one bucket.
pub struct S3 {
    address: S3Address,
    bucket: Bucket,
    keys: Keys,
    client: Client,
    retry: Policy,
    /// Key and version of each listed object, by path.
    listed: Mutex<HashMap<FilePath, Version>>,
}

/// Key and version of a listed object.
#[derive(Clone, Debug)]
struct Version {
    key: String,
    etag: Option<HeaderValue>,
    id: Option<String>,
}

impl S3 {
    /// Objects at an address. The client must not follow redirects.
    pub fn new(
        address: S3Address,
        endpoint: S3Endpoint,
        keys: KeySource,
        client: Client,
        retry: Policy,
    ) -> Result<Self, SourceError> {
        let S3Endpoint {
            url,
            region,
            virtual_hosted,
        } = endpoint;
        let usage = |why: String| SourceError::new(FailureClass::Usage, why);
        let url = match url {
            Some(url) => url,
            None => format!("https://s3.{region}.amazonaws.com")
                .parse()
                .map_err(|error| usage(format!("{region:?} is not a region: {error}")))?,
        };
        let style = if virtual_hosted {
            UrlStyle::VirtualHost
        } else {
            UrlStyle::Path
        };
        let bucket = Bucket::new(url, style, address.bucket.clone(), region)
            .map_err(|error| usage(format!("invalid endpoint for {address}: {error}")))?;
        Ok(Self {
            address,
            bucket,
            keys: Keys::new(keys, client.clone()),
            client,
            retry,
            listed: Mutex::new(HashMap::new()),
        })
    }

    /// Sends a signed request. Reads the body, since a response with status 200 may be an error too.
    async fn send(
        &self,
        method: Method,
        url: &Url,
        headers: HeaderMap,
        what: &str,
    ) -> Result<(HeaderMap, String), SourceError> {
        let mut response = api::send(&self.client, &method, url, headers, None).await?.response;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = read_body(&mut response, &SecretUrl::new(url.clone())).await?;
        let body = String::from_utf8_lossy(&body).into_owned();
        if status.is_success() && !answers::is_error(&body) {
            return Ok((headers, body));
        }
        let with_keys = !self.keys.are_none();
        Err(answers::response_error(status, &headers, &body, what, with_keys))
    }

    async fn keys(&self) -> Result<Option<Credentials>, SourceError> {
        Ok(self.keys.get().await?.map(|(keys, _)| keys))
    }

    /// Lists path, key, version and size of all objects of the address.
    async fn objects(&self) -> Result<Vec<(FilePath, Version, u64)>, SourceError> {
        let mut objects = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let page = with_retries(self.retry, || self.page(token.as_deref())).await?;
            for object in page.contents {
                let Some(name) = relative(&self.address.prefix, &object.key) else {
                    continue;
                };
                let path = FilePath::parse(name).map_err(|error| {
                    let key = &object.key;
                    invalid(format!("{} contains the unsafe key {key:?}: {error}", self.address))
                })?;
                // Stores on top of a folder have an empty tag for files that they did not write themselves.
                let etag = object.etag.filter(|etag| !etag.is_empty());
                let etag = etag.and_then(|etag| HeaderValue::from_str(&etag).ok());
                let version = Version {
                    key: object.key,
                    etag,
                    id: None,
                };
                objects.push((path, version, object.size.unwrap_or_default()));
            }
            if objects.len() > MAX_LISTING_FILES {
                let address = &self.address;
                return Err(invalid(format!("{address} has more than {MAX_LISTING_FILES} objects")));
            }
            match page.next_continuation_token {
                Some(next) if token.as_ref() != Some(&next) => token = Some(next),
                Some(_) => return Err(invalid(format!("the listing pages of {} do not end", self.address))),
                None => break,
            }
        }
        if objects.is_empty() {
            return Err(SourceError::new(
                FailureClass::RepositoryNotFound,
                format!("{} has no objects: check bucket and prefix", self.address),
            ));
        }
        Ok(objects)
    }

    async fn page(&self, token: Option<&str>) -> Result<rusty_s3::actions::ListObjectsV2Response, SourceError> {
        let keys = self.keys().await?;
        let mut action = self.bucket.list_objects_v2(keys.as_ref());
        if !self.address.prefix.is_empty() {
            action.with_prefix(self.address.prefix.clone());
        }
        if let Some(token) = token {
            action.with_continuation_token(token.to_owned());
        }
        let url = action.sign(SIGNATURE_LIFETIME);
        let what = self.address.to_string();
        let (_, body) = self.send(Method::GET, &url, HeaderMap::new(), &what).await?;
        ListObjectsV2::parse_response(&body).map_err(|_| {
            SourceError::new(
                FailureClass::SourceError,
                format!("{what}: the server returned no listing; check that the endpoint is an S3 server"),
            )
        })
    }

    /// The file and version of an object, with the digest that the store keeps.
    async fn stored_digest(
        &self,
        path: &FilePath,
        version: Version,
        size: u64,
    ) -> Result<(RemoteFile, Version), SourceError> {
        let headers = with_retries(self.retry, || self.head(&version.key)).await?;
        let digest = answers::digest(&headers).ok_or_else(|| {
            invalid(format!(
                "the store has no sha256 of the whole object {path}, so its bytes cannot be verified: put a {SUMS} \
                 (written by sha256sum) next to the files, or upload each in one part with --checksum-algorithm SHA256"
            ))
        })?;
        let version = Version {
            etag: headers.get(ETAG).cloned().or(version.etag),
            id: headers.get(VERSION).and_then(|id| id.to_str().ok()).map(str::to_owned),
            ..version
        };
        let file = RemoteFile {
            path: path.clone(),
            size,
            digest,
        };
        Ok((file, version))
    }

    async fn head(&self, key: &str) -> Result<HeaderMap, SourceError> {
        let keys = self.keys().await?;
        let mut action = self.bucket.head_object(keys.as_ref(), key);
        action.headers_mut().insert(CHECKSUM_MODE, "ENABLED");
        let url = action.sign(SIGNATURE_LIFETIME);
        let sent = HeaderMap::from_iter([(
            HeaderName::from_static(CHECKSUM_MODE),
            HeaderValue::from_static("ENABLED"),
        )]);
        let (headers, _) = self.send(Method::HEAD, &url, sent, key).await?;
        Ok(headers)
    }

    /// The digests of the list next to the objects, if there is one.
    async fn listed_digests(
        &self,
        objects: &[(FilePath, Version, u64)],
    ) -> Result<Option<Vec<(FilePath, ContentDigest)>>, SourceError> {
        let Some((_, version, _)) = objects.iter().find(|(path, ..)| path.as_str() == SUMS) else {
            return Ok(None);
        };
        let text = with_retries(self.retry, || self.text(&version.key)).await?;
        let shown = SecretUrl::new(self.bucket.object_url(&version.key));
        Ok(Some(read_sums(text.as_bytes(), &shown)?))
    }

    async fn text(&self, key: &str) -> Result<String, SourceError> {
        let keys = self.keys().await?;
        let url = self.bucket.get_object(keys.as_ref(), key).sign(SIGNATURE_LIFETIME);
        let (_, body) = self.send(Method::GET, &url, HeaderMap::new(), key).await?;
        Ok(body)
    }

    async fn files(&self) -> Result<Vec<(RemoteFile, Version)>, SourceError> {
        let objects = self.objects().await?;
        if let Some(digests) = self.listed_digests(&objects).await? {
            let mut by_path: HashMap<_, _> = objects
                .into_iter()
                .map(|(path, version, size)| (path, (version, size)))
                .collect();
            let files = digests.into_iter().map(|(path, digest)| {
                let (version, size) = by_path
                    .remove(&path)
                    .ok_or_else(|| invalid(format!("{SUMS} of {} lists {path}, which does not exist", self.address)))?;
                Ok((RemoteFile { path, size, digest }, version))
            });
            return files.collect();
        }
        stream::iter(objects)
            .map(|(path, version, size)| async move { self.stored_digest(&path, version, size).await })
            .buffered(MAX_HEAD_REQUESTS)
            .try_collect()
            .await
    }

    fn version(&self, file: &RemoteFile) -> Option<Version> {
        let listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        listed.get(&file.path).cloned()
    }
}

#[async_trait]
impl Source for S3 {
    async fn list(&self) -> Result<Listing, SourceError> {
        let files = self.files().await?;
        let versions = files.iter().map(|(file, version)| (file.path.clone(), version.clone()));
        *self.listed.lock().unwrap_or_else(PoisonError::into_inner) = versions.collect();
        let files: Vec<RemoteFile> = files.into_iter().map(|(file, _)| file).collect();
        Ok(Listing {
            revision: manifest_digest(&files),
            files,
        })
    }

    async fn locate(&self, _revision: &str, file: &RemoteFile) -> Result<Location, SourceError> {
        let version = self
            .version(file)
            .ok_or_else(|| SourceError::new(FailureClass::Internal, format!("{} is not in the listing", file.path)))?;
        let keys = with_retries(self.retry, || self.keys.get()).await?;
        let keys_expire = keys.as_ref().map(|(_, expires)| *expires);
        let keys = keys.map(|(keys, _)| keys);
        let mut action = self.bucket.get_object(keys.as_ref(), &version.key);
        if let Some(id) = &version.id {
            action.query_mut().insert("versionId", id.clone());
        }
        let url = action.sign(SIGNATURE_LIFETIME);
        let signature_expires = SignedDuration::try_from(SIGNATURE_LIFETIME)
            .ok()
            .and_then(|lifetime| Timestamp::now().checked_add(lifetime).ok());
        Ok(Location::Http(HttpLocation {
            url: SecretUrl::new(url),
            headers: version.etag.iter().map(|etag| (IF_MATCH, etag.clone())).collect(),
            expires: keys_expire.and_then(|expires| signature_expires.map(|signature| signature.min(expires))),
        }))
    }
}

/// The path of a key below a prefix; `None` if it is not below the prefix, or is the marker object of a folder.
fn relative<'a>(prefix: &str, key: &'a str) -> Option<&'a str> {
    if key.ends_with('/') {
        return None;
    }
    if prefix.is_empty() {
        return Some(key);
    }
    let rest = key.strip_prefix(prefix)?;
    match rest.strip_prefix('/') {
        Some(below) => Some(below),
        // The prefix is the key of this one object.
        None if rest.is_empty() => key.rsplit('/').next(),
        None => None,
    }
}

fn invalid(why: String) -> SourceError {
    SourceError::new(FailureClass::InvalidListing, why)
}

/// Reads any body as a page of a listing and as an error, for the fuzz targets.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_anything(bytes: &[u8]) {
    let (header, body) = crate::model::fuzz_input::line(bytes);
    let body = String::from_utf8_lossy(body);
    if let Ok(page) = ListObjectsV2::parse_response(&body) {
        for object in page.contents {
            let _ = relative("m", &object.key).map(FilePath::parse);
        }
    }
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(header) {
        headers.insert(HeaderName::from_static("x-amz-checksum-sha256"), value);
    }
    let _ = answers::digest(&headers);
    let error = answers::response_error(reqwest::StatusCode::BAD_REQUEST, &headers, &body, "m", true);
    assert!(
        !error.message.chars().any(char::is_control) && error.message.chars().count() < 300,
        "{error}"
    );
}

/// Reads any response with keys, for the fuzz targets.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_any_keys(bytes: &[u8]) {
    credentials::read_anything(bytes);
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("", "a/b", Some("a/b"))]
    #[case("m", "m/a/b", Some("a/b"))]
    #[case("m/a.gguf", "m/a.gguf", Some("a.gguf"))]
    #[case("m", "m2/a", None)]
    #[case("m", "m/sub/", None)]
    #[case("m", "m", Some("m"))]
    fn a_key_below_a_prefix(#[case] prefix: &str, #[case] key: &str, #[case] expected: Option<&str>) {
        assert_eq!(relative(prefix, key), expected);
    }
}
