//! A file's path as a source lists it, checked before it is joined to a folder.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest path that a listing may hold.
const MAX_LISTED_PATH_BYTES: usize = 1024;

/// Longest path that our own manifests may hold: a listed one, below the folders of a layout.
const MAX_STORED_PATH_BYTES: usize = MAX_LISTED_PATH_BYTES + 512;

/// Longest segment, as file systems limit it.
const MAX_SEGMENT_BYTES: usize = 255;

/// A relative path of plain segments, separated by `/`. It cannot leave the folder it is joined to.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FilePath(String);

/// Why a listed path is unsafe to write.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPath {
    /// An empty path, or two separators in a row.
    #[error("a segment is empty")]
    EmptySegment,
    /// `.` or `..`.
    #[error("a segment is '.' or '..'")]
    DotSegment,
    /// A leading `/`, a drive letter, a backslash or a control character.
    #[error("it is absolute, or contains a backslash, a drive letter or a control character")]
    Hostile,
    /// Longer than file systems allow.
    #[error("it is longer than 1024 bytes, or a segment is longer than 255")]
    TooLong,
    /// A name that the store uses.
    #[error("'.modelcache' is reserved")]
    Reserved,
}

impl FilePath {
    /// Parses a listed path.
    pub fn parse(text: &str) -> Result<Self, InvalidPath> {
        Self::parse_within(text, MAX_LISTED_PATH_BYTES)
    }

    fn parse_within(text: &str, max_bytes: usize) -> Result<Self, InvalidPath> {
        if text.len() > max_bytes {
            return Err(InvalidPath::TooLong);
        }
        // Later colons are allowed: Ollama's layout has host:port in its paths.
        let is_drive = text.get(1..2) == Some(":");
        if text.starts_with('/') || is_drive || text.contains('\\') || text.chars().any(char::is_control) {
            return Err(InvalidPath::Hostile);
        }
        for segment in text.split('/') {
            match segment {
                "" => return Err(InvalidPath::EmptySegment),
                "." | ".." => return Err(InvalidPath::DotSegment),
                segment if segment.len() > MAX_SEGMENT_BYTES => return Err(InvalidPath::TooLong),
                _ => {}
            }
        }
        if text.split('/').next() == Some(".modelcache") {
            return Err(InvalidPath::Reserved);
        }
        Ok(Self(text.to_owned()))
    }

    /// A path below a folder. Both must consist of plain segments.
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
        Self::parse_within(&text, MAX_STORED_PATH_BYTES)
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
