//! Settings of a fetch.

use std::time::Duration;

use modelcache_crds::fetch_defaults as defaults;

use crate::http::retry;

/// Limits, sizes and timeouts of a fetch.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The most concurrent requests, over all files. Fewer are used if more would gain nothing.
    pub connections: usize,
    /// Files of more than one block that are requested at the same time.
    pub parallel_files: usize,
    /// Additional active files. They are requested once all of an earlier one is, while that is still hashed.
    pub files_ahead: usize,
    /// Additional active files of at most one block, which cost round trips rather than bytes.
    pub parallel_small_files: usize,
    /// How long a connection may deliver no byte, or almost none, before it is closed.
    pub stall_timeout: Duration,
    /// Retries and their pauses.
    pub retry: retry::Policy,
    /// The most bytes that one request asks for. Less if the pieces of all connections would not fit into the window.
    pub piece_bytes: u64,
    /// Bytes that are written, checksummed and journalled as a unit. A piece consists of whole blocks.
    pub block_bytes: u64,
    /// Bytes of one file that requests may run ahead of the hash.
    pub window_bytes: u64,
    /// The same for far sources, whose pieces are long and arrive concurrently.
    pub far_window_bytes: u64,
    /// Bytes of all files that may be received but not durable.
    pub unsynced_bytes: u64,
    /// The longest time that received bytes stay not durable.
    pub sync_interval: Duration,
    /// How often a file with a wrong digest is fetched again.
    pub refetches: u32,
    /// The most bytes received per second, over all connections; `None` for no limit.
    pub max_bytes_per_second: Option<u64>,
    /// Seed of the jitter of pauses.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections: usize::from(defaults::DEFAULT_CONNECTIONS),
            parallel_files: usize::from(defaults::DEFAULT_PARALLEL_FILES),
            files_ahead: usize::from(defaults::DEFAULT_FILES_AHEAD),
            parallel_small_files: usize::from(defaults::DEFAULT_PARALLEL_SMALL_FILES),
            stall_timeout: Duration::from_secs(defaults::DEFAULT_STALL_TIMEOUT_SECS.into()),
            retry: retry::Policy::default(),
            piece_bytes: 64 << 20,
            block_bytes: defaults::SMALL_FILE_MAX_BYTES,
            window_bytes: 256 << 20,
            far_window_bytes: 2 << 30,
            unsynced_bytes: 64 << 20,
            sync_interval: Duration::from_secs(2),
            refetches: 2,
            max_bytes_per_second: None,
            seed: rand::random(),
        }
    }
}

impl Settings {
    /// The same settings with impossible values raised to the least possible ones.
    pub(super) fn sanitized(&self) -> Self {
        let block_bytes = self.block_bytes.max(1);
        Self {
            connections: self.connections.max(1),
            parallel_files: self.parallel_files.max(1),
            block_bytes,
            piece_bytes: self.piece_bytes.max(block_bytes),
            window_bytes: self.window_bytes.max(block_bytes),
            far_window_bytes: self.far_window_bytes.max(self.window_bytes).max(block_bytes),
            ..self.clone()
        }
    }
}
