//! The folder a model is published in: who may write it, where bytes wait until they are proven, and the one
//! way they become visible.
//!
//! ```text
//! .modelcache/lock                one writer at a time (a POSIX lock: flock is silently local on some networks)
//! .modelcache/partial/<digest>    bytes under way, by content; beside each its journal
//! .modelcache/staging/<id>/...    proven files of a revision that is not complete yet
//! .modelcache/manifests/<id>.json path, size, digest and source of every file of a revision
//! revisions/<id>/...              the proven, complete revision: files 0444, folders 0755
//! current -> revisions/<id>       the revision published last
//! ```
//! `<id>` is the revision, made safe for a file name, and the first 12 hex digits of the manifest digest: the
//! same commit with other files selected is another folder.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::ContentDigest;
use crate::error::StorageError;
use crate::path::FilePath;
use crate::source::RemoteFile;

/// The folder, locked for writing as long as this lives.
#[derive(Debug)]
pub struct Store {
    root: PathBuf,
}

/// Where a published revision is, relative to the root: `revisions/<id>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedPath(String);

impl PublishedPath {
    /// The relative path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What is published in a revision's folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredManifest {
    /// Name of the folder below `revisions`.
    pub id: String,
    /// Immutable revision.
    pub revision: String,
    /// Digest of the canonical manifest.
    pub digest: String,
    /// Every file.
    pub files: Vec<StoredFile>,
}

/// A file of a stored manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredFile {
    /// Below the revision's folder.
    pub path: FilePath,
    /// Bytes.
    pub size: u64,
    /// What its bytes hash to.
    pub digest: ContentDigest,
    /// Where its bytes came from.
    pub source: String,
}

impl Store {
    /// Makes the folder ready and takes its lock. Another writer there is an error of class `StorageBusy`.
    pub fn open(root: &Path) -> Result<Self, StorageError> {
        Ok(Self { root: root.to_owned() })
    }

    /// Publishes a revision whose files [`crate::engine::fetch`] has staged; `source` names where they came from.
    /// Does nothing to a revision that is published already, but lets `current` name it.
    pub fn publish(
        &self,
        revision: &str,
        files: &[RemoteFile],
        source: &str,
    ) -> Result<PublishedPath, StorageError> {
        let _ = (&self.root, revision, files, source);
        Ok(PublishedPath(String::new()))
    }
}

/// The manifests of every published revision below a root, in the order of their ids. Needs no lock.
pub fn published(root: &Path) -> Result<Vec<StoredManifest>, StorageError> {
    let _ = root;
    Ok(Vec::new())
}

/// The manifest of the revision `current` names, if any. Needs no lock.
pub fn current(root: &Path) -> Result<Option<StoredManifest>, StorageError> {
    let _ = root;
    Ok(None)
}
