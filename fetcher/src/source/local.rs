//! A mounted folder: another claim, or a local disk.
//!
//! The digests come from the manifest if modelcache published the folder, else from its `SHA256SUMS`, else from hashing
//! every file to list it. The last verifies the copy only, not the original.

mod address;
mod open;
mod tree;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use modelcache_crds::report::FailureClass;
use sha2::{Digest, Sha256};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

pub use self::address::{InvalidLocalAddress, LocalAddress};
use self::tree::{Entry, failed, invalid, resolve, root, walk};
use super::plain_http::read_sums;
use super::{Listing, LocalFile, Location, Source, Stamp};
use crate::disk::hash::hash_file;
use crate::model::digest::{ContentDigest, hex};
use crate::model::error::{FetchError, SourceError, StorageError};
use crate::model::manifest::manifest_digest;
use crate::model::path::FilePath;
use crate::model::remote_file::RemoteFile;
use crate::observe::progress::Progress;
use crate::store::{Holding, holding};

/// File name of the list of digests.
const SUMS: &str = "SHA256SUMS";

/// Largest list of digests.
const MAX_SUMS_BYTES: u64 = 64 << 20;

/// A folder as a source.
pub struct Local {
    address: LocalAddress,
    progress: Progress,
    listed: Mutex<HashMap<FilePath, LocalFile>>,
}

impl Local {
    /// A folder as a source. Hashing its files updates `progress`.
    #[must_use]
    pub fn new(address: LocalAddress, progress: Progress) -> Self {
        Self {
            address,
            progress,
            listed: Mutex::default(),
        }
    }
}

#[async_trait]
impl Source for Local {
    async fn list(&self) -> Result<Listing, SourceError> {
        let stop = CancellationToken::new();
        // Dropping this future also stops the hashing.
        let _stops = stop.clone().drop_guard();
        let (folder, progress) = (self.address.folder().to_owned(), self.progress.clone());
        let read = spawn_blocking(move || read(&folder, &progress, &stop));
        let FolderListing { revision, files } = read
            .await
            .map_err(|error| SourceError::new(FailureClass::Internal, format!("the listing task failed: {error}")))??;
        let places = files.iter().map(|(file, place)| (file.path.clone(), place.clone()));
        *self.listed.lock().unwrap_or_else(PoisonError::into_inner) = places.collect();
        Ok(Listing {
            revision,
            files: files.into_iter().map(|(file, _)| file).collect(),
        })
    }

    async fn locate(&self, _revision: &str, file: &RemoteFile) -> Result<Location, SourceError> {
        let listed = self.listed.lock().unwrap_or_else(PoisonError::into_inner);
        let place = listed.get(&file.path).cloned();
        place
            .map(Location::File)
            .ok_or_else(|| SourceError::new(FailureClass::Internal, format!("{} is not in the listing", file.path)))
    }
}

/// The files of a folder, with the place of each.
struct FolderListing {
    revision: String,
    files: Vec<(RemoteFile, LocalFile)>,
}

fn read(folder: &Path, progress: &Progress, stop: &CancellationToken) -> Result<FolderListing, SourceError> {
    let folder = root(folder)?;
    match holding(&folder).map_err(|error| storage(&error))? {
        Holding::Revision { root, manifest } => {
            let below = root.join(manifest.folder());
            let files = manifest.files.into_iter().map(|stored| {
                // The layout may store the bytes under another path than the listed one.
                let Entry { file, .. } = resolve(&root, &below, stored.place().clone())?;
                let entry = Entry {
                    path: stored.path,
                    file,
                };
                let (file, place) = listed(entry, stored.digest)?;
                if file.size == stored.size {
                    return Ok((file, place));
                }
                Err(invalid(format!(
                    "{} changed its size since it was published; verify that folder, and fetch into it again",
                    place.path.display()
                )))
            });
            Ok(FolderListing {
                files: files.collect::<Result<_, _>>()?,
                revision: manifest.revision,
            })
        }
        Holding::Nothing => Err(SourceError::new(
            FailureClass::SourceError,
            format!(
                "nothing is published in {} yet; wait for the fetch that fills it",
                folder.display()
            ),
        )),
        Holding::Foreign => match sums(&folder)? {
            Some(list) => by_list(&folder, &list),
            None => by_hashing(&folder, progress, stop),
        },
    }
}

fn sums(folder: &Path) -> Result<Option<Vec<u8>>, SourceError> {
    let path = folder.join(SUMS);
    match fs::symlink_metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(&path, &error)),
        Ok(_) => {}
    }
    let name = FilePath::parse(SUMS).map_err(|error| invalid(format!("{}: {error}", path.display())))?;
    let Entry { file, .. } = resolve(folder, folder, name)?;
    let length = fs::metadata(&file).map_err(|error| failed(&file, &error))?.len();
    if length > MAX_SUMS_BYTES {
        return Err(invalid(format!(
            "{} is too large for a list of digests; remove it",
            path.display()
        )));
    }
    fs::read(&file).map(Some).map_err(|error| failed(&file, &error))
}

fn by_list(folder: &Path, list: &[u8]) -> Result<FolderListing, SourceError> {
    let digests = read_sums(list, &folder.join(SUMS).display())?;
    let files = digests
        .into_iter()
        .map(|(path, digest)| listed(resolve(folder, folder, path)?, digest));
    Ok(FolderListing {
        revision: format!("sha256:{}", hex(&Sha256::digest(list))),
        files: files.collect::<Result<_, _>>()?,
    })
}

fn by_hashing(folder: &Path, progress: &Progress, stop: &CancellationToken) -> Result<FolderListing, SourceError> {
    let unknown = ContentDigest::Sha256([0; 32]);
    let found: Vec<_> = walk(folder)?
        .into_iter()
        .map(|entry| listed(entry, unknown))
        .collect::<Result<_, _>>()?;
    let bytes = found.iter().map(|(file, _)| file.size).sum();
    tracing::warn!(
        folder = %folder.display(),
        files = found.len(),
        bytes,
        "listing without SHA256SUMS: hashing every file verifies the copy, not the original"
    );
    progress.set_total(found.len() as u64, bytes);
    let hashed = found.into_iter().map(|(file, place)| hash(file, place, progress, stop));
    let files: Vec<_> = hashed.collect::<Result<_, _>>()?;
    // Not verified yet: every fetched file is hashed again.
    progress.unverified(bytes);
    let remote: Vec<_> = files.iter().map(|(file, _)| file.clone()).collect();
    Ok(FolderListing {
        revision: manifest_digest(&remote),
        files,
    })
}

/// A file with its current size and stamp.
fn listed(entry: Entry, digest: ContentDigest) -> Result<(RemoteFile, LocalFile), SourceError> {
    let Entry { path, file } = entry;
    let metadata = fs::symlink_metadata(&file).map_err(|error| failed(&file, &error))?;
    let remote = RemoteFile {
        path,
        size: metadata.len(),
        digest,
    };
    let stamp = Stamp::of(&metadata);
    Ok((remote, LocalFile { path: file, stamp }))
}

fn hash(
    file: RemoteFile,
    place: LocalFile,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<(RemoteFile, LocalFile), SourceError> {
    tracing::debug!(file = %file.path, bytes = file.size, "hashing");
    let digest = hash_file(&place.path, &file.digest, file.size, progress, stop).map_err(|error| match error {
        FetchError::Storage(error) => storage(&error),
        error => SourceError::new(error.class(), error.to_string()),
    })?;
    let after = fs::symlink_metadata(&place.path).map_err(|error| failed(&place.path, &error))?;
    if Stamp::of(&after) != place.stamp {
        return Err(SourceError::new(
            FailureClass::SourceError,
            format!(
                "{} changed while it was hashed; list it again once it is complete",
                place.path.display()
            ),
        ));
    }
    Ok((RemoteFile { digest, ..file }, place))
}

/// A read failure of the source folder as a source error, since it is not the volume that is written to.
fn storage(error: &StorageError) -> SourceError {
    failed(&PathBuf::from(&error.path), &error.source)
}

#[cfg(test)]
mod tests;
