//! Drops file ranges from the page cache, which is charged to the container's memory.

use std::fs::File;
use std::num::NonZeroU64;

use rustix::fs::{Advice, fadvise};

/// Advises the kernel to drop a range from the page cache. Errors are ignored: they cost memory, not correctness.
pub(crate) fn forget(file: &File, offset: u64, length: u64) {
    let _ = fadvise(file, offset, NonZeroU64::new(length), Advice::DontNeed);
}
