//! Parses S3's responses: checksums and errors. Pure.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use modelcache_crds::report::FailureClass;
use reqwest::StatusCode;
use reqwest::header::HeaderMap;

use crate::http::retry::retry_after;
use crate::model::digest::ContentDigest;
use crate::model::error::SourceError;

/// Longest quote of an error code; S3's codes are single words.
const MAX_CODE_CHARS: usize = 64;

/// The text of the first XML element with a name. For flat documents only.
pub(super) fn element(text: &str, name: &str) -> Option<String> {
    let (_, after) = text.split_once(&format!("<{name}>"))?;
    let (inner, _) = after.split_once(&format!("</{name}>"))?;
    let unescaped = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&amp;", "&"),
    ];
    Some(
        unescaped
            .iter()
            .fold(inner.trim().to_owned(), |text, (from, to)| text.replace(from, to)),
    )
}

/// Whether a body is an error document. Stores that fail after they began to respond send one with status 200.
pub(super) fn is_error(body: &str) -> bool {
    let body = body.trim_start();
    let document = match body.strip_prefix("<?xml") {
        Some(rest) => rest.split_once("?>").map_or("", |(_, document)| document),
        None => body,
    };
    document.trim_start().starts_with("<Error>")
}

/// The sha256 of a whole object; `None` for a multipart upload, whose checksum is one of its parts' checksums.
pub(super) fn digest(headers: &HeaderMap) -> Option<ContentDigest> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if header("x-amz-checksum-type").is_some_and(|kind| !kind.eq_ignore_ascii_case("FULL_OBJECT")) {
        return None;
    }
    let bytes = STANDARD.decode(header("x-amz-checksum-sha256")?).ok()?;
    Some(ContentDigest::Sha256(bytes.try_into().ok()?))
}

/// The error for a response about `what`, with advice.
pub(super) fn response_error(
    status: StatusCode,
    headers: &HeaderMap,
    body: &str,
    what: &str,
    with_keys: bool,
) -> SourceError {
    let code = element(body, "Code").unwrap_or_default();
    let (class, advice) = match (status.as_u16(), code.as_str()) {
        (_, "NoSuchBucket") => (
            FailureClass::RepositoryNotFound,
            "check the bucket, the endpoint and the region",
        ),
        // XAdminUserNotFound is versitygw's code for an unknown key, with status 404.
        (
            _,
            "InvalidAccessKeyId" | "SignatureDoesNotMatch" | "ExpiredToken" | "InvalidToken" | "XAdminUserNotFound",
        )
        | (401, _) => (
            FailureClass::AuthenticationFailed,
            "check the access key, the secret key and the session token",
        ),
        (_, "RequestTimeTooSkewed") => (
            FailureClass::SourceError,
            "this machine's clock is wrong by more than 15 minutes",
        ),
        (301 | 307, _) | (400, "AuthorizationHeaderMalformed") => (
            FailureClass::SourceError,
            "the bucket is in another region: set the region (--s3-region, AWS_REGION)",
        ),
        (403, _) if with_keys => (
            FailureClass::AccessDenied,
            "the keys may not read it (s3:ListBucket, s3:GetObject)",
        ),
        (403, _) => (
            FailureClass::AccessDenied,
            "it is not public, and no keys were given (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role)",
        ),
        (404, _) => (FailureClass::FileNotFound, "check bucket and prefix"),
        (412, _) => (
            FailureClass::SourceChanged,
            "the object was replaced while it was read: plan it again",
        ),
        (429, _) | (_, "SlowDown") => (FailureClass::RateLimited, "trying again later helps"),
        _ => (FailureClass::SourceError, "trying again may help"),
    };
    let region = headers.get("x-amz-bucket-region").and_then(|value| value.to_str().ok());
    let region = region.map(|region| format!(", which is {region}")).unwrap_or_default();
    let code: String = code.chars().take(MAX_CODE_CHARS).collect();
    let code = if code.is_empty() { code } else { format!(" {code}") };
    SourceError::new(
        class,
        format!("{what}: the server returned {status}{code}: {advice}{region}"),
    )
    .with_retry_after(retry_after(headers, Timestamp::now()))
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};
    use rstest::rstest;

    use super::*;

    const BASE64: &str = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=";
    const HEX: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[rstest]
    #[case::whole(&[("x-amz-checksum-sha256", BASE64), ("x-amz-checksum-type", "FULL_OBJECT")], Some(HEX))]
    #[case::without_a_type(&[("x-amz-checksum-sha256", BASE64)], Some(HEX))]
    #[case::of_parts(&[("x-amz-checksum-sha256", BASE64), ("x-amz-checksum-type", "COMPOSITE")], None)]
    #[case::of_parts_by_form(&[("x-amz-checksum-sha256", "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=-3")], None)]
    #[case::another_kind(&[("x-amz-checksum-crc64nvme", "AAAAAAAAAAA=")], None)]
    fn a_checksum_counts_when_it_is_of_the_whole(
        #[case] headers: &[(&'static str, &str)],
        #[case] expected: Option<&str>,
    ) {
        let headers = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()))
            .collect();
        assert_eq!(digest(&headers).map(|digest| digest.hex()).as_deref(), expected);
    }

    #[rstest]
    #[case(404, "<Error><Code>NoSuchBucket</Code></Error>", FailureClass::RepositoryNotFound)]
    #[case(
        403,
        "<Error><Code>InvalidAccessKeyId</Code></Error>",
        FailureClass::AuthenticationFailed
    )]
    #[case(
        404,
        "<Error><Code>XAdminUserNotFound</Code></Error>",
        FailureClass::AuthenticationFailed
    )]
    #[case(403, "", FailureClass::AccessDenied)]
    #[case(503, "<Error><Code>SlowDown</Code></Error>", FailureClass::RateLimited)]
    #[case(500, "", FailureClass::SourceError)]
    #[case(412, "", FailureClass::SourceChanged)]
    fn an_error_has_its_class(#[case] status: u16, #[case] body: &str, #[case] class: FailureClass) {
        let status = StatusCode::from_u16(status).unwrap();
        assert_eq!(response_error(status, &HeaderMap::new(), body, "x", true).class, class);
    }

    #[test]
    fn a_long_code_does_not_hide_the_advice() {
        let body = format!("<Code>{}</Code>", "x\n".repeat(1000));
        let error = response_error(StatusCode::FORBIDDEN, &HeaderMap::new(), &body, "x", true);
        assert!(error.message.ends_with("(s3:ListBucket, s3:GetObject)"), "{error}");
        assert!(error.message.len() < 200, "{error}");
    }

    #[rstest]
    #[case(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>SlowDown</Code></Error>",
        true
    )]
    #[case("<Error><Code>InternalError</Code></Error>", true)]
    #[case("<?xml version=\"1.0\"?><ListBucketResult></ListBucketResult>", false)]
    #[case("<?xml", false)]
    #[case("", false)]
    fn an_error_is_recognized_by_its_body(#[case] body: &str, #[case] expected: bool) {
        assert_eq!(is_error(body), expected);
    }

    #[test]
    fn an_element_is_unescaped() {
        assert_eq!(element("<a><B>x &amp;&lt; </B></a>", "B").as_deref(), Some("x &<"));
        assert_eq!(element("<a><B>x", "B"), None);
    }
}
