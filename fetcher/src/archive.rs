//! Unpacks archives: layers of an OCI artifact that are tars.
//!
//! The engine fetches and verifies an archive like any file. Then this module unpacks it into the staged revision, hashes
//! each of its files while it writes them, and removes the archive. The manifest of a published revision records the
//! archive of each file, so that the archive is not fetched again.

mod decode;
mod error;
mod names;
mod tar;
mod unpack;

use std::fs;
use std::path::Path;

use modelcache_crds::report::FailureClass;
use tokio_util::sync::CancellationToken;

use self::names::Names;
use self::unpack::unpack;
use crate::disk::blocking::blocking;
use crate::disk::files::size_of_plain_file;
use crate::disk::hash::hash_file;
use crate::model::error::{FetchError, SourceError};
use crate::model::path::FilePath;
use crate::model::remote_file::RemoteFile;
use crate::observe::progress::Progress;
use crate::source::check_listing;
use crate::store::ExtraStaging;
use crate::store::{Arrangement, Contents, Store, StoredManifest, Unpacked, published};

/// Where the files of an archive are.
enum Place {
    /// Published in this revision, and verified again.
    Published(Unpacked),
    /// Staged by this run or an earlier one.
    Staged(Unpacked),
    /// In the archive, which may not be fetched yet.
    Packed(RemoteFile),
}

/// The archives of a revision, and the state of each.
pub(crate) struct Archives {
    store: Store,
    /// The arrangement of the listed files, archives included.
    arrangement: Arrangement,
    plain: Vec<(RemoteFile, FilePath)>,
    places: Vec<Place>,
}

impl Archives {
    /// Finds archives whose files are on disk and hashes these again; such archives are not fetched.
    pub(crate) async fn survey(
        store: &Store,
        revision: &str,
        listed: &[RemoteFile],
        is_archive: impl Fn(&RemoteFile) -> bool,
        stop: &CancellationToken,
    ) -> Result<Self, FetchError> {
        let arrangement = store.arrange(revision, listed);
        let with_place = listed.iter().cloned().zip(arrangement.places.iter().cloned());
        let (packed, plain): (Vec<_>, Vec<_>) = with_place.partition(|(file, _)| is_archive(file));
        let survey = Survey {
            store: store.clone(),
            id: arrangement.id.clone(),
            stop: stop.clone(),
        };
        let packed = packed.into_iter().map(|(file, _)| file).collect();
        let places = blocking(move || survey.places(packed)).await?;
        Ok(Self {
            store: store.clone(),
            arrangement,
            plain,
            places,
        })
    }

    /// Files for the engine to fetch: plain files and packed archives.
    #[must_use]
    pub(crate) fn to_fetch(&self) -> Vec<RemoteFile> {
        let plain = self.plain.iter().map(|(file, _)| file);
        plain.chain(self.packed()).cloned().collect()
    }

    /// The arrangement of the files to fetch.
    #[must_use]
    pub(crate) fn arrangement(&self) -> Arrangement {
        let plain = self.plain.iter().map(|(_, place)| place);
        let packed = self.packed().map(|archive| &archive.path);
        Arrangement {
            places: plain.chain(packed).cloned().collect(),
            ..self.arrangement.clone()
        }
    }

    /// What the engine must know about unpacking: its space, and whether it stages files.
    #[must_use]
    pub(crate) fn extra_staging(&self) -> ExtraStaging {
        ExtraStaging {
            bytes: unpacking_bytes(self.packed()),
            is_staged: self.places.iter().any(|place| !matches!(place, Place::Published(_))),
        }
    }

    /// Bytes of archives that are not fetched.
    #[must_use]
    pub(crate) fn reused_bytes(&self) -> u64 {
        let unpacked = self.places.iter().filter_map(|place| match place {
            Place::Published(unpacked) | Place::Staged(unpacked) => Some(unpacked.size),
            Place::Packed(_) => None,
        });
        unpacked.sum()
    }

    fn packed(&self) -> impl Iterator<Item = &RemoteFile> {
        self.places.iter().filter_map(|place| match place {
            Place::Packed(archive) => Some(archive),
            Place::Published(_) | Place::Staged(_) => None,
        })
    }

    /// Unpacks every archive that the engine has staged, and returns the files to publish.
    pub(crate) async fn unpack(self, stop: &CancellationToken) -> Result<Contents, FetchError> {
        if self.places.is_empty() {
            return Ok(Contents {
                files: self.plain.into_iter().map(|(file, _)| file).collect(),
                archives: Vec::new(),
            });
        }
        let stop = stop.clone();
        blocking(move || self.unpack_all(&stop)).await
    }

    fn unpack_all(self, stop: &CancellationToken) -> Result<Contents, FetchError> {
        let id = self.arrangement.id.as_str();
        let mut names = Names::default();
        let done = self.places.iter().filter_map(|place| match place {
            Place::Published(unpacked) | Place::Staged(unpacked) => Some(unpacked),
            Place::Packed(_) => None,
        });
        let taken = done.flat_map(|unpacked| unpacked.files.iter().map(|file| &file.path));
        for path in self.listed_paths().chain(taken) {
            // Cannot fail: these files were next to each other before.
            let _ = names.take(path);
        }
        let mut archives = Vec::new();
        for place in &self.places {
            archives.push(match place {
                Place::Published(unpacked) | Place::Staged(unpacked) => unpacked.clone(),
                Place::Packed(archive) => {
                    tracing::info!(archive = %archive.path, bytes = archive.size, "unpacking");
                    unpack(&self.store, id, archive, &mut names, stop)?
                }
            });
        }
        for archive in &archives {
            remove(&self.store.staged(id, &archive.path));
        }
        if self.store.is_staged(id) {
            // One staged file makes the whole revision be published again.
            for place in &self.places {
                if let Place::Published(unpacked) = place {
                    stage(&self.store, id, &self.store.revision(id), unpacked)?;
                }
            }
        }
        let unpacked = archives
            .iter()
            .flat_map(|archive| &archive.files)
            .map(|file| RemoteFile {
                path: file.path.clone(),
                size: file.size,
                digest: file.digest,
            });
        let plain = self.plain.iter().map(|(file, _)| file.clone());
        let files: Vec<_> = plain.chain(unpacked).collect();
        if files.is_empty() {
            let error = SourceError::new(
                FailureClass::InvalidListing,
                "the archives of the model contain no file",
            );
            return Err(error.into());
        }
        check_listing(&files)?;
        Ok(Contents { files, archives })
    }

    /// Paths that no unpacked file may have: those of plain files and of packed archives.
    fn listed_paths(&self) -> impl Iterator<Item = &FilePath> {
        let plain = self.plain.iter().map(|(file, _)| file);
        plain.chain(self.packed()).map(|file| &file.path)
    }
}

/// Minimum number of bytes that unpacking needs in addition to the archives.
///
/// Archives are unpacked and removed one after the other, so it is the size of the largest. The unpacked size of a
/// compressed archive is not known before, but it is at least the size of the archive.
pub(crate) fn unpacking_bytes<'a>(archives: impl Iterator<Item = &'a RemoteFile>) -> u64 {
    archives.map(|archive| archive.size).max().unwrap_or(0)
}

/// Finds archives that were unpacked before.
struct Survey {
    store: Store,
    id: String,
    stop: CancellationToken,
}

impl Survey {
    fn places(&self, packed: Vec<RemoteFile>) -> Result<Vec<Place>, FetchError> {
        if packed.is_empty() {
            return Ok(Vec::new());
        }
        let published = published(self.store.root())?;
        packed
            .into_iter()
            .map(|archive| self.place(archive, &published))
            .collect()
    }

    fn place(&self, archive: RemoteFile, published: &[StoredManifest]) -> Result<Place, FetchError> {
        if let Some(unpacked) = self.store.unpacked(&self.id, &archive) {
            return Ok(Place::Staged(unpacked));
        }
        for manifest in published {
            let Some(unpacked) = manifest.unpacked(&archive) else {
                continue;
            };
            let folder = self.store.root().join(manifest.folder());
            if !self.is_sound(&folder, &unpacked)? {
                continue;
            }
            if manifest.id == self.id {
                return Ok(Place::Published(unpacked));
            }
            stage(&self.store, &self.id, &folder, &unpacked)?;
            self.store.record_unpacked(&self.id, &unpacked)?;
            return Ok(Place::Staged(unpacked));
        }
        Ok(Place::Packed(archive))
    }

    /// Whether the files of an archive in a published folder match their digests.
    fn is_sound(&self, folder: &Path, unpacked: &Unpacked) -> Result<bool, FetchError> {
        for file in &unpacked.files {
            let path = folder.join(file.path.as_str());
            if size_of_plain_file(&path) != Some(file.size) {
                return Ok(false);
            }
            // Not counted as progress, which is about the listed files.
            let counters = Progress::default();
            let digest = match hash_file(&path, &file.digest, file.size, &counters, &self.stop) {
                Err(FetchError::Storage(error)) => {
                    tracing::warn!(%error, "unpacking an archive again: a published file cannot be read");
                    return Ok(false);
                }
                digest => digest?,
            };
            if digest != file.digest {
                tracing::warn!(path = %path.display(), "unpacking an archive again: a published file is damaged");
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Removes an archive and its empty folder, if they exist. Errors do not matter: leftovers are not published.
fn remove(packed: &Path) {
    let _ = fs::remove_file(packed);
    if let Some(folder) = packed.parent() {
        let _ = fs::remove_dir(folder);
    }
}

/// Stages the files of an archive from a folder in which they were verified.
fn stage(store: &Store, id: &str, folder: &Path, unpacked: &Unpacked) -> Result<(), FetchError> {
    for file in &unpacked.files {
        store.stage_clone(id, &file.path, &unpacked.digest, &folder.join(file.path.as_str()))?;
    }
    Ok(())
}

/// Reads any bytes as a tar and checks the paths of its entries; for the fuzz targets.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_anything(bytes: &[u8]) {
    read_entries(bytes, bytes.len() as u64);
}

/// Reads any bytes as a compressed tar within a limit, and checks a round trip; for the fuzz targets.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn unpack_anything(bytes: &[u8]) {
    use std::io::{Read, Write};

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use ruzstd::encoding::{CompressionLevel, compress_to_vec};

    use self::decode::tar_in;

    const LIMIT: u64 = 1 << 20;
    if let Ok(tar) = tar_in(bytes) {
        let read = read_entries(tar, LIMIT);
        // The read that exceeds the limit is counted.
        assert!(read <= LIMIT + 4096);
    }
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    let gzip = gzip.write_all(bytes).and_then(|()| gzip.finish());
    let zstd = compress_to_vec(bytes, CompressionLevel::Fastest);
    for packed in gzip.into_iter().chain([zstd]) {
        let mut text = Vec::new();
        let read = tar_in(&packed).and_then(|mut tar| tar.read_to_end(&mut text));
        assert!(read.is_ok_and(|_| text == bytes));
    }
}

/// Reads all entries of a tar and returns the number of bytes read.
#[cfg(any(test, feature = "fuzzing"))]
fn read_entries(reader: impl std::io::Read, limit: u64) -> u64 {
    use self::error::Fault;
    use self::names::{destination, target};
    use self::tar::{Kind, Tar};

    let mut tar = Tar::new(reader, limit);
    let mut names = Names::default();
    let mut buffer = [0; 512];
    while let Ok(Some(entry)) = tar.next() {
        let Ok(Some(path)) = destination(&entry.path) else {
            continue;
        };
        let _ = names.take(&path);
        match &entry.kind {
            Kind::Symlink(text) => {
                let _ = target(&path, text);
            }
            Kind::File(_) => while matches!(tar.read(&mut buffer), Ok(read) if read > 0) {},
            Kind::Folder | Kind::HardLink(_) => {}
        }
    }
    tar.fault(Fault::Truncated, None).offset
}

#[cfg(test)]
mod tests;
