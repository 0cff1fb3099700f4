//! A file under way, as its lane sees it: its bytes, its journal, and how far its hash has come.

mod take_over;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use super::active::Written;
use super::buffers::{Buffers, Kept};
use super::durable::{Batch, Durable};
use super::read_ahead::ReadAhead;
use crate::disk::block_file::Disk;
use crate::disk::boot::Boot;
use crate::disk::free_space::{free, too_little};
use crate::disk::memory::Memory;
use crate::disk::page_cache::forget;
use crate::model::digest::{ContentDigest, Hasher};
use crate::model::error::{FetchError, StorageError};
use crate::model::remote_file::RemoteFile;
use crate::store::journal::{Checkpoint, Journal, Key, Recovered};
use crate::store::{Store, Writes};
use crate::transfer::schedule::OriginNumber;

/// Bytes that are read at once where there is no block of memory for them: each file under way has its own.
const PART_BYTES: u64 = 256 << 10;

/// How far it is looked for blocks that have to be read back.
const AHEAD: u64 = 8;

/// Which origin delivered a block in this run, and its checksum.
pub(super) type Delivered = HashMap<u64, (OriginNumber, u32)>;

/// The bytes of one content, gathering.
#[derive(Debug)]
pub(crate) struct Partial {
    key: Key,
    path: PathBuf,
    label: String,
    disk: Arc<Disk>,
    /// It is written from its beginning to its end: what is there has no hole, and ends with the file.
    in_order: bool,
    /// Left out for a file of one block: there is nothing between none of it and all of it.
    durable: Option<Durable>,
    /// Blocks that are on disk, though perhaps not yet durable.
    written: Vec<bool>,
    /// The CRC-32C of each of them.
    checksums: Vec<u32>,
    hasher: Hasher,
    hashed: u64,
    /// What this run has fetched.
    brought: Delivered,
    /// Blocks hashed when the last checkpoint was noted.
    noted: u64,
    unsynced: Batch,
    oldest_unsynced: Option<Instant>,
    /// Blocks that the hash need not read back, if they are still in memory when it comes to them.
    kept: HashMap<u64, Kept>,
    read_ahead: ReadAhead,
    /// For what is read at once.
    memory: Memory,
}

/// What was forgotten of a file.
#[derive(Debug, Default)]
pub(crate) struct Replaced {
    pub(crate) bytes: u64,
    pub(crate) brought: Delivered,
}

impl Partial {
    /// Takes up what is durable of a file, or makes room for it.
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
        // Written in order, a file is as long as what came of it; any other has its length from the beginning.
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
        let blocks = usize::try_from(remote.size.div_ceil(block_bytes)).unwrap_or(usize::MAX);
        let disk = Arc::new(disk);
        let mut partial = Self {
            key,
            path,
            in_order: !abilities.writes_anywhere(),
            durable: None,
            label,
            read_ahead: ReadAhead::new(Arc::clone(&disk), Arc::clone(buffers)),
            disk,
            written: vec![false; blocks],
            checksums: vec![0; blocks],
            hasher: Hasher::new(&remote.digest, remote.size),
            hashed: 0,
            brought: Delivered::new(),
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

    /// Takes up what the journal says. As long as the machine has not been started anew, what was hashed is as it was
    /// hashed, and only what is beyond the hash is read. Otherwise all of it is: it may have been torn by a power cut
    /// or damaged since, and the hash is taken up at its checkpoint only when everything it has seen is still there,
    /// for it would never look there again. What is not within the file's length is not there, whenever it was written.
    /// Answers the start of the machine that may be noted now.
    fn recover(
        &mut self,
        recovered: &Recovered,
        length: u64,
        now: &Boot,
        stop: &CancellationToken,
    ) -> Result<Boot, FetchError> {
        let hashed = recovered.checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.blocks);
        let trusted = if recovered.boot.is_still(now) { hashed } else { 0 };
        let mut is_sound = true;
        for (block, checksum) in &recovered.blocks {
            if *block * self.key.block_bytes + self.block_length(*block) > length {
                is_sound = false;
                tracing::warn!(
                    file = self.label,
                    block,
                    "the file on disk ends before a block that was written; it is fetched again"
                );
                continue;
            }
            if *block < trusted {
                self.mark(*block, *checksum);
                continue;
            }
            if stop.is_cancelled() {
                return Err(FetchError::Interrupted);
            }
            match self.checksum(*block) {
                Ok(actual) if actual == *checksum => self.mark(*block, *checksum),
                Ok(_) => {
                    is_sound = false;
                    tracing::warn!(
                        file = self.label,
                        block,
                        "a block on disk is not what was written; it is fetched again"
                    );
                }
                // Unreadable is as damaged as it gets; a disk often heals a place by having it written anew.
                Err(error) => {
                    is_sound = false;
                    tracing::warn!(block, %error, "a block on disk cannot be read; it is fetched again");
                }
            }
            forget(
                self.disk.file(),
                *block * self.key.block_bytes,
                self.block_length(*block),
            );
        }
        is_sound &= self.forget_behind_holes(length)?.is_empty();
        if let Some(Checkpoint { blocks, state }) = &recovered.checkpoint
            && (0..*blocks).all(|block| self.is_written(block))
            && let Some(hasher) = Hasher::resume(&self.key.digest, state)
        {
            (self.hasher, self.hashed, self.noted) = (hasher, *blocks, *blocks);
        }
        // The journal still speaks of what is damaged, so the next run must not trust it either.
        Ok(if is_sound { now.clone() } else { Boot::UNKNOWN })
    }

    fn mark(&mut self, block: u64, checksum: u32) {
        let Ok(place) = usize::try_from(block) else { return };
        if let (Some(written), Some(kept)) = (self.written.get_mut(place), self.checksums.get_mut(place)) {
            (*written, *kept) = (true, checksum);
        }
    }

    /// Where a file of some length is written in order, cuts it at the first block that is missing, for nothing could be
    /// put there any more. Answers which blocks behind it are lost.
    fn forget_behind_holes(&mut self, length: u64) -> Result<Vec<u64>, StorageError> {
        if !self.in_order {
            return Ok(Vec::new());
        }
        let first_missing = (0..self.blocks()).find(|block| !self.is_written(*block));
        let Some(first_missing) = first_missing else {
            return Ok(Vec::new());
        };
        let lost: Vec<u64> = self.written().skip_while(|block| *block < first_missing).collect();
        for block in &lost {
            self.unmark(*block);
        }
        let end = first_missing * self.key.block_bytes;
        if length != end {
            self.disk
                .file()
                .set_len(end)
                .map_err(StorageError::at("truncate", Path::new(&self.label)))?;
        }
        Ok(lost)
    }

    fn unmark(&mut self, block: u64) {
        if let Some(written) = usize::try_from(block)
            .ok()
            .and_then(|block| self.written.get_mut(block))
        {
            *written = false;
        }
    }

    fn is_written(&self, block: u64) -> bool {
        usize::try_from(block)
            .ok()
            .and_then(|block| self.written.get(block))
            .is_some_and(|written| *written)
    }

    fn block_length(&self, block: u64) -> u64 {
        (self.key.size - block * self.key.block_bytes).min(self.key.block_bytes)
    }

    /// The CRC-32C of a block on disk.
    fn checksum(&mut self, block: u64) -> Result<u32, StorageError> {
        let mut checksum = 0;
        self.read(block, |part| checksum = crc32c::crc32c_append(checksum, part))?;
        Ok(checksum)
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

    /// What the checksums of its blocks belong to.
    pub(crate) fn key(&self) -> Key {
        self.key
    }

    /// The CRC-32C of every block; each is right once everything is written.
    pub(crate) fn checksums(&self) -> &[u32] {
        &self.checksums
    }

    pub(crate) fn disk(&self) -> Arc<Disk> {
        Arc::clone(&self.disk)
    }

    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    /// How many blocks there are.
    pub(crate) fn blocks(&self) -> u64 {
        self.written.len() as u64
    }

    /// Blocks on disk.
    pub(crate) fn written(&self) -> impl Iterator<Item = u64> + '_ {
        (0..)
            .zip(&self.written)
            .filter(|(_, written)| **written)
            .map(|(block, _)| block)
    }

    /// Bytes on disk.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.written().map(|block| self.block_length(block)).sum()
    }

    /// Blocks hashed, from the first on.
    pub(crate) fn hashed(&self) -> u64 {
        self.hashed
    }

    /// Bytes hashed.
    pub(crate) fn hashed_bytes(&self) -> u64 {
        (self.hashed * self.key.block_bytes).min(self.key.size)
    }

    /// Whether every byte is hashed.
    pub(crate) fn is_hashed(&self) -> bool {
        self.hashed == self.blocks()
    }

    /// Whether the next block to hash is on disk.
    pub(crate) fn can_hash(&self) -> bool {
        self.is_written(self.hashed)
    }

    /// Takes note of a block that a connection has written.
    pub(crate) fn received(&mut self, written: Written) {
        self.mark(written.block, written.checksum);
        self.brought.insert(written.block, (written.origin, written.checksum));
        self.kept.insert(written.block, written.kept);
        if self.durable.is_some() {
            self.unsynced.blocks.push((written.block, written.checksum));
            self.unsynced.permits.extend(written.unsynced);
            self.oldest_unsynced.get_or_insert_with(Instant::now);
        }
    }

    /// Who brought which block in this run.
    pub(crate) fn brought(&self) -> &Delivered {
        &self.brought
    }

    /// Whether one origin brought everything, in this run.
    pub(crate) fn is_all_from(&self, origin: OriginNumber) -> bool {
        self.brought.len() == self.written.len() && self.brought.values().all(|(from, _)| *from == origin)
    }

    /// Forgets what is not from one origin, and everything hashed.
    pub(crate) fn distrust(&mut self, trusted: OriginNumber) -> Result<Replaced, FetchError> {
        self.sync()?;
        self.finish()?;
        let mut replaced = Replaced::default();
        for block in 0..self.blocks() {
            if self.brought.get(&block).is_some_and(|(from, _)| *from == trusted) {
                continue;
            }
            if self.is_written(block) {
                replaced.bytes += self.block_length(block);
            }
            replaced.brought.extend(self.brought.remove_entry(&block));
            self.unmark(block);
        }
        for block in self.forget_behind_holes(self.key.size)? {
            replaced.bytes += self.block_length(block);
            replaced.brought.extend(self.brought.remove_entry(&block));
        }
        self.kept.clear();
        self.read_ahead.clear();
        self.hasher = Hasher::new(&self.key.digest, self.key.size);
        (self.hashed, self.noted) = (0, 0);
        Ok(replaced)
    }

    /// Hashes the next block, if it is on disk; how many bytes that was.
    pub(crate) fn hash_next(&mut self) -> Result<Option<u64>, StorageError> {
        if !self.can_hash() {
            return Ok(None);
        }
        self.read_ahead();
        let block = self.hashed;
        let kept = self.kept.remove(&block).and_then(|kept| kept.take());
        if let Some(buffer) = kept {
            self.hasher.update(buffer.bytes());
        } else if let Some(read) = self.read_ahead.take(block) {
            let buffer = read.map_err(|error| self.unreadable(block, error))?;
            self.hasher.update(buffer.bytes());
        } else {
            // Of a block that cannot be read nothing is hashed.
            let mut hasher = self.hasher.clone();
            self.read(block, |part| hasher.update(part))?;
            self.hasher = hasher;
        }
        self.hashed += 1;
        Ok(Some(self.block_length(block)))
    }

    /// Has the next blocks read that are on disk and no longer in memory.
    fn read_ahead(&mut self) {
        for block in self.hashed..(self.hashed + AHEAD).min(self.blocks()) {
            let is_at_hand = self.kept.get(&block).is_some_and(Kept::is_there) || self.read_ahead.has(block);
            if !self.is_written(block) || is_at_hand {
                continue;
            }
            let length = usize::try_from(self.block_length(block)).unwrap_or(usize::MAX);
            match self.read_ahead.ask(block, block * self.key.block_bytes, length) {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => {
                    tracing::debug!(%error, "no thread to read ahead");
                    return;
                }
            }
        }
    }

    /// How long the lane may wait before it has to sync.
    pub(crate) fn sync_due_in(&self, unsynced_bytes: u64, interval: Duration) -> Option<Duration> {
        let oldest = self.oldest_unsynced?;
        if self.unsynced.blocks.len() as u64 * self.key.block_bytes >= unsynced_bytes {
            return Some(Duration::ZERO);
        }
        Some(interval.saturating_sub(oldest.elapsed()))
    }

    /// Whether a sync would be begun at once.
    pub(crate) fn can_sync(&self) -> bool {
        self.durable.as_ref().is_none_or(Durable::is_idle)
    }

    /// Has what was written made durable and noted.
    pub(crate) fn sync(&mut self) -> Result<(), FetchError> {
        self.oldest_unsynced = None;
        let Some(durable) = self.durable.as_mut().filter(|_| !self.unsynced.blocks.is_empty()) else {
            return Ok(());
        };
        let mut batch = std::mem::take(&mut self.unsynced);
        batch.checkpoint = (self.hashed > self.noted)
            .then(|| self.hasher.state())
            .flatten()
            .map(|state| Checkpoint {
                blocks: self.hashed,
                state,
            });
        let from = self.noted * self.key.block_bytes;
        batch.done_with = (from, (self.hashed * self.key.block_bytes).saturating_sub(from));
        self.noted = self.hashed;
        durable.begin(batch)
    }

    /// Waits until everything is durable that `sync` was called for.
    pub(crate) fn finish(&mut self) -> Result<(), FetchError> {
        self.durable.as_mut().map_or(Ok(()), Durable::finish)
    }

    /// The digest of all bytes.
    pub(crate) fn digest(&self) -> ContentDigest {
        self.hasher.clone().finish()
    }

    /// Makes a proven file durable and moves it to where proven files wait.
    pub(crate) fn stage(mut self, to: &Path) -> Result<(), FetchError> {
        self.finish()?;
        let label = Path::new(&self.label);
        self.disk.file().sync_all().map_err(StorageError::at("sync", label))?;
        forget(self.disk.file(), 0, 0);
        if let Some(folder) = to.parent() {
            crate::disk::files::create_folders(folder)?;
        }
        fs::rename(&self.path, to).map_err(StorageError::at("rename", label))?;
        Ok(())
    }

    /// Throws the bytes away, and the journal first.
    pub(crate) fn discard(mut self, store: &Store) -> Result<(), FetchError> {
        self.finish()?;
        remove(&store.journal(&self.key.digest))?;
        remove(&self.path)?;
        Ok(())
    }
}

fn remove(path: &Path) -> Result<(), StorageError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StorageError::at("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Reserves a file's room, so that a full disk is found before the first byte and writes do not fragment. File
/// systems that cannot (NFS before 4.2) get a sparse file, and those that write in order only get nothing.
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
