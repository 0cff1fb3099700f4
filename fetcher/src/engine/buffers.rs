//! Memory that blocks pass through. Its amount is fixed, so that a model of any size needs the same.
//!
//! A buffer is filled by a connection, written, and then kept for the hash where that comes to it soon; a block
//! whose buffer was not kept is read back from the disk.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What file systems want direct reads and writes to begin at and to be a multiple of, whatever their block size.
pub(super) const ALIGNMENT: usize = 4096;

/// Bytes that begin where direct reads and writes may.
pub(super) struct Memory {
    bytes: Box<[u8]>,
    begin: usize,
}

impl Memory {
    pub(super) fn new(capacity: usize) -> Self {
        let bytes = vec![0; capacity + ALIGNMENT].into_boxed_slice();
        let begin = bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { bytes, begin }
    }

    /// The first bytes of it.
    pub(super) fn first(&mut self, length: usize) -> &mut [u8] {
        &mut self.bytes[self.begin..self.begin + length]
    }

    fn get(&self, length: usize) -> &[u8] {
        &self.bytes[self.begin..self.begin + length]
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({})", self.bytes.len() - ALIGNMENT)
    }
}

/// All buffers of a fetch.
#[derive(Debug)]
pub(super) struct Buffers {
    capacity: usize,
    free: Mutex<Vec<Memory>>,
    /// For those in use.
    all: Arc<Semaphore>,
    /// For those of them that wait for the hash: fewer, so that connections always find one.
    kept: Arc<Semaphore>,
}

/// A block, or the beginning of one.
#[derive(Debug)]
pub(super) struct Buffer {
    /// Left out only while it is dropped.
    memory: Option<Memory>,
    length: usize,
    owner: Arc<Buffers>,
    _used: OwnedSemaphorePermit,
    kept: Option<OwnedSemaphorePermit>,
}

impl Buffers {
    /// Buffers of a block each: some to be filled and written, and some to be kept for the hash.
    pub(super) fn new(block_bytes: u64, filled: usize, kept: usize) -> Arc<Self> {
        Arc::new(Self {
            capacity: usize::try_from(block_bytes).unwrap_or(usize::MAX),
            free: Mutex::default(),
            all: Arc::new(Semaphore::new(filled + kept)),
            kept: Arc::new(Semaphore::new(kept)),
        })
    }

    /// An empty buffer, waited for.
    pub(super) async fn get(self: &Arc<Self>) -> Buffer {
        let Ok(used) = Arc::clone(&self.all).acquire_owned().await else {
            unreachable!("the semaphore is never closed")
        };
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Buffer {
            memory: Some(free.unwrap_or_else(|| Memory::new(self.capacity))),
            length: 0,
            owner: Arc::clone(self),
            _used: used,
            kept: None,
        }
    }
}

impl Buffer {
    pub(super) fn len(&self) -> usize {
        self.length
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.memory.as_ref().map_or(&[], |memory| memory.get(self.length))
    }

    /// Appends bytes; the caller sees to it that there are no more than the capacity.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        let length = self.length + bytes.len();
        if let Some(memory) = &mut self.memory {
            memory.first(length)[self.length..].copy_from_slice(bytes);
            self.length = length;
        }
    }

    /// The buffer if there is room to keep it; otherwise it is free again.
    pub(super) fn keep(mut self) -> Option<Self> {
        self.kept = Some(Arc::clone(&self.owner.kept).try_acquire_owned().ok()?);
        Some(self)
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if let Some(memory) = self.memory.take() {
            self.owner
                .free
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push(memory);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!((buffer.len(), buffers.free.lock().unwrap().len()), (0, 0));
    }

    #[tokio::test]
    async fn buffers_kept_for_the_hash_leave_some_to_fill() {
        let buffers = Buffers::new(8, 1, 2);
        let mut kept = Vec::new();
        for _ in 0..5 {
            kept.extend(buffers.get().await.keep());
        }
        assert_eq!(kept.len(), 2);
        let filling = buffers.get().await;
        assert_eq!(buffers.all.available_permits(), 0);
        drop((filling, kept));
        assert_eq!(
            (buffers.all.available_permits(), buffers.kept.available_permits()),
            (3, 2)
        );
    }
}
