//! An active file: its worker, its bytes on disk, and the memory of its blocks.

pub(crate) mod active;
pub(crate) mod attribution;
pub(crate) mod buffers;
pub(crate) mod complete;
pub(crate) mod durable;
pub(crate) mod partial;
pub(crate) mod queue;
pub(crate) mod read_ahead;
pub(crate) mod repair;
pub(crate) mod worker;
pub(crate) mod workers;
