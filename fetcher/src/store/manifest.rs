//! The stored manifests of published revisions.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use modelcache_crds::names::CURRENT;
use serde::{Deserialize, Serialize};

use super::{Arrangement, INTERNAL, Link, Note, REVISIONS};
use super::{Contents, Unpacked, UnpackedFile};
use crate::model::digest::ContentDigest;
use crate::model::error::StorageError;
use crate::model::path::FilePath;
use crate::model::remote_file::RemoteFile;

/// The files, links and notes of a published revision.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredManifest {
    /// Name of the folder below `revisions`.
    pub id: String,
    /// Immutable revision.
    pub revision: String,
    /// Manifest digest.
    pub digest: String,
    /// All files.
    pub files: Vec<StoredFile>,
    /// Links of the layout.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<Link>,
    /// Notes of the layout.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// Archives that some of the files were unpacked from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub archives: Vec<StoredArchive>,
}

/// An archive and its published files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredArchive {
    /// Path of the archive, as its source lists it.
    pub path: FilePath,
    /// Size of the archive in bytes.
    pub size: u64,
    /// Digest of the archive.
    pub digest: ContentDigest,
    /// Paths of its files.
    pub files: Vec<FilePath>,
}

/// A published file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StoredFile {
    /// Path as its source lists it.
    pub path: FilePath,
    /// Path of its bytes below the revision's folder, if it differs from `path`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<FilePath>,
    /// Size in bytes.
    pub size: u64,
    /// Digest of its bytes.
    pub digest: ContentDigest,
    /// Source of its bytes.
    pub source: String,
}

impl StoredFile {
    /// Path of its bytes, below the revision's folder.
    #[must_use]
    pub fn place(&self) -> &FilePath {
        self.place.as_ref().unwrap_or(&self.path)
    }

    /// The file as a source lists it, for fetching it again.
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

    /// The manifest of a revision that may have unpacked files; `listed` arranges what its source lists.
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
            // Models with archives are always published as listed.
            contents.files.iter().map(|file| file.path.clone()).collect()
        };
        Self {
            archives: contents.archives.iter().map(archive).collect(),
            ..Self::new(revision, &contents.files, source, Arrangement { places, ..listed })
        }
    }

    /// The files of a listed archive, if this revision has them.
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

    /// The revision's folder, relative to the root.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        Path::new(REVISIONS).join(&self.id)
    }
}

/// Path of the manifest of a revision.
pub(super) fn manifest_path(root: &Path, id: &str) -> PathBuf {
    root.join(INTERNAL).join("manifests").join(format!("{id}.json"))
}

/// The manifests of all published revisions below a root, sorted by id. Needs no lock.
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

/// The manifest of the revision that `current` names, if any. Needs no lock.
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

/// What the fetcher has published in a folder.
pub(crate) enum Holding {
    /// A revision: the one that `current` of the folder names, or the one whose own folder it is.
    Revision {
        /// Root of the store.
        root: PathBuf,
        /// Manifest of the revision.
        manifest: StoredManifest,
    },
    /// The folder is a store without a published revision.
    Nothing,
    /// The folder is not a store.
    Foreign,
}

/// Finds out what the fetcher has published in a folder; its path must not contain links. Needs no lock.
pub(crate) fn holding(folder: &Path) -> Result<Holding, StorageError> {
    if folder.join(INTERNAL).is_dir() {
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

/// Reads the manifest of a revision; `None` if it is missing, unreadable or of another revision.
fn read(root: &Path, id: &str) -> Result<Option<StoredManifest>, StorageError> {
    let path = manifest_path(root, id);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text.map_err(StorageError::at("read", &path))?,
    };
    match parse(&text, id) {
        Ok(manifest) => Ok(manifest),
        Err(error) => {
            tracing::warn!(path = %path.display(), error = %error, "ignoring a revision: its manifest cannot be read");
            Ok(None)
        }
    }
}

/// Parses a manifest; `None` if it is of another revision.
fn parse(text: &[u8], id: &str) -> Result<Option<StoredManifest>, serde_json::Error> {
    let manifest: StoredManifest = serde_json::from_slice(text)?;
    Ok(Some(manifest).filter(|manifest| manifest.id == id))
}

/// Parses any bytes as a manifest; for the fuzz targets.
///
/// All paths stay below the folder of the revision, files of archives are files of the manifest, and a round trip keeps
/// everything.
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
    let links = manifest.links.iter().map(|link| &link.path);
    let notes = manifest.notes.iter().map(|note| &note.path);
    let archives = manifest
        .archives
        .iter()
        .flat_map(|archive| archive.files.iter().chain([&archive.path]));
    for path in files.chain(links).chain(notes).chain(archives) {
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
    let parsed = serde_json::to_vec_pretty(&manifest).and_then(|text| serde_json::from_slice(&text));
    assert!(parsed.is_ok_and(|parsed: StoredManifest| parsed == manifest));
}
