//! Files and folders: durable writes, direct I/O, the page cache, free space, and boot identity.

pub(crate) mod block_file;
pub(crate) mod blocking;
pub mod boot;
pub(crate) mod files;
pub(crate) mod free_space;
pub(crate) mod hash;
pub(crate) mod memory;
pub(crate) mod page_cache;
