//! What the hub says of one file: whether it is still the listed one, and where its bytes are. Pure.

use std::path::Path;

use modelcache_crds::report::FailureClass;
use reqwest::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, LOCATION};
use url::Url;

use crate::http::redact::SecretUrl;
use crate::model::digest::ContentDigest;
use crate::model::error::SourceError;
use crate::model::remote_file::RemoteFile;

/// Where a redirect goes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Hop {
    /// The same host, scheme and port: it may see what this one saw.
    Same(Url),
    /// Another one: it may see nothing.
    Other(Url),
}

/// Where an answer redirects to. Encrypted addresses are not left for open ones.
///
/// `below`: the path that the endpoint lies below. Proxies hand on what the hub wrote, which knows nothing of it.
pub(super) fn hop(from: &Url, below: &str, headers: &HeaderMap) -> Result<Hop, SourceError> {
    let refused = |what: String| {
        let from = SecretUrl::new(from.clone());
        SourceError::new(
            FailureClass::SourceError,
            format!("{from} redirects {what}; the hub or mirror is broken"),
        )
    };
    let target = headers.get(LOCATION).and_then(|value| value.to_str().ok());
    let target = target.ok_or_else(|| refused("without saying where to".to_owned()))?;
    let below = below.trim_end_matches('/');
    let is_of_the_hub = target.starts_with("/api/") && !target.starts_with(&format!("{below}/"));
    let target = if is_of_the_hub {
        format!("{below}{target}")
    } else {
        target.to_owned()
    };
    let next = from
        .join(&target)
        .map_err(|_| refused("to what is no address".to_owned()))?;
    match (from.scheme(), next.scheme()) {
        (_, "https") | ("http", "http") => {}
        _ => {
            let next = SecretUrl::new(next);
            return Err(refused(format!(
                "to {next}, which is not encrypted, and that is refused"
            )));
        }
    }
    Ok(if next.origin() == from.origin() {
        Hop::Same(next)
    } else {
        Hop::Other(next)
    })
}

/// Refuses an answer that speaks of another commit, other bytes or another size than were listed.
///
/// `is_redirect`: the plain headers of a redirect speak of the redirect.
pub(super) fn check(
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
            format!("the hub no longer serves the listed {path}: {what}; plan it anew, or use another endpoint"),
        ))
    };
    if let Some(answered) = header("x-repo-commit").filter(|answered| *answered != commit) {
        return changed(format!(
            "commit {commit} was asked for, it answers for {}",
            short(answered)
        ));
    }
    let linked = header("x-linked-etag");
    let etag = linked.or_else(|| header(ETAG.as_str()).filter(|_| !is_redirect));
    // A tag that is no digest, or of another kind, says nothing: the bytes themselves are hashed in any case.
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
                "the hub answers a web page instead of {}; a proxy or login page may be in between",
                file.path
            ),
        ));
    }
    let is_plain = header(CONTENT_ENCODING.as_str()).is_none_or(|encoding| encoding.eq_ignore_ascii_case("identity"));
    let size = header("x-linked-size").or_else(|| {
        // Some proxies answer every HEAD with a length of nought.
        let length = header(CONTENT_LENGTH.as_str()).filter(|length| *length != "0");
        length.filter(|_| !is_redirect && is_plain)
    });
    match size.and_then(|size| size.parse::<u64>().ok()) {
        Some(size) if size != file.size => changed(format!("listed with {} bytes, served with {size}", file.size)),
        _ => Ok(()),
    }
}

/// The digest in an entity tag, where it is one of the kind that was listed.
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

/// Reads what a hub says of a file; for the fuzz targets. No other size or digest than the listed one is taken, nothing
/// that was encrypted goes on in the open, and only the same host is taken for it.
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
            if check(headers, is_redirect, "b45ef6fec89518d314f546fd6c3025367b721684", &file).is_err() {
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
        match hop(&from, below, headers) {
            Ok(Hop::Same(next)) => assert_eq!(next.origin(), from.origin()),
            Ok(Hop::Other(next)) => {
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
    #[case::a_tag_that_is_no_digest(&[("etag", "\"5d41402a-12\"")], false, None)]
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
        let result = check(&headers(all), is_redirect, COMMIT, &file());
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
        let answer = headers(&[("location", to)]);
        let hop = hop(&from.parse().unwrap(), "/hf", &answer).ok();
        let expected = expected.map(|expected| match expected {
            Ok(url) => Hop::Same(url.parse().unwrap()),
            Err(url) => Hop::Other(url.parse().unwrap()),
        });
        assert_eq!(hop, expected);
    }
}
