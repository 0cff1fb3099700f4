//! A file as a source lists it.

use super::digest::ContentDigest;
use super::path::FilePath;

/// A file as its source lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    /// Where it goes, below the revision's folder.
    pub path: FilePath,
    /// Bytes.
    pub size: u64,
    /// What its bytes must hash to.
    pub digest: ContentDigest,
}
