//! Reuses files on disk instead of fetching them: staged by an earlier run, or published in this revision or another one.
//! Published bytes are hashed again before they are trusted; that is cheap compared to fetching them.

pub(crate) mod content;
pub(crate) mod free_space;

use std::collections::{HashMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use self::content::Content;
use crate::disk::files::size_of_plain_file;
use crate::disk::hash::hash_file;
use crate::model::digest::ContentDigest;
use crate::model::error::{FetchError, StorageError};
use crate::observe::progress::Progress;
use crate::store::{Store, published};

/// Where a content was found on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Every file of it is staged now.
    Staged,
    /// Every file of it is published in this same revision, and verified again.
    InPlace,
    /// Nowhere: it must be fetched.
    Missing,
}

/// The published files in this store, by digest and size.
#[derive(Debug)]
pub(super) struct Reuse {
    id: String,
    /// Files with the length that their manifest lists.
    published: HashMap<(ContentDigest, u64), Vec<PathBuf>>,
    /// All files, including those with another length.
    places: HashMap<(ContentDigest, u64), Vec<PathBuf>>,
}

impl Reuse {
    /// Finds the published files without reading their bytes.
    pub(super) fn scan(store: &Store, id: &str) -> Result<Self, StorageError> {
        let mut found: HashMap<_, Vec<_>> = HashMap::new();
        let mut places: HashMap<_, Vec<_>> = HashMap::new();
        for manifest in published(store.root())? {
            let folder = store.root().join(manifest.folder());
            for file in manifest.files {
                let path = folder.join(file.place().as_str());
                let Some(size) = size_of_plain_file(&path) else {
                    continue;
                };
                let key = (file.digest, file.size);
                if size == file.size {
                    found.entry(key).or_default().push(path.clone());
                }
                places.entry(key).or_default().push(path);
            }
        }
        Ok(Self {
            id: id.to_owned(),
            published: found,
            places,
        })
    }

    /// The published files of a content, intact or damaged.
    pub(super) fn places(&self, content: &Content) -> &[PathBuf] {
        self.places
            .get(&(content.remote.digest, content.remote.size))
            .map_or(&[], Vec::as_slice)
    }

    /// Whether files of the right size are published or staged. Published ones may turn out to be damaged.
    pub(super) fn may_have(&self, store: &Store, content: &Content) -> bool {
        let size = content.remote.size;
        self.published.contains_key(&(content.remote.digest, size))
            || content
                .places()
                .any(|place| size_of_plain_file(&store.staged(&self.id, place)) == Some(size))
    }

    /// Finds a content on disk, verifies it and stages it.
    pub(super) fn find(
        &self,
        store: &Store,
        content: &Content,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> Result<Found, FetchError> {
        let size = content.remote.size;
        let staged = |place| store.staged(&self.id, place);
        if let Some(first) = content
            .places()
            .map(staged)
            .find(|path| size_of_plain_file(path) == Some(size))
        {
            self.stage(store, content, &first)?;
            progress.verified(size);
            return Ok(Found::Staged);
        }
        if self.is_in_place(store, content, progress, stop)? {
            return Ok(Found::InPlace);
        }
        for path in self.published.get(&(content.remote.digest, size)).into_iter().flatten() {
            if is_intact(path, content, progress, stop)? {
                self.stage(store, content, path)?;
                return Ok(Found::Staged);
            }
        }
        Ok(Found::Missing)
    }

    fn is_in_place(
        &self,
        store: &Store,
        content: &Content,
        progress: &Progress,
        stop: &CancellationToken,
    ) -> Result<bool, FetchError> {
        let folder = store.revision(&self.id);
        let paths: Vec<_> = content.places().map(|place| folder.join(place.as_str())).collect();
        if paths
            .iter()
            .any(|path| size_of_plain_file(path) != Some(content.remote.size))
        {
            return Ok(false);
        }
        let mut verified = HashSet::new();
        for path in &paths {
            let inode = std::fs::metadata(path).map_err(StorageError::at("read", path))?.ino();
            if verified.contains(&inode) {
                continue;
            }
            if !is_intact(path, content, progress, stop)? {
                progress.unverified(content.remote.size * verified.len() as u64);
                return Ok(false);
            }
            verified.insert(inode);
        }
        // A content counts once, however many of its files were hashed.
        progress.unverified(content.remote.size * (verified.len() as u64).saturating_sub(1));
        Ok(true)
    }

    /// Stages a content in all of its places from one verified file.
    pub(super) fn stage(&self, store: &Store, content: &Content, from: &Path) -> Result<(), StorageError> {
        for place in content.places() {
            if size_of_plain_file(&store.staged(&self.id, place)) != Some(content.remote.size) {
                store.stage_clone(&self.id, place, &content.remote.digest, from)?;
            }
        }
        Ok(())
    }

    /// Stages a content that is published in this same revision, when the revision must be replaced.
    pub(super) fn stage_in_place(&self, store: &Store, content: &Content) -> Result<(), StorageError> {
        let from = store.revision(&self.id).join(content.place.as_str());
        self.stage(store, content, &from)
    }
}

fn is_intact(
    path: &Path,
    content: &Content,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<bool, FetchError> {
    let digest = match hash_file(path, &content.remote.digest, content.remote.size, progress, stop) {
        // An unreadable file counts as damaged.
        Err(FetchError::Storage(error)) => {
            tracing::warn!(error = %error, "published file cannot be read; not reused");
            return Ok(false);
        }
        digest => digest?,
    };
    let is_intact = digest == content.remote.digest;
    if !is_intact {
        progress.unverified(content.remote.size);
        tracing::warn!(path = %path.display(), "published file is damaged; not reused");
    }
    Ok(is_intact)
}
