//! A file in transfer: its worker, its bytes on disk, the memory its blocks pass through.

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
