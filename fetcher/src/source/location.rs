//! The location of a file's bytes: a URL, or a path on a mounted disk.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use jiff::Timestamp;

use crate::http::location::HttpLocation;

/// The location of one file's bytes.
#[derive(Clone, Debug)]
pub enum Location {
    /// On a server.
    Http(HttpLocation),
    /// On a mounted disk.
    File(LocalFile),
}

/// A file on a mounted disk, as it was when it was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalFile {
    /// Canonical path, free of links.
    pub path: PathBuf,
    /// The stamp at that time; another one means that the file was written to since.
    pub stamp: Stamp,
}

/// Size and modification time of a file; they change when its bytes do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    size: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Location {
    /// When the location expires, if known.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        match self {
            Self::Http(location) => location.expires,
            Self::File(_) => None,
        }
    }

    /// The HTTP location; `None` for a local file.
    #[must_use]
    pub fn http(&self) -> Option<&HttpLocation> {
        match self {
            Self::Http(location) => Some(location),
            Self::File(_) => None,
        }
    }
}

impl Stamp {
    /// The stamp in a file's metadata.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.len(),
            seconds: metadata.mtime(),
            nanoseconds: metadata.mtime_nsec(),
        }
    }
}
