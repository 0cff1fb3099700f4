//! The name of an image: registry, repository, and tag or digest.

use std::fmt;

use modelcache_crds::source_defaults::DEFAULT_TAG;
use url::Url;

/// A tag, or the digest of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) enum Reference {
    /// A tag, which may move.
    Tag(String),
    /// `sha256:` and 64 hex digits.
    Digest(String),
}

/// A repository in a registry, with a tag or digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct ImageName {
    /// Host, and port if any.
    registry: String,
    repository: String,
    reference: Reference,
    /// Base URL of the registry; with http for a registry without TLS.
    root: Url,
}

/// Why a text is not an image name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidImageName {
    /// No host before the first slash.
    #[error("{0:?} does not name a registry; give for example ghcr.io/org/model:tag")]
    Registry(String),
    /// Not a repository by the specification's rules.
    #[error("{0:?} is not a repository: use lower-case letters and digits, . _ - between them, and / between parts")]
    Repository(String),
    /// Not a tag by the specification's rules.
    #[error("{0:?} is not a tag: use letters, digits and . _ -, at most 128 characters")]
    Tag(String),
    /// Not a sha256 digest.
    #[error("{0:?} is not a digest: give sha256: and 64 lower-case hex digits")]
    Digest(String),
}

impl ImageName {
    /// Parses `registry/repository[:tag][@digest]`; a digest overrides the tag.
    pub(in crate::source) fn parse(text: &str, plain_http: bool) -> Result<Self, InvalidImageName> {
        let (registry, rest) = text
            .split_once('/')
            .ok_or_else(|| InvalidImageName::Registry(text.to_owned()))?;
        Self::of(registry, rest, plain_http)
    }

    /// Parses `repository[:tag][@digest]` in a given registry.
    pub(in crate::source) fn of(registry: &str, rest: &str, plain_http: bool) -> Result<Self, InvalidImageName> {
        let invalid_registry = || InvalidImageName::Registry(registry.to_owned());
        let is_host = registry
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']'));
        if registry.is_empty() || !is_host {
            return Err(invalid_registry());
        }
        let (rest, digest) = match rest.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest)),
            None => (rest, None),
        };
        let (repository, tag) = rest.split_once(':').unwrap_or((rest, DEFAULT_TAG));
        if !is_repository(repository) {
            return Err(InvalidImageName::Repository(repository.to_owned()));
        }
        if !is_tag(tag) {
            return Err(InvalidImageName::Tag(tag.to_owned()));
        }
        let reference = match digest {
            Some(digest) if is_digest(digest) => Reference::Digest(digest.to_owned()),
            Some(digest) => return Err(InvalidImageName::Digest(digest.to_owned())),
            None => Reference::Tag(tag.to_owned()),
        };
        let is_docker_hub = matches!(registry, "docker.io" | "index.docker.io");
        let (registry, repository) = match (is_docker_hub, repository.contains('/')) {
            (true, true) => ("registry-1.docker.io", repository.to_owned()),
            (true, false) => ("registry-1.docker.io", format!("library/{repository}")),
            (false, _) => (registry, repository.to_owned()),
        };
        let scheme = if plain_http { "http" } else { "https" };
        Ok(Self {
            root: Url::parse(&format!("{scheme}://{registry}")).map_err(|_| invalid_registry())?,
            registry: registry.to_owned(),
            repository,
            reference,
        })
    }

    pub(in crate::source) fn registry(&self) -> &str {
        &self.registry
    }

    pub(in crate::source) fn repository(&self) -> &str {
        &self.repository
    }

    pub(in crate::source) fn reference(&self) -> &Reference {
        &self.reference
    }

    pub(in crate::source) fn is_plain_http(&self) -> bool {
        self.root.scheme() == "http"
    }

    /// A URL of the registry's API, below this repository.
    pub(super) fn url(&self, what: &str) -> Url {
        let mut url = self.root.clone();
        url.set_path(&format!("/v2/{}/{what}", self.repository));
        url
    }
}

impl fmt::Display for ImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let separator = match self.reference {
            Reference::Tag(_) => ':',
            Reference::Digest(_) => '@',
        };
        write!(f, "{}/{}{separator}{}", self.registry, self.repository, self.reference)
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Tag(text) | Self::Digest(text)) = self;
        f.write_str(text)
    }
}

/// Whether a text is a repository by the distribution specification; allows upper case, as Ollama does.
fn is_repository(text: &str) -> bool {
    let is_part = |part: &str| {
        let is_word = |c: char| c.is_ascii_alphanumeric();
        part.starts_with(is_word)
            && part.ends_with(is_word)
            && !part.contains("..")
            && part.chars().all(|c| is_word(c) || matches!(c, '.' | '_' | '-'))
    };
    text.len() <= 255 && text.split('/').all(is_part)
}

fn is_tag(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (1..=128).contains(&text.len())
        && text.starts_with(is_word)
        && text.chars().all(|c| is_word(c) || matches!(c, '.' | '-'))
}

pub(super) fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:")
        .is_some_and(|hex| hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const DIGEST: &str = "sha256:53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";

    #[rstest]
    #[case("ghcr.io/org/model:v1", Some("https://ghcr.io/v2/org/model/manifests/v1"))]
    #[case("ghcr.io/model", Some("https://ghcr.io/v2/model/manifests/latest"))]
    #[case("host:5000/a/b/c@$D", Some("https://host:5000/v2/a/b/c/manifests/$D"))]
    #[case("[::1]:5000/a", Some("https://[::1]:5000/v2/a/manifests/latest"))]
    #[case("host/a:v1@$D", Some("https://host/v2/a/manifests/$D"))]
    #[case(
        "docker.io/redis",
        Some("https://registry-1.docker.io/v2/library/redis/manifests/latest")
    )]
    #[case("model", None)]
    #[case("host/../a", None)]
    #[case("host/a/", None)]
    #[case("user@host/a", None)]
    #[case("ho st/a", None)]
    #[case("host/a?x", None)]
    #[case("host/a:", None)]
    #[case("host/a:.v", None)]
    #[case("host/a@sha256:12", None)]
    #[case("host/a@md5:$D", None)]
    fn a_name(#[case] text: &str, #[case] url: Option<&str>) {
        let name = ImageName::parse(&text.replace("$D", DIGEST), false).ok();
        let shown = name.map(|name| name.url(&format!("manifests/{}", name.reference())).to_string());
        assert_eq!(shown, url.map(|url| url.replace("$D", DIGEST)));
    }
}
