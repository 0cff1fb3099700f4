//! Addresses of models, and the hub's endpoint with the URLs of its API.

use std::fmt;
use std::str::FromStr;

use modelcache_crds::source_defaults::DEFAULT_HUGGING_FACE_REVISION;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use crate::model::path::FilePath;

/// The characters to encode in a path segment, as Python's `quote(text, safe="")`.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'.').remove(b'-').remove(b'~');

/// The characters to encode in a path; separators are not.
const PATH: &AsciiSet = &SEGMENT.remove(b'/');

/// A model and its revision: `hf://org/name@revision`; scheme and revision are optional.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelAddress {
    /// The repository.
    pub repo: RepoId,
    /// Branch, tag or commit.
    pub revision: Revision,
}

/// The name of a repository: `org/name`, or `name` for the hub's oldest models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepoId(String);

/// A branch, tag or commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision(String);

/// Why a text is not the address of a model.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidAddress {
    /// Another scheme than `hf`.
    #[error("the scheme {0}:// is not supported; give hf://org/name or org/name")]
    Scheme(String),
    /// Not a repository name by the hub's rules.
    #[error("{0:?} is not a repository of the hub; give org/name as its web page shows it")]
    Repo(String),
    /// Not a revision.
    #[error("{0:?} is not a revision; give a branch, a tag or a commit")]
    Revision(String),
}

impl FromStr for ModelAddress {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, InvalidAddress> {
        let rest = match text.split_once("://") {
            None | Some(("hf", _)) => text.strip_prefix("hf://").unwrap_or(text),
            Some((scheme, _)) => return Err(InvalidAddress::Scheme(scheme.to_owned())),
        };
        let (repo, revision) = rest.split_once('@').unwrap_or((rest, DEFAULT_HUGGING_FACE_REVISION));
        Ok(Self {
            repo: RepoId::parse(repo)?,
            revision: Revision::parse(revision)?,
        })
    }
}

impl RepoId {
    /// Parses a name by the hub's rules: one or two segments of `[A-Za-z0-9_.-]`, no `--` or `..`, no `.git` at the end.
    fn parse(text: &str) -> Result<Self, InvalidAddress> {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let segment = |part: &str| {
            (1..=96).contains(&part.len())
                && part.starts_with(is_word)
                && part.ends_with(is_word)
                && part.chars().all(|c| is_word(c) || c == '.' || c == '-')
        };
        let parts = text.split('/').count();
        let refused = text.contains("--") || text.contains("..") || text.split('.').next_back() == Some("git");
        if parts > 2 || refused || !text.split('/').all(segment) {
            return Err(InvalidAddress::Repo(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl Revision {
    fn parse(text: &str) -> Result<Self, InvalidAddress> {
        let is_printable = !text.chars().any(|c| c.is_control() || c.is_whitespace());
        // A URL would resolve the segments `.` and `..`.
        if text.is_empty() || text.len() > 255 || text == "." || text == ".." || !is_printable {
            return Err(InvalidAddress::Revision(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }

    /// The revision as given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RepoId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The base URL of a hub, without a trailing slash. It may have a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Url);

/// Why a text is not an endpoint.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidEndpoint {
    /// Not a URL at all.
    #[error("not a URL: {0}; give for example https://huggingface.co")]
    NotAUrl(#[from] url::ParseError),
    /// Neither http nor https.
    #[error("the scheme must be http or https")]
    Scheme,
    /// A user, a password, a query or a fragment.
    #[error("it must not contain a user, password, query or fragment; give a token with HF_TOKEN or --token-file")]
    Extras,
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    fn from_str(text: &str) -> Result<Self, InvalidEndpoint> {
        let mut url: Url = text.trim().parse()?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(InvalidEndpoint::Scheme);
        }
        let has_user = !url.username().is_empty() || url.password().is_some();
        if has_user || url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidEndpoint::Extras);
        }
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self(url))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl Endpoint {
    /// The base URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0
    }

    /// Whether this is `https://huggingface.co`, the only host for the token that `huggingface_hub` stores.
    #[must_use]
    pub fn is_the_hub(&self) -> bool {
        self.0.scheme() == "https" && self.0.host_str() == Some("huggingface.co") && self.0.port().is_none()
    }

    pub(super) fn revision(&self, repo: &RepoId, revision: &Revision) -> Url {
        let revision = utf8_percent_encode(revision.as_str(), SEGMENT);
        self.below(&format!("/api/models/{repo}/revision/{revision}"))
    }

    pub(super) fn tree(&self, repo: &RepoId, commit: &str) -> Url {
        let commit = utf8_percent_encode(commit, SEGMENT);
        let mut url = self.below(&format!("/api/models/{repo}/tree/{commit}"));
        url.set_query(Some("recursive=true&expand=false"));
        url
    }

    pub(super) fn file(&self, repo: &RepoId, commit: &str, path: &FilePath) -> Url {
        let commit = utf8_percent_encode(commit, SEGMENT);
        let path = utf8_percent_encode(path.as_str(), PATH);
        self.below(&format!("/{repo}/resolve/{commit}/{path}"))
    }

    /// The model's web page, for example to accept a licence.
    pub(super) fn page(&self, repo: &RepoId) -> Url {
        self.below(&format!("/{repo}"))
    }

    fn below(&self, path: &str) -> Url {
        let mut url = self.0.clone();
        let prefix = self.0.path().trim_end_matches('/');
        // The path is encoded already; `set_path` keeps percent signs.
        url.set_path(&format!("{prefix}{path}"));
        url
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("hf://org/name", Some(("org/name", "main")))]
    #[case("org/name", Some(("org/name", "main")))]
    #[case("hf://gpt2", Some(("gpt2", "main")))]
    #[case("hf://org/na.me-1@v1.0", Some(("org/na.me-1", "v1.0")))]
    #[case("hf://org/name@refs/pr/3", Some(("org/name", "refs/pr/3")))]
    #[case("s3://bucket/x", None)]
    #[case("https://huggingface.co/org/name", None)]
    #[case("hf://a/b/c", None)]
    #[case("hf://", None)]
    #[case("hf:///name", None)]
    #[case("hf://org/a--b", None)]
    #[case("hf://org/../x", None)]
    #[case("hf://org/name.git", None)]
    #[case("hf://org/name@", None)]
    #[case("hf://org/name@..", None)]
    #[case("hf://org/name@a b", None)]
    #[case("org/na me", None)]
    fn an_address(#[case] text: &str, #[case] expected: Option<(&str, &str)>) {
        let address = text.parse::<ModelAddress>().ok();
        let parts = address.as_ref().map(|a| (a.repo.0.as_str(), a.revision.as_str()));
        assert_eq!(parts, expected);
    }

    #[rstest]
    #[case("https://huggingface.co", "https://huggingface.co")]
    #[case("https://huggingface.co/", "https://huggingface.co")]
    #[case("http://mirror:8080/hf//", "http://mirror:8080/hf")]
    fn an_endpoint_keeps_its_path_and_no_trailing_slash(#[case] text: &str, #[case] shown: &str) {
        assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), shown);
    }

    #[rstest]
    #[case("huggingface.co")]
    #[case("ftp://mirror")]
    #[case("https://user:token@mirror")]
    #[case("https://mirror?x=1")]
    fn text_that_is_not_an_endpoint_is_refused(#[case] text: &str) {
        assert!(text.parse::<Endpoint>().is_err());
    }

    #[test]
    fn urls_are_quoted_as_the_hubs_own_client_quotes_them() {
        let endpoint: Endpoint = "https://mirror/hf/".parse().unwrap();
        let address: ModelAddress = "org/name@refs/pr/3".parse().unwrap();
        let path = FilePath::parse("sub dir/a+b%2e#?.bin").unwrap();
        assert_eq!(
            endpoint.revision(&address.repo, &address.revision).as_str(),
            "https://mirror/hf/api/models/org/name/revision/refs%2Fpr%2F3"
        );
        assert_eq!(
            endpoint.tree(&address.repo, "abc").as_str(),
            "https://mirror/hf/api/models/org/name/tree/abc?recursive=true&expand=false"
        );
        assert_eq!(
            endpoint.file(&address.repo, "abc", &path).as_str(),
            "https://mirror/hf/org/name/resolve/abc/sub%20dir/a%2Bb%252e%23%3F.bin"
        );
    }
}
