//! Files and folders: durable writes, direct I/O, the page cache, free space, and which boot wrote what.

pub(crate) mod block_file;
pub(crate) mod blocking;
pub mod boot;
