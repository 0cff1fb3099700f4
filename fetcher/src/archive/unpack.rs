//! Unpacks one archive into the staged revision.
//!
//! A file gets its name when it is complete and durable. The archive is removed when all files have theirs, so that a run
//! after an interruption unpacks it again and fetches nothing.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::decode::tar_of;
use super::error::{Failure, Fault, Located};
use super::names::{Names, destination, follow, target};
use super::tar::{Entry, Kind, Tar};
use crate::disk::files::{create_folders, open_plain, sync_folder};
use crate::disk::free_space::free;
use crate::disk::page_cache::forget;
use crate::model::digest::ContentDigest;
use crate::model::error::{FetchError, StorageError};
use crate::model::path::FilePath;
use crate::model::remote_file::RemoteFile;
use crate::store::Store;
use crate::store::{Unpacked, UnpackedFile};

/// Maximum ratio of unpacked to packed bytes: text reaches about ten, weights about one.
const MAX_UNPACK_RATIO: u64 = 100;

/// Bytes that any archive may unpack to, however small it is.
const MIN_UNPACK_LIMIT_BYTES: u64 = 64 << 20;

/// Bytes that are read and written at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// Maximum number of written bytes that are not durable: the page cache counts as memory of the process.
const MAX_UNSYNCED_BYTES: u64 = 32 << 20;

/// Unpacks a staged archive and removes it.
pub(super) fn unpack(
    store: &Store,
    id: &str,
    archive: &RemoteFile,
    names: &mut Names,
    stop: &CancellationToken,
) -> Result<Unpacked, FetchError> {
    let packed = store.staged(id, &archive.path);
    let mut unpacking = Unpacking {
        store,
        id,
        archive,
        names,
        stop,
        files: HashMap::new(),
        links: HashMap::new(),
    };
    let files = unpacking.run(&packed).map_err(|failure| failure.of(archive))?;
    let unpacked = Unpacked {
        path: archive.path.clone(),
        size: archive.size,
        digest: archive.digest,
        files,
    };
    // Names first: files that are recorded as unpacked must exist after a crash.
    for folder in folders(store, id, &unpacked.files) {
        sync_folder(&folder)?;
    }
    store.record_unpacked(id, &unpacked)?;
    fs::remove_file(&packed).map_err(StorageError::at("remove", &packed))?;
    Ok(unpacked)
}

/// Maximum number of bytes that an archive may unpack to.
fn limit(archive: &RemoteFile) -> u64 {
    archive
        .size
        .saturating_mul(MAX_UNPACK_RATIO)
        .max(MIN_UNPACK_LIMIT_BYTES)
}

/// Every folder of the staged revision that contains one of the files, at any depth.
fn folders(store: &Store, id: &str, files: &[UnpackedFile]) -> BTreeSet<std::path::PathBuf> {
    let mut folders = BTreeSet::new();
    for file in files {
        let staged = store.staged(id, &file.path);
        let depth = file.path.as_str().split('/').count();
        folders.extend(staged.ancestors().skip(1).take(depth).map(Path::to_owned));
    }
    folders
}

struct Unpacking<'a> {
    store: &'a Store,
    id: &'a str,
    archive: &'a RemoteFile,
    names: &'a mut Names,
    stop: &'a CancellationToken,
    files: HashMap<FilePath, (u64, ContentDigest)>,
    /// The target of each link.
    links: HashMap<FilePath, FilePath>,
}

impl Unpacking<'_> {
    fn run(&mut self, packed: &Path) -> Result<Vec<UnpackedFile>, Failure> {
        let opened = open_plain(packed).map_err(StorageError::at("open", packed))?;
        let reader = tar_of(opened).map_err(StorageError::at("read", packed))?;
        let mut tar = Tar::new(reader, limit(self.archive));
        while let Some(entry) = tar.next()? {
            if self.stop.is_cancelled() {
                return Err(Failure::Interrupted);
            }
            self.take(&entry, &mut tar)?;
        }
        let linked = self.link(&tar)?;
        let mut files: Vec<_> = self
            .files
            .drain()
            .map(|(path, (size, digest))| UnpackedFile { path, size, digest })
            .chain(linked)
            .collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    /// Unpacks one entry.
    fn take<R: io::Read>(&mut self, entry: &Entry, tar: &mut Tar<R>) -> Result<(), Failure> {
        let located = |fault| Located {
            fault,
            offset: entry.offset,
            entry: Some(entry.path.clone()),
        };
        let Some(path) = destination(&entry.path).map_err(located)? else {
            return match &entry.kind {
                Kind::Folder => Ok(()),
                _ => Err(located(Fault::Kind("a file at the path of the root folder")).into()),
            };
        };
        let taken = match &entry.kind {
            Kind::Folder => self.names.take_folder(path.as_str()),
            _ => self.names.take(&path),
        };
        taken.map_err(located)?;
        match &entry.kind {
            Kind::Folder => {}
            Kind::File(size) => {
                let digest = self.write(&path, *size, entry, tar)?;
                self.files.insert(path, (*size, digest));
            }
            Kind::Symlink(text) => {
                let target = target(&path, text).map_err(located)?;
                self.links.insert(path, target);
            }
            Kind::HardLink(text) => {
                let out = || located(Fault::LinkOut(text.clone()));
                let target = destination(text).ok().flatten().ok_or_else(out)?;
                self.links.insert(path, target);
            }
        }
        Ok(())
    }

    /// Writes a file under a temporary name and renames it when it is durable.
    ///
    /// The mode in the archive is ignored: published files are read-only.
    fn write<R: io::Read>(
        &self,
        path: &FilePath,
        size: u64,
        entry: &Entry,
        tar: &mut Tar<R>,
    ) -> Result<ContentDigest, Failure> {
        let staged = self.store.staged(self.id, path);
        let temporary = self.store.partial(&self.archive.digest).with_extension("entry");
        self.require_space(size)?;
        if let Some(folder) = staged.parent() {
            create_folders(folder)?;
        }
        let mut file = File::create(&temporary).map_err(StorageError::at("create", &temporary))?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; BUFFER_BYTES];
        let (mut written, mut synced) = (0, 0);
        while written < size {
            if self.stop.is_cancelled() {
                return Err(Failure::Interrupted);
            }
            let read = tar.read(&mut buffer).map_err(|located| Located {
                entry: Some(entry.path.clone()),
                ..located
            })?;
            hasher.update(&buffer[..read]);
            file.write_all(&buffer[..read])
                .map_err(StorageError::at("write", &staged))?;
            written += read as u64;
            if written - synced >= MAX_UNSYNCED_BYTES || written == size {
                file.sync_data().map_err(StorageError::at("sync", &staged))?;
                forget(&file, synced, written - synced);
                synced = written;
            }
        }
        file.sync_all().map_err(StorageError::at("sync", &staged))?;
        fs::rename(&temporary, &staged).map_err(StorageError::at("rename", &temporary))?;
        Ok(ContentDigest::Sha256(hasher.finalize().into()))
    }

    /// Fails if a file does not fit on the volume.
    fn require_space(&self, size: u64) -> Result<(), StorageError> {
        let root = self.store.root();
        let free = free(root).map_err(StorageError::at("read the free space of", root))?;
        if size <= free {
            return Ok(());
        }
        let message = format!(
            "no space left: a packed file needs {size} bytes, only {free} are free; enlarge the volume or free space on it"
        );
        Err(StorageError::at("reserve space in", root)(io::Error::new(
            io::ErrorKind::StorageFull,
            message,
        )))
    }

    /// Stages a copy of the target for each link: a published revision contains only files.
    fn link<R>(&self, tar: &Tar<R>) -> Result<Vec<UnpackedFile>, Failure>
    where
        R: io::Read,
    {
        let mut linked = Vec::new();
        for link in self.links.keys() {
            let (file, (size, digest)) =
                follow(&self.files, &self.links, link).map_err(|fault| tar.fault(fault, Some(link.as_str())))?;
            let from = self.store.staged(self.id, file);
            self.store.stage_clone(self.id, link, &self.archive.digest, &from)?;
            linked.push(UnpackedFile {
                path: link.clone(),
                size: *size,
                digest: *digest,
            });
        }
        Ok(linked)
    }
}
