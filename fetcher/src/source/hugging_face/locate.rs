//! Reads the hub's headers for one file: whether it is still the listed one, and where its bytes are. Pure.

use std::path::Path;

use modelcache_crds::report::FailureClass;
use reqwest::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, LOCATION};
use url::Url;

use crate::http::redact::SecretUrl;
use crate::model::digest::ContentDigest;
use crate::model::error::SourceError;
use crate::model::remote_file::RemoteFile;

/// The target of a redirect.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RedirectTarget {
    /// The same scheme, host and port; it may see the token.
    SameOrigin(Url),
    /// Another origin; it must not see the token.
    OtherOrigin(Url),
}

/// The target of a redirect response. A redirect from https to http is an error.
///
/// `below`: the path of the endpoint. Proxies pass on the hub's own paths, which lack it.
pub(super) fn redirect_target(from: &Url, below: &str, headers: &HeaderMap) -> Result<RedirectTarget, SourceError> {
    let broken_redirect = |what: String| {
        let from = SecretUrl::new(from.clone());
        SourceError::new(
            FailureClass::SourceError,
            format!("{from} redirects {what}; the hub or mirror is broken"),
        )
    };
    let target = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let target = target.ok_or_else(|| broken_redirect("without a Location".to_owned()))?;
    let below = below.trim_end_matches('/');
    let is_of_the_hub = target.starts_with("/api/") && !target.starts_with(&format!("{below}/"));
    let target = if is_of_the_hub {
        format!("{below}{target}")
    } else {
        target.to_owned()
    };
    let next = from
        .join(&target)
        .map_err(|_| broken_redirect("to an invalid URL".to_owned()))?;
    match (from.scheme(), next.scheme()) {
        (_, "https") | ("http", "http") => {}
        _ => {
            let next = SecretUrl::new(next);
            return Err(broken_redirect(format!("to {next}, which is not encrypted")));
        }
    }
    Ok(if next.origin() == from.origin() {
        RedirectTarget::SameOrigin(next)
    } else {
        RedirectTarget::OtherOrigin(next)
    })
}

/// Fails if a response is for another commit, digest or size than listed.
///
/// `is_redirect`: the plain `ETag` and `Content-Length` of a redirect describe the redirect, not the file.
pub(super) fn check_unchanged(
    headers: &HeaderMap,
    is_redirect: bool,
    commit: &str,
    file: &RemoteFile,
) -> Result<(), SourceError> {
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let changed = |what: String| {
        let path = &file.path;
        Err(SourceError::new(
            FailureClass::SourceChanged,
            format!("the hub no longer serves the listed {path}: {what}; plan it again, or use another endpoint"),
        ))
    };
    if let Some(served) = header("x-repo-commit").filter(|served| *served != commit) {
        return changed(format!("requested at commit {commit}, served at {}", short(served)));
    }
    let linked = header("x-linked-etag");
    let etag = linked.or_else(|| header(ETAG.as_str()).filter(|_| !is_redirect));
    // A tag that is not a digest of the listed kind is ignored: the bytes are hashed in any case.
    if let Some(digest) = etag
        .and_then(|etag| digest_of(etag, &file.digest))
        .filter(|digest| *digest != file.digest)
    {
        return changed(format!("listed with {}, served with {digest}", file.digest));
    }
    if !is_redirect && is_web_page(headers, file) {
        return Err(SourceError::new(
            FailureClass::SourceError,
            format!(
                "the hub returned a web page instead of {}; a proxy or login page may be in between",
                file.path
            ),
        ));
    }
    let is_plain = header(CONTENT_ENCODING.as_str()).is_none_or(|encoding| encoding.eq_ignore_ascii_case("identity"));
    let size = header("x-linked-size").or_else(|| {
        // Some proxies send Content-Length 0 for every HEAD.
        let length = header(CONTENT_LENGTH.as_str()).filter(|length| *length != "0");
        length.filter(|_| !is_redirect && is_plain)
    });
    match size.and_then(|size| size.parse::<u64>().ok()) {
        Some(size) if size != file.size => changed(format!("listed with {} bytes, served with {size}", file.size)),
        _ => Ok(()),
    }
}

/// The digest in an entity tag; `None` if it is not of the listed digest's kind.
fn digest_of(etag: &str, listed: &ContentDigest) -> Option<ContentDigest> {
    let hex = etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"');
    match listed {
        ContentDigest::Sha256(_) => ContentDigest::sha256_from_hex(hex).ok(),
        ContentDigest::GitSha1(_) => ContentDigest::git_sha1_from_hex(hex).ok(),
    }
}

fn is_web_page(headers: &HeaderMap, file: &RemoteFile) -> bool {
    let content_type = headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let extension = Path::new(file.path.as_str()).extension();
    content_type.starts_with("text/html") && extension.is_none_or(|extension| extension != "html" && extension != "htm")
}

fn short(text: &str) -> String {
    text.chars().take(64).collect()
}

/// Reads any headers for a file, for the fuzz targets.
///
/// Asserts that other sizes and digests than the listed ones fail, that https stays https, and that origins are compared
/// correctly.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_anything(headers: &HeaderMap) {
    let Ok(path) = crate::model::path::FilePath::parse("config.json") else {
        return;
    };
    let sha256 = ContentDigest::Sha256([0xab; 32]);
    for digest in [sha256, ContentDigest::GitSha1([0xab; 20])] {
        let file = RemoteFile {
            path: path.clone(),
            size: 3,
            digest,
        };
        for is_redirect in [false, true] {
            if check_unchanged(headers, is_redirect, "b45ef6fec89518d314f546fd6c3025367b721684", &file).is_err() {
                continue;
            }
            let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
            let size = header("x-linked-size").and_then(|size| size.parse::<u64>().ok());
            assert!(size.is_none_or(|size| size == file.size));
            let linked = header("x-linked-etag").map(|etag| etag.trim_matches('"'));
            let linked = linked.and_then(|hex| ContentDigest::sha256_from_hex(hex).ok());
            assert!(linked.is_none_or(|linked| linked == digest || digest != sha256));
        }
    }
    for (from, below) in [
        ("https://hub/hf/a", "/hf"),
        ("https://hub:8443/a", "/"),
        ("http://hub/a", ""),
    ] {
        let Ok(from) = from.parse::<Url>() else {
            continue;
        };
        match redirect_target(&from, below, headers) {
            Ok(RedirectTarget::SameOrigin(next)) => assert_eq!(next.origin(), from.origin()),
            Ok(RedirectTarget::OtherOrigin(next)) => {
                assert!(next.origin() != from.origin());
                assert!(next.scheme() == "https" || (from.scheme(), next.scheme()) == ("http", "http"));
            }
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;
    use reqwest::header::{HeaderName, HeaderValue};
    use rstest::rstest;

    use super::*;
    use crate::model::path::FilePath;

    const COMMIT: &str = "b45ef6fec89518d314f546fd6c3025367b721684";
    const SHA256: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";
    const OTHER: &str = "63aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";

    fn headers(all: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            let value = value
                .replace("$COMMIT", COMMIT)
                .replace("$SHA256", SHA256)
                .replace("$OTHER", OTHER);
            (HeaderName::from_static(name), HeaderValue::from_str(&value).unwrap())
        };
        all.iter().map(pair).collect()
    }

    fn file() -> RemoteFile {
        RemoteFile {
            path: FilePath::parse("m.safetensors").unwrap(),
            size: 1000,
            digest: ContentDigest::sha256_from_hex(SHA256).unwrap(),
        }
    }

    #[rstest]
    #[case::nothing_said(&[], true, None)]
    #[case::all_right(&[("x-repo-commit", "$COMMIT"), ("x-linked-etag", "\"$SHA256\""), ("x-linked-size", "1000")], true, None)]
    #[case::another_commit(&[("x-repo-commit", "$OTHER")], true, Some(FailureClass::SourceChanged))]
    #[case::another_digest(&[("x-linked-etag", "\"$OTHER\"")], true, Some(FailureClass::SourceChanged))]
    #[case::another_digest_in_a_weak_tag(&[("etag", "W/\"$OTHER\"")], false, Some(FailureClass::SourceChanged))]
    #[case::the_tag_of_the_redirect_itself(&[("etag", "$OTHER")], true, None)]
    #[case::the_linked_tag_counts(&[("x-linked-etag", "$SHA256"), ("etag", "$OTHER")], false, None)]
    #[case::a_tag_of_another_kind(&[("etag", "$COMMIT")], false, None)]
    #[case::a_tag_that_is_not_a_digest(&[("etag", "\"5d41402a-12\"")], false, None)]
    #[case::another_size(&[("x-linked-size", "999")], true, Some(FailureClass::SourceChanged))]
    #[case::another_length(&[("content-length", "999")], false, Some(FailureClass::SourceChanged))]
    #[case::the_length_of_the_redirect(&[("content-length", "999")], true, None)]
    #[case::a_compressed_length(&[("content-length", "999"), ("content-encoding", "gzip")], false, None)]
    #[case::a_proxy_without_lengths(&[("content-length", "0")], false, None)]
    #[case::a_login_page(&[("content-type", "text/html; charset=utf-8"), ("content-length", "999")], false, Some(FailureClass::SourceError))]
    fn an_answer(
        #[case] all: &[(&'static str, &str)],
        #[case] is_redirect: bool,
        #[case] refused: Option<FailureClass>,
    ) {
        let result = check_unchanged(&headers(all), is_redirect, COMMIT, &file());
        assert_eq!(result.err().map(|error| error.class), refused);
    }

    #[rstest]
    #[case::relative_keeps_its_query(
        "https://hub/hf/a",
        "/hf/api/resolve-cache/x?etag=%22a%22",
        Some(Ok("https://hub/hf/api/resolve-cache/x?etag=%22a%22"))
    )]
    #[case::the_hubs_own_path_behind_a_proxy(
        "https://hub/hf/a",
        "/api/resolve-cache/x?etag=%22a%22",
        Some(Ok("https://hub/hf/api/resolve-cache/x?etag=%22a%22"))
    )]
    #[case::another_host("https://hub/a", "https://cdn/x?Signature=s", Some(Err("https://cdn/x?Signature=s")))]
    #[case::another_port("http://hub:1/a", "http://hub:2/x", Some(Err("http://hub:2/x")))]
    #[case::encrypted_from_here("http://hub/a", "https://hub/x", Some(Err("https://hub/x")))]
    #[case::no_longer_encrypted("https://hub/a", "http://hub/x", None)]
    #[case::a_file("https://hub/a", "file:///etc/passwd", None)]
    #[case::nonsense("https://hub/a", "https://", None)]
    fn a_redirect(#[case] from: &str, #[case] to: &'static str, #[case] expected: Option<Result<&str, &str>>) {
        let response = headers(&[("location", to)]);
        let target = redirect_target(&from.parse().unwrap(), "/hf", &response).ok();
        let expected = expected.map(|expected| match expected {
            Ok(url) => RedirectTarget::SameOrigin(url.parse().unwrap()),
            Err(url) => RedirectTarget::OtherOrigin(url.parse().unwrap()),
        });
        assert_eq!(target, expected);
    }
}
