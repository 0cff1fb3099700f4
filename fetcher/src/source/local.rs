//! Files of a folder that is mounted here: of another claim, or of a disk. They are proven by the manifest that lies
//! there if the folder is one that modelcache published, by a `SHA256SUMS` in it, and else by hashing them once to list
//! them, which proves the copy alone.

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

/// A list of digests in a folder.
const SUMS: &str = "SHA256SUMS";

/// A longer list is none.
const LONGEST_SUMS: u64 = 64 << 20;

/// A folder.
pub struct Local {
    address: LocalAddress,
    progress: Progress,
    listed: Mutex<HashMap<FilePath, LocalFile>>,
}

impl Local {
    /// A folder; `progress` is moved while its files are hashed.
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
        // Who does not wait for the listing any more does not want it hashed either.
        let _stops = stop.clone().drop_guard();
        let (folder, progress) = (self.address.folder().to_owned(), self.progress.clone());
        let read = spawn_blocking(move || read(&folder, &progress, &stop));
        let Read { revision, files } = read
            .await
            .map_err(|error| SourceError::new(FailureClass::Internal, format!("the listing ended early: {error}")))??;
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
            .ok_or_else(|| SourceError::new(FailureClass::Internal, format!("{} was not listed", file.path)))
    }
}

/// What a folder holds.
struct Read {
    revision: String,
    files: Vec<(RemoteFile, LocalFile)>,
}

fn read(folder: &Path, progress: &Progress, stop: &CancellationToken) -> Result<Read, SourceError> {
    let folder = root(folder)?;
    match holding(&folder).map_err(|error| storage(&error))? {
        Holding::Revision { root, manifest } => {
            let below = root.join(manifest.folder());
            let files = manifest.files.into_iter().map(|stored| {
                // Its layout may keep the bytes elsewhere than under the path that was listed.
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
                    "{} has another length than when it was published; verify that folder, and fetch into it again",
                    place.path.display()
                )))
            });
            Ok(Read {
                files: files.collect::<Result<_, _>>()?,
                revision: manifest.revision,
            })
        }
        Holding::Nothing => Err(SourceError::new(
            FailureClass::SourceError,
            format!(
                "nothing is published in {} yet; it is there once the fetch that fills it has ended",
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
    if length > LONGEST_SUMS {
        return Err(invalid(format!(
            "{} is too long for a list of digests; remove it",
            path.display()
        )));
    }
    fs::read(&file).map(Some).map_err(|error| failed(&file, &error))
}

fn by_list(folder: &Path, list: &[u8]) -> Result<Read, SourceError> {
    let digests = read_sums(list, &folder.join(SUMS).display())?;
    let files = digests
        .into_iter()
        .map(|(path, digest)| listed(resolve(folder, folder, path)?, digest));
    Ok(Read {
        revision: format!("sha256:{}", hex(&Sha256::digest(list))),
        files: files.collect::<Result<_, _>>()?,
    })
}

fn by_hashing(folder: &Path, progress: &Progress, stop: &CancellationToken) -> Result<Read, SourceError> {
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
        "there is no SHA256SUMS, so every file is hashed to list it; that proves the copy, not what is copied"
    );
    progress.set_total(found.len() as u64, bytes);
    let hashed = found.into_iter().map(|(file, place)| hash(file, place, progress, stop));
    let files: Vec<_> = hashed.collect::<Result<_, _>>()?;
    // What was hashed to list it is not proven yet: what is fetched is hashed again.
    progress.unverified(bytes);
    let remote: Vec<_> = files.iter().map(|(file, _)| file.clone()).collect();
    Ok(Read {
        revision: manifest_digest(&remote),
        files,
    })
}

/// A file as it is now.
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
                "{} is being written to; it can be listed once it is whole",
                place.path.display()
            ),
        ));
    }
    Ok((RemoteFile { digest, ..file }, place))
}

/// A failure of the disk that is read, which is not the volume that is written.
fn storage(error: &StorageError) -> SourceError {
    failed(&PathBuf::from(&error.path), &error.source)
}

#[cfg(test)]
mod tests;
