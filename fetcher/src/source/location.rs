//! Where the bytes of a file are: at an address, or on a disk that is mounted here.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use jiff::Timestamp;

use crate::http::location::HttpLocation;

/// Where the bytes of one file are.
#[derive(Clone, Debug)]
pub enum Location {
    /// On a server.
    Http(HttpLocation),
    /// On a disk that is mounted here.
    File(LocalFile),
}

/// A file that is mounted here, as it was when it was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalFile {
    /// Where it is, with no link on the way.
    pub path: PathBuf,
    /// What tells whether it was written to since.
    pub stamp: Stamp,
}

/// Length and time of the last write of a file: when they change, so did its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    size: u64,
    seconds: i64,
    nanoseconds: i64,
}

impl Location {
    /// When it stops working, where that is known.
    #[must_use]
    pub fn expires(&self) -> Option<Timestamp> {
        match self {
            Self::Http(location) => location.expires,
            Self::File(_) => None,
        }
    }

    /// The address, when it is one.
    #[must_use]
    pub fn http(&self) -> Option<&HttpLocation> {
        match self {
            Self::Http(location) => Some(location),
            Self::File(_) => None,
        }
    }
}

impl Stamp {
    /// That of a file as it is now.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.len(),
            seconds: metadata.mtime(),
            nanoseconds: metadata.mtime_nsec(),
        }
    }
}
