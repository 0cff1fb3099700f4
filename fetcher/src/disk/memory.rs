//! Aligned buffers for direct I/O.

use std::fmt;

/// Alignment in bytes of address, offset and length for direct I/O. Enough for every common block size.
pub(crate) const ALIGNMENT: usize = 4096;

/// A buffer whose start is aligned for direct I/O.
pub(crate) struct Memory {
    bytes: Box<[u8]>,
    begin: usize,
}

impl Memory {
    pub(crate) fn new(capacity: usize) -> Self {
        let bytes = vec![0; capacity + ALIGNMENT].into_boxed_slice();
        let begin = bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
        Self { bytes, begin }
    }

    /// Usable bytes.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.len() - ALIGNMENT
    }

    /// The first `length` bytes, for writing.
    pub(crate) fn first(&mut self, length: usize) -> &mut [u8] {
        &mut self.bytes[self.begin..self.begin + length]
    }

    /// The first `length` bytes.
    pub(crate) fn get(&self, length: usize) -> &[u8] {
        &self.bytes[self.begin..self.begin + length]
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({})", self.capacity())
    }
}
