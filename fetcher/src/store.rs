//! The folder that a model is published in: its lock, its partial and staged files, and publication.
//!
//! ```text
//! .modelcache/lock                allows one writer at a time
//! .modelcache/partial/<digest>    partial content; next to it its journal and, for an unpacked archive, the list of its
//!                                 files
//! .modelcache/staging/<id>/...    verified files of an incomplete revision
//! .modelcache/manifests/<id>.json path, size, digest and source of every file of a revision
//! .modelcache/sources/<id>.json   the source of a revision, for a later repair
//! .modelcache/blocks/<digest>     a checksum of each block of published content, to locate damage
//! revisions/<id>/...              the verified, complete revision in its layout: files 0444, folders 0755
//! current -> revisions/<id>       the revision that was published last
//! ```
//! `<id>` is the revision, made safe for a file name, and the first 12 hex digits of a digest of the manifest and the
//! layout. So the same commit with other files or another layout has another folder. A file is hashed and synced before
//! it is moved to `staging`. A revision is complete, and its manifest written, before it is moved to `revisions`.

mod abilities;
mod blocks;
mod extra_staging;
pub(crate) mod journal;
mod layout;
mod links;
mod lock;
mod manifest;
mod present;
mod publish;
mod record;
mod unpacked;
pub mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::abilities::{Abilities, Writes};
pub(crate) use self::extra_staging::ExtraStaging;
pub(crate) use self::layout::Arrangement;
pub use self::layout::{HubCache, InvalidReference, Layout, Link, Note};
pub(crate) use self::links::{has_link, has_note};
use self::lock::Lock;
pub(crate) use self::manifest::{Holding, holding};
pub use self::manifest::{StoredArchive, StoredFile, StoredManifest, current, published};
pub(crate) use self::present::{Present, present};
pub use self::record::{SourceRecord, recorded_source};
pub(crate) use self::unpacked::{Contents, Unpacked, UnpackedFile};
use crate::disk::files::{clone_file, create_folders, remove_tree, size_of_plain_file, write_whole};

use crate::disk::boot::Boot;
use crate::model::digest::ContentDigest;
use crate::model::error::StorageError;
use crate::model::path::FilePath;
use crate::model::remote_file::RemoteFile;

/// The folder of the store's internal files, below the root.
const INTERNAL: &str = ".modelcache";

/// The folder of published revisions, below the root.
const REVISIONS: &str = "revisions";

/// A folder that is locked for writing, with the layout to publish in. The last clone releases the lock.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    abilities: Abilities,
    boot: Boot,
    layout: Layout,
    _lock: Arc<Lock>,
}

/// The path of a published revision, relative to the root: `revisions/<id>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedPath(String);

impl PublishedPath {
    /// The relative path.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Store {
    /// Creates the folder if needed and locks it. Another writer is an error of class `StorageBusy`.
    pub fn open(root: &Path) -> Result<Self, StorageError> {
        let internal = root.join(INTERNAL);
        create_folders(&internal)?;
        let lock = Lock::take(&internal.join("lock"))?;
        let abilities = Abilities::probe(&internal.join("probe"))?;
        tracing::debug!(?abilities, "probed the volume");
        if !abilities.writes_anywhere() {
            tracing::warn!(
                path = %root.display(),
                "fetching each file over one connection: the file system only writes files from start to end"
            );
        }
        let store = Self {
            root: root.to_owned(),
            abilities,
            boot: Boot::current(),
            layout: Layout::default(),
            _lock: Arc::new(lock),
        };
        for folder in [
            store.partials(),
            store.internal("staging"),
            store.internal("manifests"),
            root.join(REVISIONS),
        ] {
            create_folders(&folder)?;
        }
        // An interrupted exchange may have left a damaged revision there.
        remove_tree(&store.internal("swap"))?;
        Ok(store)
    }

    /// The same store with another layout than [`Layout::AsListed`].
    #[must_use]
    pub fn with_layout(self, layout: Layout) -> Self {
        Self { layout, ..self }
    }

    /// Publishes a revision whose files [`crate::transfer::fetch`] has staged; `source` names their source.
    ///
    /// A revision that is already published stays as it is, and `current` names it.
    pub fn publish(&self, revision: &str, files: &[RemoteFile], source: &str) -> Result<PublishedPath, StorageError> {
        let arrangement = self.arrange(revision, files);
        publish::publish(self, &StoredManifest::new(revision, files, source, arrangement))
    }

    /// The arrangement of a revision in the layout of this store.
    pub(crate) fn arrange(&self, revision: &str, files: &[RemoteFile]) -> Arrangement {
        self.layout.arrange(revision, files)
    }

    /// Whether a published revision has all links and notes of its layout.
    pub(crate) fn is_laid_out(&self, arrangement: &Arrangement) -> bool {
        let folder = self.revision(&arrangement.id);
        let links = arrangement.links.iter().all(|link| has_link(&folder, link));
        links && arrangement.notes.iter().all(|note| has_note(&folder, note))
    }

    /// The same store with other abilities of its file system; for tests.
    #[must_use]
    pub fn with_abilities(self, abilities: Abilities) -> Self {
        Self { abilities, ..self }
    }

    /// The same store with another boot of the machine; for tests.
    #[must_use]
    pub fn with_boot(self, boot: Boot) -> Self {
        Self { boot, ..self }
    }

    /// The manifest of a revision that may have unpacked files; `listed` are the files that its source lists.
    pub(crate) fn manifest(
        &self,
        revision: &str,
        listed: &[RemoteFile],
        contents: &Contents,
        source: &str,
    ) -> StoredManifest {
        let arrangement = self.arrange(revision, listed);
        StoredManifest::of(revision, contents, source, arrangement)
    }

    /// Publishes a revision whose files are staged or already published.
    pub(crate) fn publish_manifest(&self, manifest: &StoredManifest) -> Result<PublishedPath, StorageError> {
        publish::publish(self, manifest)
    }

    /// Replaces a damaged revision after [`crate::transfer::fetch`] has staged it again; `current` stays.
    pub fn restore(&self, manifest: &StoredManifest) -> Result<(), StorageError> {
        publish::move_to_revisions(self, manifest)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn abilities(&self) -> Abilities {
        self.abilities
    }

    pub(crate) fn boot(&self) -> &Boot {
        &self.boot
    }

    /// The path of a partial content.
    pub(crate) fn partial(&self, digest: &ContentDigest) -> PathBuf {
        partial(&self.root, digest)
    }

    /// The path of the journal of a partial content.
    pub(crate) fn journal(&self, digest: &ContentDigest) -> PathBuf {
        journal(&self.partial(digest))
    }

    /// The path of a verified file in the staging of a revision.
    pub(crate) fn staged(&self, id: &str, place: &FilePath) -> PathBuf {
        self.staging(id).join(place.as_str())
    }

    /// Stages a verified file under another path, by a hard link or else a copy.
    pub(crate) fn stage_clone(
        &self,
        id: &str,
        place: &FilePath,
        digest: &ContentDigest,
        from: &Path,
    ) -> Result<(), StorageError> {
        clone_file(
            from,
            &self.staged(id, place),
            &self.partial(digest).with_extension("copy"),
        )
    }

    /// Whether a revision has a staging.
    pub(crate) fn is_staged(&self, id: &str) -> bool {
        self.staging(id).exists()
    }

    /// The files of an archive if it was unpacked for this revision and all of them are staged.
    pub(crate) fn unpacked(&self, id: &str, archive: &RemoteFile) -> Option<Unpacked> {
        let text = std::fs::read(self.unpacked_record(&archive.digest)).ok()?;
        let record: UnpackedRecord = serde_json::from_slice(&text).ok()?;
        let is_staged = |unpacked: &Unpacked| {
            let mut files = unpacked.files.iter();
            files.all(|file| size_of_plain_file(&self.staged(id, &file.path)) == Some(file.size))
        };
        let unpacked = Some(record.unpacked).filter(|unpacked| record.id == id && is_staged(unpacked))?;
        Some(Unpacked {
            path: archive.path.clone(),
            ..unpacked
        })
    }

    /// Records the files of an unpacked archive, which must be staged and durable.
    pub(crate) fn record_unpacked(&self, id: &str, unpacked: &Unpacked) -> Result<(), StorageError> {
        let path = self.unpacked_record(&unpacked.digest);
        let record = UnpackedRecord {
            id: id.to_owned(),
            unpacked: unpacked.clone(),
        };
        let text = serde_json::to_vec(&record).map_err(|error| StorageError::at("write", &path)(error.into()))?;
        write_whole(&path, &text)
    }

    fn unpacked_record(&self, digest: &ContentDigest) -> PathBuf {
        self.partial(digest).with_extension("unpacked")
    }

    /// Removes the staging of a revision.
    pub(crate) fn unstage(&self, id: &str) -> Result<(), StorageError> {
        remove_tree(&self.staging(id))
    }

    fn staging(&self, id: &str) -> PathBuf {
        staging(&self.root, id)
    }

    fn partials(&self) -> PathBuf {
        partials(&self.root)
    }

    fn internal(&self, name: &str) -> PathBuf {
        self.root.join(INTERNAL).join(name)
    }

    /// The folder with the verified files of a revision: its staging, else its published folder.
    pub(crate) fn verified_folder(&self, id: &str) -> PathBuf {
        let staging = self.staging(id);
        if staging.exists() { staging } else { self.revision(id) }
    }

    /// The path of a revision when it is published.
    pub(crate) fn revision(&self, id: &str) -> PathBuf {
        self.root.join(REVISIONS).join(id)
    }
}

/// The record of an unpacked archive, kept next to partial files while its revision is staged.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct UnpackedRecord {
    /// The revision whose staging has the files.
    id: String,
    unpacked: Unpacked,
}

/// The folder of partial contents below a root.
fn partials(root: &Path) -> PathBuf {
    root.join(INTERNAL).join("partial")
}

/// The path of a partial content below a root.
fn partial(root: &Path, digest: &ContentDigest) -> PathBuf {
    partials(root).join(content_name(digest))
}

/// The path of the journal next to a partial content.
fn journal(partial: &Path) -> PathBuf {
    partial.with_extension("journal")
}

/// The staging of a revision below a root.
fn staging(root: &Path, id: &str) -> PathBuf {
    root.join(INTERNAL).join("staging").join(id)
}

/// The file name of a content.
fn content_name(digest: &ContentDigest) -> String {
    digest.to_string().replace(':', "-")
}

/// The folder name of a revision; the digest covers its manifest and layout.
fn revision_id(revision: &str, digest: &str) -> String {
    let safe_chars: String = revision
        .chars()
        .take(64)
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
                c
            } else {
                '-'
            }
        })
        .collect();
    let safe = safe_chars.trim_start_matches(['.', '-']);
    let hex = digest.rsplit(':').next().unwrap_or_default();
    let short = hex.get(..12).unwrap_or(hex);
    if safe.is_empty() {
        short.to_owned()
    } else {
        format!("{safe}-{short}")
    }
}

/// Parses an internal file of the kind that the first line names; for the fuzz targets.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_anything(bytes: &[u8]) {
    let (kind, text) = crate::model::fuzz_input::line(bytes);
    match kind {
        b"blocks" => blocks::read_anything(text),
        b"source" => {
            let Ok(record) = serde_json::from_slice::<SourceRecord>(text) else {
                return;
            };
            let parsed = serde_json::to_vec_pretty(&record).and_then(|text| serde_json::from_slice(&text));
            assert!(parsed.is_ok_and(|parsed: SourceRecord| parsed == record));
        }
        b"unpacked" => {
            let Ok(record) = serde_json::from_slice::<UnpackedRecord>(text) else {
                return;
            };
            for file in &record.unpacked.files {
                crate::model::fuzz_input::require_below(&file.path);
            }
            let parsed = serde_json::to_vec(&record).and_then(|text| serde_json::from_slice(&text));
            assert!(
                parsed.is_ok_and(|parsed: UnpackedRecord| (parsed.id, parsed.unpacked) == (record.id, record.unpacked))
            );
        }
        _ => manifest::read_anything(text),
    }
}

#[cfg(test)]
mod tests;
