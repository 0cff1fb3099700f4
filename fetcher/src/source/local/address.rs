//! The address of a mounted folder.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use url::Url;

/// `file:///folder`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalAddress(PathBuf);

/// Why a text is not the address of a local folder.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidLocalAddress {
    /// Not a URL.
    #[error("not a URL: {0}")]
    NotAUrl(#[from] url::ParseError),
    /// A host, or a path that is not absolute.
    #[error("file:// needs the absolute path of a folder on this machine, as in file:///srv/models")]
    NotHere,
    /// A query or a fragment.
    #[error("a folder has no query and no fragment; write ? as %3F and # as %23")]
    MoreThanAPath,
    /// The file system's root.
    #[error("the root folder contains more than a model; name the model's folder")]
    Root,
}

impl LocalAddress {
    /// The folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.0
    }
}

impl FromStr for LocalAddress {
    type Err = InvalidLocalAddress;

    fn from_str(text: &str) -> Result<Self, InvalidLocalAddress> {
        let url: Url = text.parse()?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidLocalAddress::MoreThanAPath);
        }
        let folder = url.to_file_path().map_err(|()| InvalidLocalAddress::NotHere)?;
        if folder.parent().is_none() {
            return Err(InvalidLocalAddress::Root);
        }
        // Drops a trailing slash, so that each folder has one name.
        Ok(Self(folder.components().collect()))
    }
}

impl fmt::Display for LocalAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match Url::from_file_path(&self.0) {
            Ok(url) => url.fmt(f),
            Err(()) => write!(f, "file://{}", self.0.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("file:///srv/models/llama", Ok("/srv/models/llama"))]
    #[case("file:///srv/a%20b%23/", Ok("/srv/a b#"))]
    #[case("file://localhost/srv", Ok("/srv"))]
    #[case("file:///srv/../etc", Ok("/etc"))]
    #[case("file://srv/models", Err(InvalidLocalAddress::NotHere))]
    #[case("file:///", Err(InvalidLocalAddress::Root))]
    #[case("file:///srv?a", Err(InvalidLocalAddress::MoreThanAPath))]
    #[case("file:///srv#a", Err(InvalidLocalAddress::MoreThanAPath))]
    fn an_address(#[case] text: &str, #[case] expected: Result<&str, InvalidLocalAddress>) {
        let address = text.parse::<LocalAddress>();
        let folder = address.as_ref().map(|address| address.folder().to_str().unwrap());
        assert_eq!(folder, expected.as_ref().copied());
        if let Ok(address) = &address {
            assert_eq!(address.to_string().parse::<LocalAddress>().as_ref(), Ok(address));
        }
    }
}
