//! Memory that direct reads and writes may use.

use std::fmt;

/// What file systems want direct reads and writes to begin at and to be a multiple of, whatever their block size.
pub(crate) const ALIGNMENT: usize = 4096;

/// Bytes that begin where direct reads and writes may.
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

    /// How many bytes fit into it.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.len() - ALIGNMENT
    }

    /// The first bytes of it.
    pub(crate) fn first(&mut self, length: usize) -> &mut [u8] {
        &mut self.bytes[self.begin..self.begin + length]
    }

    pub(crate) fn get(&self, length: usize) -> &[u8] {
        &self.bytes[self.begin..self.begin + length]
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({})", self.capacity())
    }
}
