//! What need not be fetched because it is on disk: staged by an earlier run, or published, in this revision or in
//! another. Published bytes are hashed again before they are believed; that is cheap beside fetching them.

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

/// Where a content was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Every file of it is staged now.
    Staged,
    /// Every file of it is published in this very revision, and proven again.
    InPlace,
    /// It is to be fetched.
    Nowhere,
}

/// What is published on this disk.
#[derive(Debug)]
pub(super) struct Reuse {
    id: String,
    published: HashMap<(ContentDigest, u64), Vec<PathBuf>>,
    /// The same with files that have another length than they should.
    places: HashMap<(ContentDigest, u64), Vec<PathBuf>>,
}

impl Reuse {
    /// Looks at what is published, without reading it.
    pub(super) fn survey(store: &Store, id: &str) -> Result<Self, StorageError> {
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

    /// Where a content is published, or what is left of it.
    pub(super) fn places(&self, content: &Content) -> &[PathBuf] {
        self.places
            .get(&(content.remote.digest, content.remote.size))
            .map_or(&[], Vec::as_slice)
    }

    /// Whether a content is on disk by its size, published or staged; what is published may turn out damaged.
    pub(super) fn may_have(&self, store: &Store, content: &Content) -> bool {
        let size = content.remote.size;
        self.published.contains_key(&(content.remote.digest, size))
            || content
                .places()
                .any(|place| size_of_plain_file(&store.staged(&self.id, place)) == Some(size))
    }

    /// Looks for a content, proves it and stages it.
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
            if proves(path, content, progress, stop)? {
                self.stage(store, content, path)?;
                return Ok(Found::Staged);
            }
        }
        Ok(Found::Nowhere)
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
        let mut proven = HashSet::new();
        for path in &paths {
            let inode = std::fs::metadata(path).map_err(StorageError::at("read", path))?.ino();
            if proven.contains(&inode) {
                continue;
            }
            if !proves(path, content, progress, stop)? {
                progress.unverified(content.remote.size * proven.len() as u64);
                return Ok(false);
            }
            proven.insert(inode);
        }
        // Counted once for all files of the content, whatever they were hashed as.
        progress.unverified(content.remote.size * (proven.len() as u64).saturating_sub(1));
        Ok(true)
    }

    /// Stages a content in all of its places from one proven file.
    pub(super) fn stage(&self, store: &Store, content: &Content, from: &Path) -> Result<(), StorageError> {
        for place in content.places() {
            if size_of_plain_file(&store.staged(&self.id, place)) != Some(content.remote.size) {
                store.stage_clone(&self.id, place, &content.remote.digest, from)?;
            }
        }
        Ok(())
    }

    /// Stages a content that is in place, because something else of its revision is not.
    pub(super) fn stage_in_place(&self, store: &Store, content: &Content) -> Result<(), StorageError> {
        let from = store.revision(&self.id).join(content.place.as_str());
        self.stage(store, content, &from)
    }
}

fn proves(path: &Path, content: &Content, progress: &Progress, stop: &CancellationToken) -> Result<bool, FetchError> {
    let digest = match hash_file(path, &content.remote.digest, content.remote.size, progress, stop) {
        // Unreadable is as damaged as it gets.
        Err(FetchError::Storage(error)) => {
            tracing::warn!(error = %error, "a published file cannot be read; it is not reused");
            return Ok(false);
        }
        digest => digest?,
    };
    let right = digest == content.remote.digest;
    if !right {
        progress.unverified(content.remote.size);
        tracing::warn!(path = %path.display(), "a published file is damaged");
    }
    Ok(right)
}
