//! One archive into the staged revision. A file gets its name there when it is whole and durable; the archive goes when
//! all of them have theirs, so that a run that is cut short unpacks it again and fetches nothing.

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

/// How much longer than itself an archive may unpack: text does ten times, weights hardly at all.
const LARGEST_RATIO: u64 = 100;

/// What a small archive may unpack to whatever its length.
const SMALL: u64 = 64 << 20;

/// Bytes read and written at once.
const BUFFER: usize = 256 << 10;

/// Bytes that may be written and not durable: the page cache is charged to us.
const UNSYNCED: u64 = 32 << 20;

/// Unpacks an archive that is staged, and removes it.
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
    // The names first: what is remembered as unpacked must be there after a crash.
    for folder in folders(store, id, &unpacked.files) {
        sync_folder(&folder)?;
    }
    store.record_unpacked(id, &unpacked)?;
    fs::remove_file(&packed).map_err(StorageError::at("remove", &packed))?;
    Ok(unpacked)
}

/// Bytes an archive may unpack to.
fn limit(archive: &RemoteFile) -> u64 {
    archive.size.saturating_mul(LARGEST_RATIO).max(SMALL)
}

/// Every folder of the staged revision that has one of the files below it.
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
    /// What each link leads to.
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

    fn take<R: io::Read>(&mut self, entry: &Entry, tar: &mut Tar<R>) -> Result<(), Failure> {
        let refused = |fault| Located {
            fault,
            offset: entry.offset,
            entry: Some(entry.path.clone()),
        };
        let Some(path) = destination(&entry.path).map_err(refused)? else {
            return match &entry.kind {
                Kind::Folder => Ok(()),
                _ => Err(refused(Fault::Kind("the folder itself, but no folder")).into()),
            };
        };
        let taken = match &entry.kind {
            Kind::Folder => self.names.take_folder(path.as_str()),
            _ => self.names.take(&path),
        };
        taken.map_err(refused)?;
        match &entry.kind {
            Kind::Folder => {}
            Kind::File(size) => {
                let digest = self.write(&path, *size, entry, tar)?;
                self.files.insert(path, (*size, digest));
            }
            Kind::Symlink(text) => {
                let target = target(&path, text).map_err(refused)?;
                self.links.insert(path, target);
            }
            Kind::HardLink(text) => {
                let out = || refused(Fault::LinkOut(text.clone()));
                let target = destination(text).ok().flatten().ok_or_else(out)?;
                self.links.insert(path, target);
            }
        }
        Ok(())
    }

    /// Writes a file under a temporary name, and gives it its own when it is durable. Its mode is not looked at: what
    /// is published can be read, and nothing else.
    fn write<R: io::Read>(
        &self,
        path: &FilePath,
        size: u64,
        entry: &Entry,
        tar: &mut Tar<R>,
    ) -> Result<ContentDigest, Failure> {
        let staged = self.store.staged(self.id, path);
        let temporary = self.store.partial(&self.archive.digest).with_extension("entry");
        self.require_room(size)?;
        if let Some(folder) = staged.parent() {
            create_folders(folder)?;
        }
        let mut file = File::create(&temporary).map_err(StorageError::at("create", &temporary))?;
        let mut hasher = Sha256::new();
        let mut buffer = vec![0; BUFFER];
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
            if written - synced >= UNSYNCED || written == size {
                file.sync_data().map_err(StorageError::at("sync", &staged))?;
                forget(&file, synced, written - synced);
                synced = written;
            }
        }
        file.sync_all().map_err(StorageError::at("sync", &staged))?;
        fs::rename(&temporary, &staged).map_err(StorageError::at("rename", &temporary))?;
        Ok(ContentDigest::Sha256(hasher.finalize().into()))
    }

    /// Refuses to begin a file that cannot end for want of room.
    fn require_room(&self, size: u64) -> Result<(), StorageError> {
        let root = self.store.root();
        let free = free(root).map_err(StorageError::at("read the free room of", root))?;
        if size <= free {
            return Ok(());
        }
        let message = format!(
            "no space left: a file of {size} bytes is to be unpacked, only {free} are free; enlarge the volume or free \
             space on it"
        );
        Err(StorageError::at("reserve room in", root)(io::Error::new(
            io::ErrorKind::StorageFull,
            message,
        )))
    }

    /// Gives each link the file that it leads to: what is published holds files alone.
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
