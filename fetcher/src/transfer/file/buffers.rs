//! Memory that blocks pass through. Its amount is fixed, so that a model of any size needs the same.
//!
//! A buffer is filled by a connection, written, and then kept for the hash. What is kept is a cache of what is on disk
//! already: when a connection needs memory and none is free, the block that the hash comes to last makes room, and is
//! read back later.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::disk::memory::Memory;
use crate::transfer::schedule::FileNumber;

/// Blocks that are read back at the same time, of all files. One alone comes slower than a fast hash goes through it, and
/// more than these are no faster.
const SPARES: usize = 4;

/// All buffers of a fetch.
#[derive(Debug)]
pub(crate) struct Buffers {
    capacity: usize,
    /// How many there may be.
    most: usize,
    /// For those that are filled and written.
    filled: Arc<Semaphore>,
    pool: Mutex<Pool>,
}

#[derive(Debug, Default)]
struct Pool {
    /// How many there are.
    made: usize,
    free: Vec<Memory>,
    /// Those that wait for the hash, each with the bytes in it.
    kept: BTreeMap<Place, (Memory, usize)>,
    /// How many there are for reading back, and those of them that are free.
    spares: usize,
    spare: Vec<Memory>,
}

/// A block of a file. Only who brings it first writes it, so that none is kept twice.
type Place = (FileNumber, u64);

/// A block, or the beginning of one.
#[derive(Debug)]
pub(crate) struct Buffer {
    /// Left out only while it is dropped.
    memory: Option<Memory>,
    is_spare: bool,
    length: usize,
    owner: Arc<Buffers>,
    /// Left out once it is written.
    _filled: Option<OwnedSemaphorePermit>,
}

/// A written block that is kept for the hash, as long as nobody needs its memory.
#[derive(Debug)]
pub(crate) struct Kept {
    place: Place,
    owner: Arc<Buffers>,
}

impl Buffers {
    /// Buffers of a block each: some to be filled and written, and some more that are kept for the hash. While no
    /// connection needs them, those to be filled are kept for it, too.
    pub(crate) fn new(block_bytes: u64, filled: usize, kept: usize) -> Arc<Self> {
        Arc::new(Self {
            capacity: usize::try_from(block_bytes).unwrap_or(usize::MAX),
            most: filled + kept,
            filled: Arc::new(Semaphore::new(filled)),
            pool: Mutex::default(),
        })
    }

    /// How many blocks may be in memory.
    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// An empty buffer, waited for until enough of those before it are written.
    pub(crate) async fn get(self: &Arc<Self>) -> Buffer {
        let Ok(filled) = Arc::clone(&self.filled).acquire_owned().await else {
            unreachable!("the semaphore is never closed")
        };
        Buffer {
            memory: Some(self.memory()),
            is_spare: false,
            length: 0,
            owner: Arc::clone(self),
            _filled: Some(filled),
        }
    }

    /// An empty buffer at once, to read a block back into, unless too many are used for that. Beside all others: if what
    /// is kept made room for what was kept before, that would have to be read back next.
    pub(crate) fn spare(self: &Arc<Self>) -> Option<Buffer> {
        let mut pool = self.pool();
        let memory = pool.spare.pop();
        if memory.is_none() && pool.spares == SPARES {
            return None;
        }
        if memory.is_none() {
            pool.spares += 1;
        }
        drop(pool);
        Some(Buffer {
            memory: Some(memory.unwrap_or_else(|| Memory::new(self.capacity))),
            is_spare: true,
            length: 0,
            owner: Arc::clone(self),
            _filled: None,
        })
    }

    fn memory(&self) -> Memory {
        let mut pool = self.pool();
        if let Some(memory) = pool.free.pop() {
            return memory;
        }
        // Beyond the most only while all that is kept is being hashed.
        if pool.made >= self.most
            && let Some(memory) = pool.evict()
        {
            return memory;
        }
        pool.made += 1;
        drop(pool);
        Memory::new(self.capacity)
    }

    fn put_back(&self, memory: Memory, is_spare: bool) {
        let mut pool = self.pool();
        if is_spare {
            pool.spare.push(memory);
        } else if pool.made > self.most {
            pool.made -= 1;
        } else {
            pool.free.push(memory);
        }
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// Takes the memory of the block that the hash comes to last: files are hashed side by side, so that is of the file
    /// that has most of them.
    fn evict(&mut self) -> Option<Memory> {
        let mut counts = BTreeMap::<FileNumber, usize>::new();
        for (file, _) in self.kept.keys() {
            *counts.entry(*file).or_default() += 1;
        }
        let (file, _) = counts.into_iter().max_by_key(|(_, count)| *count)?;
        let (last, _) = self.kept.range((file, 0)..=(file, u64::MAX)).next_back()?;
        let last = *last;
        self.kept.remove(&last).map(|(memory, _)| memory)
    }
}

impl Buffer {
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        self.memory.as_ref().map_or(&[], |memory| memory.get(self.length))
    }

    /// Appends bytes; the caller sees to it that there are no more than the capacity.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        let length = self.length + bytes.len();
        if let Some(memory) = &mut self.memory {
            memory.first(length)[self.length..].copy_from_slice(bytes);
            self.length = length;
        }
    }

    /// So many bytes, to be overwritten.
    pub(crate) fn fill(&mut self, length: usize) -> &mut [u8] {
        self.length = length;
        self.memory.as_mut().map_or(&mut [], |memory| memory.first(length))
    }

    /// Keeps a block of a file, which is written, for the hash.
    pub(crate) fn keep(mut self, file: FileNumber, block: u64) -> Kept {
        let (owner, place) = (Arc::clone(&self.owner), (file, block));
        if let Some(memory) = self.memory.take() {
            owner.pool().kept.insert(place, (memory, self.length));
        }
        Kept { place, owner }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            self.owner.put_back(memory, self.is_spare);
        }
    }
}

impl Kept {
    /// Whether the block is still there.
    pub(crate) fn is_there(&self) -> bool {
        self.owner.pool().kept.contains_key(&self.place)
    }

    /// The block, if it is still there.
    pub(crate) fn take(&self) -> Option<Buffer> {
        let (memory, length) = self.owner.pool().kept.remove(&self.place)?;
        Some(Buffer {
            memory: Some(memory),
            is_spare: false,
            length,
            owner: Arc::clone(&self.owner),
            _filled: None,
        })
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        drop(self.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::memory::ALIGNMENT;

    #[tokio::test]
    async fn a_buffer_begins_where_direct_writes_may_and_holds_what_it_was_given() {
        let buffers = Buffers::new(10_000, 1, 0);
        let mut buffer = buffers.get().await;
        buffer.extend(&[1; 4096]);
        buffer.extend(&[2; 5904]);
        assert_eq!(buffer.bytes().as_ptr().align_offset(ALIGNMENT), 0);
        assert_eq!(
            (buffer.len(), buffer.bytes()[4095], buffer.bytes()[4096]),
            (10_000, 1, 2)
        );
    }

    #[tokio::test]
    async fn memory_is_used_again_and_begins_empty() {
        let buffers = Buffers::new(8, 1, 0);
        let mut buffer = buffers.get().await;
        buffer.extend(&[1; 8]);
        drop(buffer);
        let buffer = buffers.get().await;
        assert_eq!((buffer.len(), buffers.pool().made), (0, 1));
    }

    /// Keeps blocks of files, each with a byte that says which.
    async fn keep(buffers: &Arc<Buffers>, blocks: &[(FileNumber, u64)]) -> Vec<Kept> {
        let mut kept = Vec::new();
        for (file, block) in blocks {
            let mut buffer = buffers.get().await;
            buffer.extend(&[u8::try_from(file * 10 + block).unwrap()]);
            kept.push(buffer.keep(*file, *block));
        }
        kept
    }

    /// How many buffers there are, and how many of them are free.
    fn amounts(buffers: &Buffers) -> (usize, usize) {
        let pool = buffers.pool();
        (pool.made, pool.free.len())
    }

    fn taken(kept: Vec<Kept>) -> Vec<Option<u8>> {
        kept.into_iter()
            .map(|kept| kept.take().map(|buffer| buffer.bytes()[0]))
            .collect()
    }

    #[tokio::test]
    async fn what_no_connection_needs_is_kept_for_the_hash() {
        let buffers = Buffers::new(8, 1, 2);
        let kept = keep(&buffers, &[(1, 0), (1, 2), (1, 1)]).await;
        assert_eq!(taken(kept), [Some(10), Some(12), Some(11)]);
    }

    #[tokio::test]
    async fn the_block_that_the_hash_comes_to_last_makes_room() {
        let buffers = Buffers::new(8, 1, 2);
        let kept = keep(&buffers, &[(1, 0), (1, 2), (1, 1), (1, 3)]).await;
        assert_eq!(taken(kept), [Some(10), None, Some(11), Some(13)]);
        assert_eq!(amounts(&buffers), (3, 3));
    }

    #[tokio::test]
    async fn the_file_that_has_most_in_memory_makes_room() {
        let buffers = Buffers::new(8, 1, 2);
        let kept = keep(&buffers, &[(1, 9), (2, 0), (2, 1)]).await;
        let filling = buffers.get().await;
        assert_eq!(taken(kept), [Some(19), Some(20), None]);
        drop(filling);
        assert_eq!(buffers.pool().free.len(), 3);
    }

    #[tokio::test]
    async fn what_is_kept_of_a_file_given_up_is_free_again() {
        let buffers = Buffers::new(8, 1, 2);
        drop(keep(&buffers, &[(1, 0), (1, 1)]).await);
        assert_eq!(amounts(&buffers), (2, 2));
    }

    #[tokio::test]
    async fn a_connection_finds_memory_also_while_all_that_is_kept_is_hashed() {
        let buffers = Buffers::new(8, 1, 1);
        let mut hashed = Vec::new();
        for kept in keep(&buffers, &[(1, 0), (2, 0)]).await {
            hashed.extend(kept.take());
        }
        let filling = buffers.get().await;
        assert_eq!(buffers.pool().made, 3);
        drop((hashed, filling));
        assert_eq!(amounts(&buffers), (2, 2));
    }

    #[tokio::test]
    async fn more_are_not_filled_than_may_be() {
        let buffers = Buffers::new(8, 2, 1);
        let filled = (buffers.get().await, buffers.get().await);
        assert_eq!(buffers.filled.available_permits(), 0);
        let kept = filled.0.keep(1, 0);
        assert_eq!(buffers.filled.available_permits(), 1);
        drop((kept, filled.1));
        assert_eq!(buffers.filled.available_permits(), 2);
    }

    #[tokio::test]
    async fn what_is_read_back_makes_nothing_else_leave_memory_and_is_bounded() {
        let buffers = Buffers::new(8, 1, 1);
        let kept = keep(&buffers, &[(1, 0), (1, 1)]).await;
        let spares: Vec<_> = std::iter::from_fn(|| buffers.spare()).collect();
        assert_eq!(spares.len(), SPARES);
        assert_eq!(taken(kept), [Some(10), Some(11)]);
        drop(spares);
        assert!(buffers.spare().is_some());
        assert_eq!(buffers.pool().spares, SPARES);
    }
}
