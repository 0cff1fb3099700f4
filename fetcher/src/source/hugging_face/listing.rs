//! Parses the hub's responses about a revision and its files. Pure.

use modelcache_crds::report::FailureClass;
use reqwest::header::{HeaderMap, LINK};
use serde::Deserialize;
use url::Url;

use super::address::RepoId;
use crate::model::digest::ContentDigest;
use crate::model::error::SourceError;
use crate::model::path::FilePath;
use crate::model::remote_file::RemoteFile;

/// The response for a revision; other fields are ignored.
#[derive(Deserialize, Debug)]
pub(super) struct RevisionInfo {
    sha: String,
}

/// An entry of the tree.
#[derive(Deserialize, Debug)]
pub(super) struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    oid: Option<String>,
    #[serde(default)]
    lfs: Option<Lfs>,
}

/// The part of an entry for files whose content is not in git itself.
#[derive(Deserialize, Debug)]
struct Lfs {
    oid: String,
    size: u64,
}

/// The commit that the revision resolves to.
pub(super) fn commit(info: RevisionInfo) -> Result<String, SourceError> {
    let is_commit = info.sha.len() == 40 && info.sha.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if is_commit {
        return Ok(info.sha);
    }
    Err(SourceError::new(
        FailureClass::SourceError,
        format!(
            "the hub resolves the revision to {:?}, which is not a commit; the endpoint is not a hub, or is broken",
            info.sha.chars().take(64).collect::<String>()
        ),
    ))
}

/// The file of an entry; `None` for a folder.
pub(super) fn remote_file(entry: &Entry, repo: &RepoId, page: &Url) -> Result<Option<RemoteFile>, SourceError> {
    if entry.kind != "file" {
        return Ok(None);
    }
    let path = FilePath::parse(&entry.path).map_err(|error| {
        SourceError::new(
            FailureClass::InvalidListing,
            format!(
                "the listing of {repo} contains the unsafe path {:?}: {error}",
                entry.path
            ),
        )
    })?;
    let (size, oid, digest) = if let Some(lfs) = &entry.lfs {
        let hex = lfs.oid.strip_prefix("sha256:").unwrap_or(&lfs.oid);
        (lfs.size, hex, ContentDigest::sha256_from_hex(hex))
    } else {
        let hex = entry.oid.as_deref().unwrap_or_default();
        (entry.size, hex, ContentDigest::git_sha1_from_hex(hex))
    };
    match digest {
        Ok(digest) => Ok(Some(RemoteFile { path, size, digest })),
        // The hub masks the digests for users without access.
        Err(_) if !oid.is_empty() && oid.bytes().all(|b| b == b'*') => Err(SourceError::new(
            FailureClass::AccessDenied,
            format!(
                "{repo} is gated, and the hub hides the digests of its files: accept its terms at {page}, and give a \
                 token of that account (tokenSecretRef, HF_TOKEN)"
            ),
        )),
        Err(_) => Err(SourceError::new(
            FailureClass::InvalidListing,
            format!("the listing of {repo} has no usable digest for {path}; without one its bytes cannot be verified"),
        )),
    }
}

/// The URL of the listing's next page. On another host it is an error, since the token is sent along.
///
/// Mirrors pass on the hub's URL, without their own host and path. If it names the same listing, the next page is
/// requested where the current one came from.
pub(super) fn next_page(headers: &HeaderMap, current: &Url) -> Result<Option<Url>, SourceError> {
    let Some(target) = headers
        .get_all(LINK)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .find_map(target_of_next)
    else {
        return Ok(None);
    };
    match current.join(target) {
        Ok(next) if is_same_listing(&next, current) => {
            let mut here = current.clone();
            here.set_query(next.query());
            Ok(Some(here))
        }
        Ok(next) if next.origin() == current.origin() => Ok(Some(next)),
        _ => Err(SourceError::new(
            FailureClass::SourceError,
            format!(
                "the listing continues on another host than {}; the endpoint is a broken mirror: use another one",
                current.host_str().unwrap_or_default()
            ),
        )),
    }
}

/// Whether a URL names the same listing as the current page, on any host and below any path.
fn is_same_listing(next: &Url, current: &Url) -> bool {
    let path = next.path().trim_end_matches('/');
    path.starts_with("/api/") && current.path().trim_end_matches('/').ends_with(path)
}

/// The URL in `Link: <url>; rel="next"`. The header may have other links and relations too.
fn target_of_next(value: &str) -> Option<&str> {
    let mut rest = value;
    loop {
        let (_, after) = rest.split_once('<')?;
        let (target, after) = after.split_once('>')?;
        // Split at the next bracket rather than at a comma, which may be part of a URL.
        let (parameters, next) = after.split_at(after.find('<').unwrap_or(after.len()));
        let is_next = parameters.split([';', ',']).any(|parameter| {
            let (name, value) = parameter.split_once('=').unwrap_or_default();
            let relations = value.trim().trim_matches('"');
            name.trim().eq_ignore_ascii_case("rel")
                && relations
                    .split_ascii_whitespace()
                    .any(|r| r.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(target);
        }
        rest = next;
    }
}

/// Reads the first line as a `Link` header and the rest as a hub's responses, for the fuzz targets.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_anything(bytes: &[u8]) {
    let (link, body) = crate::model::fuzz_input::line(bytes);
    if let Ok(link) = reqwest::header::HeaderValue::from_bytes(link)
        && let Ok(page) = Url::parse("https://hub.example/org/name")
    {
        let headers = HeaderMap::from_iter([(LINK, link)]);
        let next = next_page(&headers, &page).ok().flatten();
        assert!(next.is_none_or(|next| next.origin() == page.origin()));
        if let (Ok(entries), Ok(model)) = (
            serde_json::from_slice::<Vec<Entry>>(body),
            "org/name".parse::<super::ModelAddress>(),
        ) {
            for entry in &entries {
                let _ = remote_file(entry, &model.repo, &page);
            }
        }
    }
    if let Ok(info) = serde_json::from_slice::<RevisionInfo>(body) {
        let _ = commit(info);
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;
    use rstest::rstest;

    use super::*;
    use crate::source::hugging_face::ModelAddress;

    const SHA256: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";
    const SHA1: &str = "b45ef6fec89518d314f546fd6c3025367b721684";

    fn parse(json: &str) -> Result<Option<RemoteFile>, SourceError> {
        let address: ModelAddress = "org/name".parse().unwrap();
        let page = "https://hub/org/name".parse().unwrap();
        remote_file(&serde_json::from_str(json).unwrap(), &address.repo, &page)
    }

    #[test]
    fn an_lfs_file_has_a_sha256_and_the_size_of_its_content() {
        let json = format!(
            r#"{{"type":"file","oid":"{SHA1}","size":135,"path":"a/m.safetensors",
                "lfs":{{"oid":"{SHA256}","size":90868376,"pointerSize":135}},"xetHash":"x"}}"#
        );
        let file = parse(&json).unwrap().unwrap();
        assert_eq!((file.path.as_str(), file.size), ("a/m.safetensors", 90_868_376));
        assert_eq!(file.digest.to_string(), format!("sha256:{SHA256}"));
    }

    #[test]
    fn a_file_in_git_has_its_blob_id_as_digest() {
        let json = format!(r#"{{"type":"file","oid":"{SHA1}","size":13,"path":"config.json","lfs":null}}"#);
        assert_eq!(
            parse(&json).unwrap().unwrap().digest.to_string(),
            format!("git-sha1:{SHA1}")
        );
    }

    #[test]
    fn a_folder_is_not_listed_as_a_file() {
        let json = format!(r#"{{"type":"directory","oid":"{SHA1}","size":0,"path":"sub"}}"#);
        assert_eq!(parse(&json).unwrap(), None);
    }

    #[rstest]
    #[case::masked(r#"{"type":"file","size":1,"path":"a","lfs":{"oid":"****************************************************************","size":1}}"#, FailureClass::AccessDenied, "https://hub/org/name")]
    #[case::no_digest(
        r#"{"type":"file","size":1,"path":"a"}"#,
        FailureClass::InvalidListing,
        "no usable digest for a"
    )]
    #[case::short_digest(
        r#"{"type":"file","size":1,"path":"a","oid":"abc"}"#,
        FailureClass::InvalidListing,
        "no usable digest for a"
    )]
    #[case::upwards(
        r#"{"type":"file","size":1,"path":"../a","oid":"abc"}"#,
        FailureClass::InvalidListing,
        "\"../a\""
    )]
    #[case::absolute(
        r#"{"type":"file","size":1,"path":"/etc/passwd","oid":"abc"}"#,
        FailureClass::InvalidListing,
        "/etc/passwd"
    )]
    fn a_hostile_or_useless_entry_is_refused(#[case] json: &str, #[case] class: FailureClass, #[case] expected: &str) {
        let error = parse(json).unwrap_err();
        assert_eq!(error.class, class);
        assert!(error.message.contains(expected), "{error}");
    }

    #[rstest]
    #[case(SHA1, true)]
    #[case("main", false)]
    #[case(SHA256, false)]
    #[case("../../x", false)]
    fn only_a_commit_is_accepted_as_one(#[case] sha: &str, #[case] is_commit: bool) {
        assert_eq!(commit(RevisionInfo { sha: sha.to_owned() }).is_ok(), is_commit);
    }

    #[rstest]
    #[case(
        r#"<https://hub/x?cursor=a%3D&limit=1>; rel="next""#,
        Ok(Some("https://hub/x?cursor=a%3D&limit=1"))
    )]
    #[case("</x?cursor=a>; rel=next", Ok(Some("https://hub/x?cursor=a")))]
    #[case(
        r#"<https://hub/token>; rel="xet-auth", <https://hub/a,b>; title="t"; rel="prev next""#,
        Ok(Some("https://hub/a,b"))
    )]
    #[case(r#"<https://hub/token>; rel="xet-auth""#, Ok(None))]
    #[case("nonsense", Ok(None))]
    #[case(r#"<https://other/x>; rel="next""#, Err(()))]
    #[case(r#"<http://hub/x>; rel="next""#, Err(()))]
    #[case::of_the_hub_behind_a_mirror(
        r#"<https://huggingface.co/api/tree?cursor=a>; rel="next""#,
        Ok(Some("https://hub/hf/api/tree?cursor=a"))
    )]
    #[case::as_olah_asks_the_hub(
        r#"<http://hub:8090/api/tree/?cursor=a>; rel="next""#,
        Ok(Some("https://hub/hf/api/tree?cursor=a"))
    )]
    #[case::without_the_path_of_the_mirror(
        r#"</api/tree?cursor=a>; rel="next""#,
        Ok(Some("https://hub/hf/api/tree?cursor=a"))
    )]
    #[case::of_another_listing(r#"<https://huggingface.co/api/other?cursor=a>; rel="next""#, Err(()))]
    fn the_next_page(#[case] link: &'static str, #[case] expected: Result<Option<&str>, ()>) {
        let headers = HeaderMap::from_iter([(LINK, HeaderValue::from_static(link))]);
        let next = next_page(&headers, &"https://hub/hf/api/tree".parse().unwrap());
        assert_eq!(
            next.map(|url| url.map(String::from)).map_err(|_| ()),
            expected.map(|url| url.map(str::to_owned))
        );
    }
}
