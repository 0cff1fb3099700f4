//! The folder a model is published in: who may write it, where bytes wait until they are proven, and the one
//! way they become visible.
//!
//! ```text
//! .modelcache/lock                one writer at a time
//! .modelcache/partial/<digest>    bytes under way, by content; beside each its journal, and of an archive that is
//!                                 unpacked what was in it
//! .modelcache/staging/<id>/...    proven files of a revision that is not complete yet
//! .modelcache/manifests/<id>.json path, size, digest and source of every file of a revision
//! .modelcache/sources/<id>.json   where a revision can be asked for again
//! .modelcache/blocks/<digest>     a checksum of each block of a published content, to find damage by
//! revisions/<id>/...              the proven, complete revision, in its layout: files 0444, folders 0755
//! current -> revisions/<id>       the revision published last
//! ```
//! `<id>` is the revision, made safe for a file name, and the first 12 hex digits of a digest of the manifest and the
//! layout: the same commit with other files selected, or laid out otherwise, is another folder. Whatever file stands in
//! `staging` was hashed, synced and only then moved there; whatever stands in `revisions` was complete before it was
//! moved there, manifest first.

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
pub(crate) use self::links::{leads, says};
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

/// The folder of the store's own files, below the root.
const OWN: &str = ".modelcache";

/// The folder of published revisions, below the root.
const REVISIONS: &str = "revisions";

/// The folder, locked for writing as long as this or a clone of it lives, and the layout it publishes in.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    abilities: Abilities,
    boot: Boot,
    layout: Layout,
    _lock: Arc<Lock>,
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

impl Store {
    /// Makes the folder ready and takes its lock. Another writer there is an error of class `StorageBusy`.
    pub fn open(root: &Path) -> Result<Self, StorageError> {
        let own = root.join(OWN);
        create_folders(&own)?;
        let lock = Lock::take(&own.join("lock"))?;
        let abilities = Abilities::probe(&own.join("probe"))?;
        tracing::debug!(?abilities, "probed the volume");
        if !abilities.writes_anywhere() {
            tracing::warn!(
                path = %root.display(),
                "the file system writes files from their beginning only: each file comes over one connection"
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
            store.own("staging"),
            store.own("manifests"),
            root.join(REVISIONS),
        ] {
            create_folders(&folder)?;
        }
        // Whatever a swap left behind when it was cut short is no longer known to be proven.
        remove_tree(&store.own("swap"))?;
        Ok(store)
    }

    /// The same, publishing in a layout; without, files stand as they are listed.
    #[must_use]
    pub fn with_layout(self, layout: Layout) -> Self {
        Self { layout, ..self }
    }

    /// Publishes a revision whose files [`crate::transfer::fetch`] has staged; `source` names where they came from.
    /// Does nothing to a revision that is published already, but lets `current` name it.
    pub fn publish(&self, revision: &str, files: &[RemoteFile], source: &str) -> Result<PublishedPath, StorageError> {
        let arrangement = self.arrange(revision, files);
        publish::publish(self, &StoredManifest::new(revision, files, source, arrangement))
    }

    /// What the folder of a revision holds, in this store's layout.
    pub(crate) fn arrange(&self, revision: &str, files: &[RemoteFile]) -> Arrangement {
        self.layout.arrange(revision, files)
    }

    /// Whether a published revision has, beside its files, all that its layout wants.
    pub(crate) fn is_laid_out(&self, arrangement: &Arrangement) -> bool {
        let folder = self.revision(&arrangement.id);
        let links = arrangement.links.iter().all(|link| leads(&folder, link));
        links && arrangement.notes.iter().all(|note| says(&folder, note))
    }

    /// The same folder, as if its file system could do this.
    #[must_use]
    pub fn with_abilities(self, abilities: Abilities) -> Self {
        Self { abilities, ..self }
    }

    /// The same folder, as another start of a machine finds it.
    #[must_use]
    pub fn with_boot(self, boot: Boot) -> Self {
        Self { boot, ..self }
    }

    /// The manifest of a revision of which some files were unpacked from archives; `listed` is what its source lists,
    /// and names the revision.
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

    /// Publishes a revision whose files are staged, or published already.
    pub(crate) fn publish_manifest(&self, manifest: &StoredManifest) -> Result<PublishedPath, StorageError> {
        publish::publish(self, manifest)
    }

    /// Puts a published revision in its place again, of which [`crate::transfer::fetch`] has staged what was damaged.
    /// `current` goes on naming what it names.
    pub fn restore(&self, manifest: &StoredManifest) -> Result<(), StorageError> {
        publish::put_in_place(self, manifest)
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

    /// Where the bytes of some content gather.
    pub(crate) fn partial(&self, digest: &ContentDigest) -> PathBuf {
        partial(&self.root, digest)
    }

    /// The journal of these bytes.
    pub(crate) fn journal(&self, digest: &ContentDigest) -> PathBuf {
        journal(&self.partial(digest))
    }

    /// Where a proven file waits for the rest of its revision.
    pub(crate) fn staged(&self, id: &str, place: &FilePath) -> PathBuf {
        self.staging(id).join(place.as_str())
    }

    /// Gives a proven file a place among the staged ones.
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

    /// Whether something is staged of a revision.
    pub(crate) fn is_staged(&self, id: &str) -> bool {
        self.staging(id).exists()
    }

    /// What an archive of a revision was unpacked to, as long as all of it is staged.
    pub(crate) fn unpacked(&self, id: &str, archive: &RemoteFile) -> Option<Unpacked> {
        let text = std::fs::read(self.unpacked_note(&archive.digest)).ok()?;
        let note: UnpackedNote = serde_json::from_slice(&text).ok()?;
        let is_there = |unpacked: &Unpacked| {
            let mut files = unpacked.files.iter();
            files.all(|file| size_of_plain_file(&self.staged(id, &file.path)) == Some(file.size))
        };
        let unpacked = Some(note.unpacked).filter(|unpacked| note.id == id && is_there(unpacked))?;
        Some(Unpacked {
            path: archive.path.clone(),
            ..unpacked
        })
    }

    /// Remembers what an archive of a revision was unpacked to; its files are staged and durable.
    pub(crate) fn remember_unpacked(&self, id: &str, unpacked: &Unpacked) -> Result<(), StorageError> {
        let path = self.unpacked_note(&unpacked.digest);
        let note = UnpackedNote {
            id: id.to_owned(),
            unpacked: unpacked.clone(),
        };
        let text = serde_json::to_vec(&note).map_err(|error| StorageError::at("write", &path)(error.into()))?;
        write_whole(&path, &text)
    }

    fn unpacked_note(&self, digest: &ContentDigest) -> PathBuf {
        self.partial(digest).with_extension("unpacked")
    }

    /// Forgets what is staged of a revision.
    pub(crate) fn unstage(&self, id: &str) -> Result<(), StorageError> {
        remove_tree(&self.staging(id))
    }

    fn staging(&self, id: &str) -> PathBuf {
        staging(&self.root, id)
    }

    fn partials(&self) -> PathBuf {
        partials(&self.root)
    }

    fn own(&self, name: &str) -> PathBuf {
        self.root.join(OWN).join(name)
    }

    /// The folder of a revision whose files are all proven, published or not yet.
    pub(crate) fn proven(&self, id: &str) -> PathBuf {
        let staging = self.staging(id);
        if staging.exists() { staging } else { self.revision(id) }
    }

    /// Where a revision is, or will be, published.
    pub(crate) fn revision(&self, id: &str) -> PathBuf {
        self.root.join(REVISIONS).join(id)
    }
}

/// What stands beside partial files while a revision is staged.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct UnpackedNote {
    /// The revision that it is staged for.
    id: String,
    unpacked: Unpacked,
}

/// Where bytes under way gather, below a root.
fn partials(root: &Path) -> PathBuf {
    root.join(OWN).join("partial")
}

/// Where the bytes of some content gather, below a root.
fn partial(root: &Path, digest: &ContentDigest) -> PathBuf {
    partials(root).join(content_name(digest))
}

/// The journal of such bytes.
fn journal(partial: &Path) -> PathBuf {
    partial.with_extension("journal")
}

/// Where the proven files of a revision wait for the rest of it, below a root.
fn staging(root: &Path, id: &str) -> PathBuf {
    root.join(OWN).join("staging").join(id)
}

/// The file name of some content.
fn content_name(digest: &ContentDigest) -> String {
    digest.to_string().replace(':', "-")
}

/// Name of a revision's folder, by what it is the digest of.
fn revision_id(revision: &str, digest: &str) -> String {
    let safe: String = revision
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
    let safe = safe.trim_start_matches(['.', '-']);
    let hex = digest.rsplit(':').next().unwrap_or_default();
    let short = hex.get(..12).unwrap_or(hex);
    if safe.is_empty() {
        short.to_owned()
    } else {
        format!("{safe}-{short}")
    }
}

/// Reads what a store holds of its own, in the shape the first line names; for the fuzz targets.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_anything(bytes: &[u8]) {
    let (shape, text) = crate::model::fuzz_input::line(bytes);
    match shape {
        b"blocks" => blocks::read_anything(text),
        b"source" => {
            let Ok(record) = serde_json::from_slice::<SourceRecord>(text) else {
                return;
            };
            let again = serde_json::to_vec_pretty(&record).and_then(|text| serde_json::from_slice(&text));
            assert!(again.is_ok_and(|again: SourceRecord| again == record));
        }
        b"unpacked" => {
            let Ok(note) = serde_json::from_slice::<UnpackedNote>(text) else {
                return;
            };
            for file in &note.unpacked.files {
                crate::model::fuzz_input::require_below(&file.path);
            }
            let again = serde_json::to_vec(&note).and_then(|text| serde_json::from_slice(&text));
            assert!(again.is_ok_and(|again: UnpackedNote| (again.id, again.unpacked) == (note.id, note.unpacked)));
        }
        _ => manifest::read_anything(text),
    }
}

#[cfg(test)]
mod tests;
