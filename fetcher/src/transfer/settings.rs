//! What a caller may decide about a fetch.

use std::time::Duration;

use modelcache_crds::fetch_defaults as defaults;

use crate::http::retry;

/// How a fetch goes about its work.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Requests at the same time at most, over all files. No more than are worth it are used.
    pub connections: usize,
    /// Files that are asked for at the same time.
    pub parallel_files: usize,
    /// Further ones that are under way: asked for as soon as everything of one before is, while that is still hashed.
    pub files_ahead: usize,
    /// And further ones, of a block at most: what those take is not bytes but round trips.
    pub parallel_small_files: usize,
    /// How long a connection may bring no byte, or next to none, before it is dropped.
    pub stall_timeout: Duration,
    /// When to try again.
    pub retry: retry::Policy,
    /// Bytes asked for by one request at most, and no more than fit into the window beside those of the other connections.
    pub piece_bytes: u64,
    /// Bytes written, checked and journalled as one; a piece is a whole number of them.
    pub block_bytes: u64,
    /// Bytes of one file that requests may run ahead of the hash.
    pub window_bytes: u64,
    /// The same of sources that are far away, whose pieces are long and come side by side.
    pub far_window_bytes: u64,
    /// Bytes of all files that may be received and not yet durable.
    pub unsynced_bytes: u64,
    /// The longest time for which received bytes may stay not durable.
    pub sync_interval: Duration,
    /// How often a file is fetched again whose bytes hash to something else.
    pub refetches: u32,
    /// Bytes received per second at most, over all connections; left out, as many as come.
    pub max_bytes_per_second: Option<u64>,
    /// Fixes the jitter of pauses.
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
    /// Settings that make sense together, whatever was given.
    pub(super) fn sound(&self) -> Self {
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
