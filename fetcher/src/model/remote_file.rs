//! The type for a file that a source lists.

use super::digest::ContentDigest;
use super::path::FilePath;

/// A file as its source lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteFile {
    /// Path below the revision's folder.
    pub path: FilePath,
    /// Size in bytes.
    pub size: u64,
    /// The digest that its bytes must have.
    pub digest: ContentDigest,
}
