//! The CDN: signed URLs that expire, with the strict checks of an object store.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::header::{AUTHORIZATION, ETAG};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::answer::{set, xml_refusal};
use super::body;
use super::faults::{Effects, Fault};
use super::model::{StoredFile, sha256_hex};
use super::route::{encode_path, query_parameter};
use super::state::State;
use super::stats::Record;

const PREFIX: &str = "/xet-bridge-us/";
/// Key of the signatures. It need not be secret, because it only has to prevent accidental matches.
const KEY: &str = "modelcache-test-hub";

/// Form of the expiry in a signed URL.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Signing {
    /// `Expires`, in seconds since the epoch.
    #[default]
    CloudFront,
    /// `X-Amz-Date` and `X-Amz-Expires`.
    Aws4,
}

#[derive(Debug)]
pub(crate) struct Signer {
    signing: Signing,
    lifetime_seconds: i64,
    port: u16,
    /// Number of signed URLs. Each URL contains its number, so that all differ.
    signed: AtomicU64,
    /// Number of requests for each URL, by its signature.
    requests: Mutex<HashMap<String, u64>>,
}

impl Signer {
    pub(crate) fn new(signing: Signing, lifetime_seconds: i64, port: u16) -> Self {
        Self {
            signing,
            lifetime_seconds,
            port,
            signed: AtomicU64::new(0),
            requests: Mutex::default(),
        }
    }

    /// Signs a URL for GET, on the host name that the client uses for the hub.
    pub(crate) fn sign(&self, hub_host: &str, model: &str, file: &StoredFile) -> String {
        let host = hub_host.rsplit_once(':').map_or(hub_host, |(host, _)| host);
        let path = format!("{PREFIX}{}/{}", &sha256_hex(model)[..24], file.sha256);
        let name = file.path.rsplit('/').next().unwrap_or_default();
        let disposition = encode_path(&format!("inline; filename=\"{name}\"")).replace('/', "%2F");
        let now = unix_seconds();
        let time = match self.signing {
            Signing::CloudFront => format!("Expires={}", now + self.lifetime_seconds),
            Signing::Aws4 => format!(
                "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date={}&X-Amz-Expires={}&X-Amz-SignedHeaders=host",
                amazon_date(now),
                self.lifetime_seconds
            ),
        };
        let number = self.signed.fetch_add(1, Ordering::Relaxed);
        let query = format!("X-Xet-Cas-Uid=public&number={number}&response-content-disposition={disposition}&{time}");
        format!(
            "http://{host}:{}{path}?{query}&Signature={}",
            self.port,
            signature(&path, &query)
        )
    }

    /// Counts a request for a URL and returns its number of requests so far.
    fn count(&self, signature: &str) -> u64 {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let count = requests.entry(signature.to_owned()).or_default();
        *count += 1;
        *count
    }
}

fn signature(path: &str, query: &str) -> String {
    sha256_hex(&format!("{KEY}\nGET\n{path}\n{query}"))
}

/// The sha256 in a path of this CDN.
pub(crate) fn digest_in(path: &str) -> Option<&str> {
    path.strip_prefix(PREFIX)?.split_once('/').map(|(_, digest)| digest)
}

pub(crate) async fn answer(
    state: &State,
    parts: &Parts,
    effects: &Effects,
    record: &Arc<Record>,
    file: Option<Arc<StoredFile>>,
) -> Response {
    if parts.headers.contains_key(AUTHORIZATION) {
        return xml_refusal(
            StatusCode::BAD_REQUEST,
            "InvalidArgument",
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter or the Authorization header should be specified",
        );
    }
    let query = parts.uri.query().unwrap_or_default();
    let signed = query
        .rsplit_once("&Signature=")
        .filter(|(rest, given)| parts.method == Method::GET && *given == signature(parts.uri.path(), rest));
    let Some((_, signature)) = signed else {
        return xml_refusal(
            StatusCode::FORBIDDEN,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided.",
        );
    };
    let count = state.signer.count(signature);
    let is_spent = effects.find(|fault| match fault {
        Fault::ExpiredAfter { requests } => (count > *requests).then_some(()),
        _ => None,
    });
    if effects.has(&Fault::Expired) || is_spent.is_some() || expiry(query).is_none_or(|expiry| expiry <= unix_seconds())
    {
        return xml_refusal(StatusCode::FORBIDDEN, "AccessDenied", "Request has expired");
    }
    let Some(file) = file else {
        return xml_refusal(StatusCode::NOT_FOUND, "NoSuchKey", "The specified key does not exist.");
    };
    let mut response = body::answer(state, parts, effects, record, &file).await;
    // The ETag of an object store is not derived from the sha256 of the content.
    set(&mut response, ETAG, format!("\"{}\"", &sha256_hex(&file.sha256)[..32]));
    response
}

fn expiry(query: &str) -> Option<i64> {
    let number = |name| query_parameter(Some(query), name).and_then(|value| value.parse::<i64>().ok());
    number("Expires").or_else(|| {
        let date = query_parameter(Some(query), "X-Amz-Date")?;
        let start = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", &*date).ok()?;
        let start = start.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_second();
        Some(start + number("X-Amz-Expires")?)
    })
}

fn amazon_date(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .unwrap_or_default()
        .strftime("%Y%m%dT%H%M%SZ")
        .to_string()
}

fn unix_seconds() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(now.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_expiry_are_parsed() {
        assert_eq!(expiry("a=b&Expires=1781098782"), Some(1_781_098_782));
        let query = format!("X-Amz-Date={}&X-Amz-Expires=3600", amazon_date(1_700_000_000));
        assert_eq!(query, "X-Amz-Date=20231114T221320Z&X-Amz-Expires=3600");
        assert_eq!(expiry(&query), Some(1_700_003_600));
        assert_eq!(expiry("a=b"), None);
    }
}
