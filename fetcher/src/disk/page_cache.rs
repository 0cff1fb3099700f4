//! The page cache, which is charged to the container.

use std::fs::File;
use std::num::NonZeroU64;

use rustix::fs::{Advice, fadvise};

/// Lets go of the page cache of some bytes. Advice: not following it costs memory, not correctness.
pub(crate) fn forget(file: &File, offset: u64, length: u64) {
    let _ = fadvise(file, offset, NonZeroU64::new(length), Advice::DontNeed);
}
