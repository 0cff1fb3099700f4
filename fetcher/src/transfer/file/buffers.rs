//! A fixed amount of memory for blocks, so that a model of any size needs the same.
//!
//! A connection fills a buffer, the buffer is written, and the block is kept for the hash. Kept blocks are a cache of blocks
//! on disk: when a connection needs memory and none is free, the block that the hash reaches last is evicted, and read back
//! later.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::disk::memory::Memory;
use crate::transfer::schedule::FileNumber;

/// Blocks of all files that are read back at the same time. Reading one at a time is slower than a fast hash; more than this
/// many are not faster.
const MAX_SPARE_BUFFERS: usize = 4;

/// All buffers of a fetch.
#[derive(Debug)]
pub(crate) struct Buffers {
    capacity: usize,
    /// The most buffers, without the spare ones.
    max_blocks: usize,
    /// Permits for buffers that are being filled or written.
    fill_permits: Arc<Semaphore>,
    pool: Mutex<Pool>,
}

#[derive(Debug, Default)]
struct Pool {
    /// Number of buffers, without the spare ones.
    allocated: usize,
    free: Vec<Memory>,
    /// Blocks that are kept for the hash, with their length in bytes.
    kept: BTreeMap<BlockId, (Memory, usize)>,
    /// Number of spare buffers, for reading back.
    spares: usize,
    /// Spare buffers that are free.
    spare: Vec<Memory>,
}

/// A block of a file. Only the connection that has it first writes it, so no block is kept twice.
type BlockId = (FileNumber, u64);

/// A block, or the first bytes of one.
#[derive(Debug)]
pub(crate) struct Buffer {
    /// `None` only while it is dropped or moved.
    memory: Option<Memory>,
    is_spare: bool,
    length: usize,
    owner: Arc<Buffers>,
    /// `None` for a block that is written.
    _fill_permit: Option<OwnedSemaphorePermit>,
}

/// A written block that is kept for the hash until it is evicted.
#[derive(Debug)]
pub(crate) struct Kept {
    id: BlockId,
    owner: Arc<Buffers>,
}

impl Buffers {
    /// Buffers of a block each: `filling` to be filled and written, and `cached` more to keep blocks for the hash. The former
    /// keep blocks as well while no connection needs them.
    pub(crate) fn new(block_bytes: u64, filling: usize, cached: usize) -> Arc<Self> {
        Arc::new(Self {
            capacity: usize::try_from(block_bytes).unwrap_or(usize::MAX),
            max_blocks: filling + cached,
            fill_permits: Arc::new(Semaphore::new(filling)),
            pool: Mutex::default(),
        })
    }

    /// The most blocks in memory.
    pub(crate) fn max_blocks(&self) -> usize {
        self.max_blocks
    }

    /// Waits for an empty buffer, until enough others are written.
    pub(crate) async fn get(self: &Arc<Self>) -> Buffer {
        let Ok(permit) = Arc::clone(&self.fill_permits).acquire_owned().await else {
            unreachable!("the semaphore is never closed")
        };
        Buffer {
            memory: Some(self.memory()),
            is_spare: false,
            length: 0,
            owner: Arc::clone(self),
            _fill_permit: Some(permit),
        }
    }

    /// An empty spare buffer to read a block back into; `None` if all are in use. Separate from the other buffers, because an
    /// eviction for it would cause the next read-back.
    pub(crate) fn spare(self: &Arc<Self>) -> Option<Buffer> {
        let mut pool = self.pool();
        let memory = pool.spare.pop();
        if memory.is_none() && pool.spares == MAX_SPARE_BUFFERS {
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
            _fill_permit: None,
        })
    }

    fn memory(&self) -> Memory {
        let mut pool = self.pool();
        if let Some(memory) = pool.free.pop() {
            return memory;
        }
        // More than `max_blocks` only if no block can be evicted, since all kept ones are being hashed.
        if pool.allocated >= self.max_blocks
            && let Some(memory) = pool.evict()
        {
            return memory;
        }
        pool.allocated += 1;
        drop(pool);
        Memory::new(self.capacity)
    }

    fn put_back(&self, memory: Memory, is_spare: bool) {
        let mut pool = self.pool();
        if is_spare {
            pool.spare.push(memory);
        } else if pool.allocated > self.max_blocks {
            pool.allocated -= 1;
        } else {
            pool.free.push(memory);
        }
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pool {
    /// Evicts the block that the hash reaches last: the last one of the file with most blocks, as files are hashed
    /// concurrently.
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

    /// Appends bytes. The caller ensures that they fit into the capacity.
    pub(crate) fn extend(&mut self, bytes: &[u8]) {
        let length = self.length + bytes.len();
        if let Some(memory) = &mut self.memory {
            memory.first(length)[self.length..].copy_from_slice(bytes);
            self.length = length;
        }
    }

    /// Sets the length and returns that many bytes, to be overwritten.
    pub(crate) fn fill(&mut self, length: usize) -> &mut [u8] {
        self.length = length;
        self.memory.as_mut().map_or(&mut [], |memory| memory.first(length))
    }

    /// Keeps a written block of a file for the hash.
    pub(crate) fn keep(mut self, file: FileNumber, block: u64) -> Kept {
        let (owner, id) = (Arc::clone(&self.owner), (file, block));
        if let Some(memory) = self.memory.take() {
            owner.pool().kept.insert(id, (memory, self.length));
        }
        Kept { id, owner }
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
    /// Whether the block is still in memory.
    pub(crate) fn is_there(&self) -> bool {
        self.owner.pool().kept.contains_key(&self.id)
    }

    /// Takes the block, if it is still in memory.
    pub(crate) fn take(&self) -> Option<Buffer> {
        let (memory, length) = self.owner.pool().kept.remove(&self.id)?;
        Some(Buffer {
            memory: Some(memory),
            is_spare: false,
            length,
            owner: Arc::clone(&self.owner),
            _fill_permit: None,
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
    async fn a_buffer_is_aligned_for_direct_writes_and_holds_its_bytes() {
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
    async fn memory_is_reused_and_starts_empty() {
        let buffers = Buffers::new(8, 1, 0);
        let mut buffer = buffers.get().await;
        buffer.extend(&[1; 8]);
        drop(buffer);
        let buffer = buffers.get().await;
        assert_eq!((buffer.len(), buffers.pool().allocated), (0, 1));
    }

    /// Keeps blocks of files, each with one byte that identifies it.
    async fn keep(buffers: &Arc<Buffers>, blocks: &[(FileNumber, u64)]) -> Vec<Kept> {
        let mut kept = Vec::new();
        for (file, block) in blocks {
            let mut buffer = buffers.get().await;
            buffer.extend(&[u8::try_from(file * 10 + block).unwrap()]);
            kept.push(buffer.keep(*file, *block));
        }
        kept
    }

    /// Number of buffers, and of free ones.
    fn amounts(buffers: &Buffers) -> (usize, usize) {
        let pool = buffers.pool();
        (pool.allocated, pool.free.len())
    }

    fn taken(kept: Vec<Kept>) -> Vec<Option<u8>> {
        kept.into_iter()
            .map(|kept| kept.take().map(|buffer| buffer.bytes()[0]))
            .collect()
    }

    #[tokio::test]
    async fn blocks_stay_in_memory_while_no_connection_needs_it() {
        let buffers = Buffers::new(8, 1, 2);
        let kept = keep(&buffers, &[(1, 0), (1, 2), (1, 1)]).await;
        assert_eq!(taken(kept), [Some(10), Some(12), Some(11)]);
    }

    #[tokio::test]
    async fn the_block_that_the_hash_reaches_last_is_evicted() {
        let buffers = Buffers::new(8, 1, 2);
        let kept = keep(&buffers, &[(1, 0), (1, 2), (1, 1), (1, 3)]).await;
        assert_eq!(taken(kept), [Some(10), None, Some(11), Some(13)]);
        assert_eq!(amounts(&buffers), (3, 3));
    }

    #[tokio::test]
    async fn a_block_of_the_file_with_most_blocks_is_evicted() {
        let buffers = Buffers::new(8, 1, 2);
        let kept = keep(&buffers, &[(1, 9), (2, 0), (2, 1)]).await;
        let filling = buffers.get().await;
        assert_eq!(taken(kept), [Some(19), Some(20), None]);
        drop(filling);
        assert_eq!(buffers.pool().free.len(), 3);
    }

    #[tokio::test]
    async fn dropped_blocks_free_their_memory() {
        let buffers = Buffers::new(8, 1, 2);
        drop(keep(&buffers, &[(1, 0), (1, 1)]).await);
        assert_eq!(amounts(&buffers), (2, 2));
    }

    #[tokio::test]
    async fn a_connection_gets_memory_even_while_all_blocks_are_being_hashed() {
        let buffers = Buffers::new(8, 1, 1);
        let mut hashed = Vec::new();
        for kept in keep(&buffers, &[(1, 0), (2, 0)]).await {
            hashed.extend(kept.take());
        }
        let filling = buffers.get().await;
        assert_eq!(buffers.pool().allocated, 3);
        drop((hashed, filling));
        assert_eq!(amounts(&buffers), (2, 2));
    }

    #[tokio::test]
    async fn the_number_of_buffers_being_filled_is_limited() {
        let buffers = Buffers::new(8, 2, 1);
        let filled = (buffers.get().await, buffers.get().await);
        assert_eq!(buffers.fill_permits.available_permits(), 0);
        let kept = filled.0.keep(1, 0);
        assert_eq!(buffers.fill_permits.available_permits(), 1);
        drop((kept, filled.1));
        assert_eq!(buffers.fill_permits.available_permits(), 2);
    }

    #[tokio::test]
    async fn spare_buffers_are_limited_and_evict_no_block() {
        let buffers = Buffers::new(8, 1, 1);
        let kept = keep(&buffers, &[(1, 0), (1, 1)]).await;
        let spares: Vec<_> = std::iter::from_fn(|| buffers.spare()).collect();
        assert_eq!(spares.len(), MAX_SPARE_BUFFERS);
        assert_eq!(taken(kept), [Some(10), Some(11)]);
        drop(spares);
        assert!(buffers.spare().is_some());
        assert_eq!(buffers.pool().spares, MAX_SPARE_BUFFERS);
    }
}
