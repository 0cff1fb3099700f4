//! What a revision holds beyond what its source lists: files that were unpacked from archives.

use serde::{Deserialize, Serialize};

use crate::model::digest::ContentDigest;
use crate::model::path::FilePath;
use crate::model::remote_file::RemoteFile;

/// What came out of an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Unpacked {
    /// The archive, as its source lists it.
    pub(crate) path: FilePath,
    /// Its bytes.
    pub(crate) size: u64,
    /// Its digest.
    pub(crate) digest: ContentDigest,
    /// The files that were in it.
    pub(crate) files: Vec<UnpackedFile>,
}

/// A file that was in an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UnpackedFile {
    /// Below the revision's folder.
    pub(crate) path: FilePath,
    /// Bytes.
    pub(crate) size: u64,
    /// What they hash to; computed here, when they were unpacked from the proven archive.
    pub(crate) digest: ContentDigest,
}

/// What is to be published: every file, and the archives that some of them came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Every file.
    pub(crate) files: Vec<RemoteFile>,
    /// What was unpacked.
    pub(crate) archives: Vec<Unpacked>,
}

impl Contents {
    /// Bytes of all files.
    #[must_use]
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}
