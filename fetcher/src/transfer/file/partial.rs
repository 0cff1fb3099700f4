//! A file in transfer, as its worker sees it: its bytes on disk, its journal, and how far it is hashed.

mod blocks;
mod hashing;
mod recover;
mod reuse_blocks;
mod syncing;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use self::blocks::BlockRecords;
use self::syncing::remove;
use super::active::Written;
use super::buffers::{Buffers, Kept};
use super::durable::{Batch, Durable};
use super::read_ahead::ReadAhead;
use crate::disk::block_file::Disk;
use crate::disk::free_space::{free, too_little};
use crate::disk::memory::Memory;
use crate::model::digest::Hasher;
use crate::model::error::{FetchError, StorageError};
use crate::model::remote_file::RemoteFile;
use crate::store::journal::{Journal, Key, Recovered};
use crate::store::{Store, Writes};
use crate::transfer::schedule::OriginNumber;

/// Read size where no block of memory is free; each file in transfer has a buffer of this size.
const PART_BYTES: u64 = 256 << 10;

/// Which origin delivered a block in this run, and its checksum.
pub(super) type Delivered = HashMap<u64, (OriginNumber, u32)>;

/// The partial file of one content.
#[derive(Debug)]
pub(crate) struct Partial {
    key: Key,
    path: PathBuf,
    label: String,
    disk: Arc<Disk>,
    /// The file system appends only: what is on disk has no hole, and ends with the file.
    in_order: bool,
    /// `None` for a file of one block: it is missing or complete, never partial.
    durable: Option<Durable>,
    blocks: BlockRecords,
    hasher: Hasher,
    hashed: u64,
    /// Blocks hashed at the last checkpoint.
    noted: u64,
    unsynced: Batch,
    oldest_unsynced: Option<Instant>,
    /// Blocks that need not be read back for the hash, unless they are evicted before.
    kept: HashMap<u64, Kept>,
    read_ahead: ReadAhead,
    /// Buffer for reads without a block of memory.
    memory: Memory,
}

/// Blocks of a file that are fetched again.
#[derive(Debug, Default)]
pub(crate) struct Replaced {
    pub(crate) bytes: u64,
    pub(crate) delivered: Delivered,
}

impl Partial {
    /// Resumes from what is durable of a file, or reserves space for it.
    pub(crate) fn open(
        store: &Store,
        remote: &RemoteFile,
        block_bytes: u64,
        buffers: &Arc<Buffers>,
        stop: &CancellationToken,
    ) -> Result<Self, FetchError> {
        let key = Key {
            digest: remote.digest,
            size: remote.size,
            block_bytes,
        };
        let path = store.partial(&remote.digest);
        let label = format!("{} (as {})", remote.path, path.display());
        let fault = |action| StorageError::at(action, Path::new(&label));
        let abilities = store.abilities();
        let disk = Disk::open(&path, abilities.bypasses_cache).map_err(fault("open"))?;
        let file = disk.file();
        let length = file.metadata().map_err(fault("read"))?.len();
        // A file that is appended to is as long as what arrived; any other has its full length from the start.
        let fits = match abilities.writes {
            Writes::Anywhere => length == remote.size,
            Writes::InOrder => length <= remote.size,
            Writes::AtOnce => false,
        };

        let journal_path = store.journal(&remote.digest);
        if !fits {
            remove(&journal_path)?;
        }
        let (journal, recovered) = if remote.size > block_bytes {
            let (journal, recovered) =
                Journal::open(&journal_path, key).map_err(StorageError::at("open", &journal_path))?;
            (Some(journal), recovered)
        } else {
            (None, Recovered::NOTHING)
        };
        if recovered.blocks.is_empty() {
            file.set_len(0).map_err(fault("truncate"))?;
            make_room(file, remote.size, store).map_err(fault("reserve room for"))?;
        }
        let disk = Arc::new(disk);
        let mut partial = Self {
            key,
            path,
            in_order: !abilities.writes_anywhere(),
            durable: None,
            label,
            read_ahead: ReadAhead::new(Arc::clone(&disk), Arc::clone(buffers)),
            disk,
            blocks: BlockRecords::new(remote.size.div_ceil(block_bytes)),
            hasher: Hasher::new(&remote.digest, remote.size),
            hashed: 0,
            noted: 0,
            unsynced: Batch::default(),
            oldest_unsynced: None,
            kept: HashMap::new(),
            memory: Memory::new(usize::try_from(remote.size.min(PART_BYTES)).unwrap_or(usize::MAX)),
        };
        let boot = partial.recover(&recovered, length, store.boot(), stop)?;
        if let Some(mut journal) = journal {
            if boot != recovered.boot {
                journal.begin(&boot).map_err(StorageError::at("write", &journal_path))?;
            }
            partial.durable = Some(Durable::new(Arc::clone(&partial.disk), &partial.label, journal));
        }
        Ok(partial)
    }

    fn block_length(&self, block: u64) -> u64 {
        (self.key.size - block * self.key.block_bytes).min(self.key.block_bytes)
    }

    /// Reads a block from the disk.
    fn read(&mut self, block: u64, take: impl FnMut(&[u8])) -> Result<(), StorageError> {
        let (offset, length) = (block * self.key.block_bytes, self.block_length(block));
        self.disk
            .read_in_parts(&mut self.memory, offset, length, take)
            .map_err(|error| self.unreadable(block, error))
    }

    fn unreadable(&self, block: u64, error: io::Error) -> StorageError {
        StorageError::at("read", Path::new(&self.label))(error).at_byte(block * self.key.block_bytes)
    }

    /// The content that the block checksums belong to.
    pub(crate) fn key(&self) -> Key {
        self.key
    }

    pub(crate) fn disk(&self) -> Arc<Disk> {
        Arc::clone(&self.disk)
    }

    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// How many blocks there are.
    pub(crate) fn blocks(&self) -> u64 {
        self.blocks.count()
    }

    /// Bytes on disk.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.written().map(|block| self.block_length(block)).sum()
    }

    /// Records a block that a connection has written.
    pub(crate) fn received(&mut self, written: Written) {
        self.blocks.set(written.block, written.checksum, Some(written.origin));
        self.kept.insert(written.block, written.kept);
        if self.durable.is_some() {
            self.unsynced.blocks.push((written.block, written.checksum));
            self.unsynced.permits.extend(written.unsynced);
            self.oldest_unsynced.get_or_insert_with(Instant::now);
        }
    }

    /// Records a block that was on disk before.
    fn record(&mut self, block: u64, checksum: u32) {
        self.blocks.set(block, checksum, None);
    }

    fn is_on_disk(&self, block: u64) -> bool {
        self.blocks.get(block).is_some()
    }

    /// Blocks on disk.
    pub(crate) fn written(&self) -> impl Iterator<Item = u64> + '_ {
        self.blocks.on_disk().map(|(block, _)| block)
    }

    /// The CRC-32C of every block; complete once every block is written.
    pub(crate) fn checksums(&self) -> Vec<u32> {
        self.blocks.checksums()
    }

    /// Which origin delivered which block in this run.
    pub(crate) fn delivered(&self) -> Delivered {
        self.blocks.delivered()
    }

    /// Whether one origin delivered everything, in this run.
    pub(crate) fn is_all_from(&self, origin: OriginNumber) -> bool {
        self.blocks.are_all_from(origin)
    }

    /// Drops the blocks that one origin did not deliver, and the hash.
    pub(crate) fn distrust(&mut self, trusted: OriginNumber) -> Result<Replaced, FetchError> {
        self.sync()?;
        self.finish()?;
        let mut replaced = Replaced::default();
        for block in 0..self.blocks() {
            if self
                .blocks
                .get(block)
                .is_some_and(|record| record.origin == Some(trusted))
            {
                continue;
            }
            if let Some(record) = self.blocks.remove(block) {
                replaced.bytes += self.block_length(block);
                replaced
                    .delivered
                    .extend(record.origin.map(|origin| (block, (origin, record.checksum))));
            }
        }
        for (block, record) in self.forget_behind_holes(self.key.size)? {
            replaced.bytes += self.block_length(block);
            replaced
                .delivered
                .extend(record.origin.map(|origin| (block, (origin, record.checksum))));
        }
        self.kept.clear();
        self.read_ahead.clear();
        self.hasher = Hasher::new(&self.key.digest, self.key.size);
        (self.hashed, self.noted) = (0, 0);
        Ok(replaced)
    }
}

/// Reserves a file's space, so that a full disk fails before the first byte and writes do not fragment. File systems that
/// cannot reserve (NFS before 4.2) get a sparse file; those that only append get nothing.
fn make_room(file: &File, size: u64, store: &Store) -> io::Result<()> {
    let abilities = store.abilities();
    if size == 0 || !abilities.writes_anywhere() {
        return Ok(());
    }
    if !abilities.reserves {
        return file.set_len(size);
    }
    match fallocate(file, FallocateFlags::empty(), 0, size) {
        Ok(()) => Ok(()),
        Err(Errno::NOTSUP | Errno::NOSYS | Errno::INVAL) => file.set_len(size),
        Err(Errno::NOSPC | Errno::DQUOT) => Err(too_little(size, free(store.root()).ok())),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
