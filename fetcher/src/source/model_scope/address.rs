//! The address of a ModelScope model.

use std::fmt;
use std::str::FromStr;

use modelcache_crds::source_defaults::DEFAULT_MODEL_SCOPE_REVISION;

/// A model and its revision: `modelscope://owner/name[@revision]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelScopeAddress {
    /// `owner/name`.
    pub repo: String,
    /// Branch or tag.
    pub revision: String,
}

/// Why a text is not the address of a ModelScope model.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidModelScopeAddress {
    /// Not `owner/name`.
    #[error("{0:?} is not a ModelScope model; give modelscope://owner/name as its web page shows it")]
    Repo(String),
    /// Not a valid git revision.
    #[error("{0:?} is not a revision; give a branch or a tag")]
    Revision(String),
}

impl FromStr for ModelScopeAddress {
    type Err = InvalidModelScopeAddress;

    fn from_str(text: &str) -> Result<Self, InvalidModelScopeAddress> {
        let rest = text.strip_prefix("modelscope://").unwrap_or(text);
        let (repo, revision) = rest.split_once('@').unwrap_or((rest, DEFAULT_MODEL_SCOPE_REVISION));
        let is_segment = |part: &str| {
            (1..=128).contains(&part.len())
                && !part.chars().all(|c| c == '.')
                && part
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'))
        };
        if repo.split('/').count() != 2 || !repo.split('/').all(is_segment) {
            return Err(InvalidModelScopeAddress::Repo(repo.to_owned()));
        }
        let is_printable = !revision.chars().any(|c| c.is_control() || c.is_whitespace());
        if !(1..=255).contains(&revision.len()) || !is_printable {
            return Err(InvalidModelScopeAddress::Revision(revision.to_owned()));
        }
        Ok(Self {
            repo: repo.to_owned(),
            revision: revision.to_owned(),
        })
    }
}

impl fmt::Display for ModelScopeAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "modelscope://{}@{}", self.repo, self.revision)
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("modelscope://Qwen/Qwen2.5-0.5B", Some("modelscope://Qwen/Qwen2.5-0.5B@master"))]
    #[case("modelscope://a/b@v1.0", Some("modelscope://a/b@v1.0"))]
    #[case("modelscope://name", None)]
    #[case("modelscope://a/b/c", None)]
    #[case("modelscope://a/..", None)]
    #[case("modelscope://a/b@", None)]
    #[case("modelscope://a/b@a b", None)]
    #[case("modelscope://a/b?x", None)]
    fn an_address(#[case] text: &str, #[case] shown: Option<&str>) {
        let address = text.parse::<ModelScopeAddress>().ok();
        assert_eq!(address.map(|address| address.to_string()).as_deref(), shown);
    }
}
