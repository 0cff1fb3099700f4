//! What is published, as the store itself remembers it.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use modelcache_crds::names::CURRENT;
use serde::{Deserialize, Serialize};

use super::{Arrangement, Link, Note, OWN, REVISIONS};
use super::{Contents, Unpacked, UnpackedFile};
use crate::model::digest::ContentDigest;
use crate::model::error::StorageError;
use crate::model::path::FilePath;
use crate::model::remote_file::RemoteFile;

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
    /// What leads to them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    /// What stands beside them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// The archives that some of them were unpacked from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub archives: Vec<StoredArchive>,
}

/// An archive whose files are published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredArchive {
    /// What its source calls it.
    pub path: FilePath,
    /// Its bytes.
    pub size: u64,
    /// What it hashed to.
    pub digest: ContentDigest,
    /// The files that were in it.
    pub files: Vec<FilePath>,
}

/// A file of a stored manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredFile {
    /// As it is listed.
    pub path: FilePath,
    /// Where its bytes are below the revision's folder, when not at its path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<FilePath>,
    /// Bytes.
    pub size: u64,
    /// What its bytes hash to.
    pub digest: ContentDigest,
    /// Where its bytes came from.
    pub source: String,
}

impl StoredFile {
    /// Where its bytes are, below the revision's folder.
    #[must_use]
    pub fn place(&self) -> &FilePath {
        self.place.as_ref().unwrap_or(&self.path)
    }

    /// What a source is asked for to have it again.
    #[must_use]
    pub fn remote(&self) -> RemoteFile {
        RemoteFile {
            path: self.path.clone(),
            size: self.size,
            digest: self.digest,
        }
    }
}

impl StoredManifest {
    pub(super) fn new(revision: &str, files: &[RemoteFile], source: &str, arrangement: Arrangement) -> Self {
        let stored = |(file, place): (&RemoteFile, FilePath)| StoredFile {
            path: file.path.clone(),
            place: (place != file.path).then_some(place),
            size: file.size,
            digest: file.digest,
            source: source.to_owned(),
        };
        Self {
            id: arrangement.id,
            revision: revision.to_owned(),
            digest: arrangement.digest,
            files: files.iter().zip(arrangement.places).map(stored).collect(),
            links: arrangement.links,
            notes: arrangement.notes,
            archives: Vec::new(),
        }
    }

    /// The manifest of a revision of which some files were unpacked; what its source lists is arranged, and names it.
    pub(super) fn of(revision: &str, contents: &Contents, source: &str, listed: Arrangement) -> Self {
        let archive = |unpacked: &Unpacked| StoredArchive {
            path: unpacked.path.clone(),
            size: unpacked.size,
            digest: unpacked.digest,
            files: unpacked.files.iter().map(|file| file.path.clone()).collect(),
        };
        let places = if contents.archives.is_empty() {
            listed.places
        } else {
            // Only files that stand as they are listed come in archives.
            contents.files.iter().map(|file| file.path.clone()).collect()
        };
        Self {
            archives: contents.archives.iter().map(archive).collect(),
            ..Self::new(revision, &contents.files, source, Arrangement { places, ..listed })
        }
    }

    /// What a listed archive was unpacked to here, if it was.
    pub(crate) fn unpacked(&self, archive: &RemoteFile) -> Option<Unpacked> {
        let is_it = |stored: &&StoredArchive| stored.digest == archive.digest && stored.size == archive.size;
        let stored = self.archives.iter().find(is_it)?;
        let by_path: HashMap<_, _> = self.files.iter().map(|file| (&file.path, file)).collect();
        let files = stored.files.iter().map(|path| {
            let file = by_path.get(path)?;
            Some(UnpackedFile {
                path: path.clone(),
                size: file.size,
                digest: file.digest,
            })
        });
        Some(Unpacked {
            path: archive.path.clone(),
            size: archive.size,
            digest: archive.digest,
            files: files.collect::<Option<_>>()?,
        })
    }

    /// The folder with the files, relative to the root.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        Path::new(REVISIONS).join(&self.id)
    }
}

/// Where the manifest of a revision is kept.
pub(super) fn manifest_path(root: &Path, id: &str) -> PathBuf {
    root.join(OWN).join("manifests").join(format!("{id}.json"))
}

/// The manifests of every published revision below a root, in the order of their ids. Needs no lock.
pub fn published(root: &Path) -> Result<Vec<StoredManifest>, StorageError> {
    let folder = root.join(REVISIONS);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(StorageError::at("read", &folder))?,
    };
    let mut manifests = Vec::new();
    for entry in entries {
        let name = entry.map_err(StorageError::at("read", &folder))?.file_name();
        let Some(id) = name.to_str() else { continue };
        manifests.extend(read(root, id)?);
    }
    manifests.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(manifests)
}

/// The manifest of the revision `current` names, if any. Needs no lock.
pub fn current(root: &Path) -> Result<Option<StoredManifest>, StorageError> {
    let link = root.join(CURRENT);
    let target = match fs::read_link(&link) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        target => target.map_err(StorageError::at("read", &link))?,
    };
    match target.file_name().and_then(|name| name.to_str()) {
        Some(id) if target == Path::new(REVISIONS).join(id) => read(root, id),
        _ => Ok(None),
    }
}

/// What of ours a folder holds.
pub(crate) enum Holding {
    /// A published revision: the folder is a store, whose `current` names it, or it is the revision's own.
    Revision {
        /// The store.
        root: PathBuf,
        /// What is in the revision.
        manifest: StoredManifest,
    },
    /// It is a store in which nothing is published.
    Nothing,
    /// It is none of ours.
    Foreign,
}

/// What of ours a folder holds, which is named without a link on the way. Needs no lock.
pub(crate) fn holding(folder: &Path) -> Result<Holding, StorageError> {
    if folder.join(OWN).is_dir() {
        return Ok(match current(folder)? {
            Some(manifest) => Holding::Revision {
                root: folder.to_owned(),
                manifest,
            },
            None => Holding::Nothing,
        });
    }
    let (root, id) = (
        folder.ancestors().nth(2),
        folder.file_name().and_then(|name| name.to_str()),
    );
    let (Some(root), Some(id)) = (root, id) else {
        return Ok(Holding::Foreign);
    };
    if folder != root.join(REVISIONS).join(id) {
        return Ok(Holding::Foreign);
    }
    Ok(match read(root, id)? {
        Some(manifest) => Holding::Revision {
            root: root.to_owned(),
            manifest,
        },
        None => Holding::Foreign,
    })
}

/// The manifest of a published revision; `None` when there is none, or it is not this revision's.
fn read(root: &Path, id: &str) -> Result<Option<StoredManifest>, StorageError> {
    let path = manifest_path(root, id);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(StorageError::at("read", &path))?,
    };
    match parse(&text, id) {
        Ok(manifest) => Ok(manifest),
        Err(error) => {
            tracing::warn!(path = %path.display(), error = %error, "cannot read a manifest, so its revision is not reused");
            Ok(None)
        }
    }
}

/// A manifest; `None` when it is not this revision's.
fn parse(text: &[u8], id: &str) -> Result<Option<StoredManifest>, serde_json::Error> {
    let manifest: StoredManifest = serde_json::from_slice(text)?;
    Ok(Some(manifest).filter(|manifest| manifest.id == id))
}

/// Reads a manifest; for the fuzz targets. Whatever it says of files leads below the folder of its revision, what came
/// of an archive is among its files, and it is written as it was read.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn read_anything(bytes: &[u8]) {
    let Ok(manifest) = serde_json::from_slice::<StoredManifest>(bytes) else {
        return;
    };
    let id = "b45ef6fe-0123456789ab";
    if let Ok(Some(manifest)) = parse(bytes, id) {
        assert_eq!(manifest.folder(), Path::new(REVISIONS).join(id));
    }
    let files = manifest.files.iter().flat_map(|file| [&file.path, file.place()]);
    let beside = manifest.links.iter().map(|link| &link.path);
    let beside = beside.chain(manifest.notes.iter().map(|note| &note.path));
    let archives = manifest
        .archives
        .iter()
        .flat_map(|archive| archive.files.iter().chain([&archive.path]));
    for path in files.chain(beside).chain(archives) {
        crate::model::fuzz_input::require_below(path);
    }
    for archive in &manifest.archives {
        let listed = RemoteFile {
            path: archive.path.clone(),
            size: archive.size,
            digest: archive.digest,
        };
        for file in manifest
            .unpacked(&listed)
            .into_iter()
            .flat_map(|unpacked| unpacked.files)
        {
            assert!(
                manifest
                    .files
                    .iter()
                    .any(|stored| stored.path == file.path && stored.digest == file.digest)
            );
        }
    }
    let again = serde_json::to_vec_pretty(&manifest).and_then(|text| serde_json::from_slice(&text));
    assert!(again.is_ok_and(|again: StoredManifest| again == manifest));
}
