//! A file's path as a source lists it, proven harmless before anything is joined to it.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Bytes of the longest path that is taken from a listing.
const LONGEST_LISTED: usize = 1024;

/// Bytes of the longest path that we wrote ourselves: a listed one, below the folders of a layout.
const LONGEST_KEPT: usize = LONGEST_LISTED + 512;

/// A relative path of plain segments, separated by `/`: it can only name something below the folder it is joined to.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FilePath(String);

/// Why a listed path must not be written.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// Nothing, or nothing between two separators.
    #[error("a segment is empty")]
    EmptySegment,
    /// `.` or `..`.
    #[error("a segment is '.' or '..'")]
    DotSegment,
    /// A leading `/`, a drive letter, a backslash or a control character.
    #[error("it is absolute, or holds a backslash, a drive letter or a control character")]
    Hostile,
    /// More than a file system takes.
    #[error("it is longer than 1024 bytes, or a segment is longer than 255")]
    TooLong,
    /// A name the published folder keeps for itself.
    #[error("'.modelcache' is reserved")]
    Reserved,
}

impl FilePath {
    /// Parses a listed path.
    pub fn parse(text: &str) -> Result<Self, InvalidPath> {
        Self::parse_within(text, LONGEST_LISTED)
    }

    fn parse_within(text: &str, longest: usize) -> Result<Self, InvalidPath> {
        if text.len() > longest {
            return Err(InvalidPath::TooLong);
        }
        // A colon further on is a host's, in the layout that Ollama keeps.
        let is_drive = text.get(1..2) == Some(":");
        if text.starts_with('/') || is_drive || text.contains('\\') || text.chars().any(char::is_control) {
            return Err(InvalidPath::Hostile);
        }
        for segment in text.split('/') {
            match segment {
                "" => return Err(InvalidPath::EmptySegment),
                "." | ".." => return Err(InvalidPath::DotSegment),
                segment if segment.len() > 255 => return Err(InvalidPath::TooLong),
                _ => {}
            }
        }
        if text.split('/').next() == Some(".modelcache") {
            return Err(InvalidPath::Reserved);
        }
        Ok(Self(text.to_owned()))
    }

    /// A path below a folder; both are made of plain segments.
    pub(crate) fn below(folder: &str, path: &str) -> Self {
        Self(format!("{folder}/{path}"))
    }

    /// The path as listed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for FilePath {
    type Error = InvalidPath;

    fn try_from(text: String) -> Result<Self, InvalidPath> {
        Self::parse_within(&text, LONGEST_KEPT)
    }
}

impl From<FilePath> for String {
    fn from(path: FilePath) -> Self {
        path.0
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
