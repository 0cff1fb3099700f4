//! Files of a revision that its source does not list: they were unpacked from archives.

use serde::{Deserialize, Serialize};

use crate::model::digest::ContentDigest;
use crate::model::path::FilePath;
use crate::model::remote_file::RemoteFile;

/// An archive and the files that were unpacked from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Unpacked {
    /// Path of the archive, as its source lists it.
    pub(crate) path: FilePath,
    /// Size of the archive in bytes.
    pub(crate) size: u64,
    /// Digest of the archive.
    pub(crate) digest: ContentDigest,
    /// Files of the archive.
    pub(crate) files: Vec<UnpackedFile>,
}

/// A file that was unpacked from an archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UnpackedFile {
    /// Path below the revision's folder.
    pub(crate) path: FilePath,
    /// Size in bytes.
    pub(crate) size: u64,
    /// Digest, computed while the file was unpacked from the verified archive.
    pub(crate) digest: ContentDigest,
}

/// The files to publish, and the archives that some of them were unpacked from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Contents {
    /// All files, unpacked ones included.
    pub(crate) files: Vec<RemoteFile>,
    /// Unpacked archives.
    pub(crate) archives: Vec<Unpacked>,
}

impl Contents {
    /// Bytes of all files.
    #[must_use]
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }
}
