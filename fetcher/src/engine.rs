//! Moves bytes: any number of connections fetch pieces of several files at once, each file is hashed as its
//! bytes arrive, and what is durable is never fetched again. It knows no source and no protocol but byte ranges.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::error::FetchError;
use crate::progress::Progress;
use crate::retry;
use crate::source::{RemoteFile, Source};
use crate::store::Store;

/// How a fetch goes about its work.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Requests at the same time, over all files.
    pub connections: usize,
    /// Files under way at the same time.
    pub parallel_files: usize,
    /// How long a connection may bring no byte before it is dropped.
    pub stall_timeout: Duration,
    /// When to try again.
    pub retry: retry::Policy,
    /// Bytes asked for by one request.
    pub piece_bytes: u64,
    /// Bytes written, checked and journalled as one; a piece is a whole number of them.
    pub block_bytes: u64,
    /// How far requests may run ahead of the hash, in pieces of one file.
    pub window_pieces: u64,
    /// Bytes of all files that may be received and not yet durable.
    pub unsynced_bytes: u64,
    /// The longest time for which received bytes may stay not durable.
    pub sync_interval: Duration,
    /// How often a file is fetched again whose bytes hash to something else.
    pub refetches: u32,
    /// Fixes the jitter of pauses.
    pub seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connections: 8,
            parallel_files: 4,
            stall_timeout: Duration::from_secs(15),
            retry: retry::Policy::default(),
            piece_bytes: 8 << 20,
            block_bytes: 1 << 20,
            window_pieces: 32,
            unsynced_bytes: 64 << 20,
            sync_interval: Duration::from_secs(2),
            refetches: 2,
            seed: rand::random(),
        }
    }
}

/// The HTTP client ranges are asked with. It must not follow redirects itself, nor decompress.
#[derive(Clone, Debug)]
pub struct RangeClient(reqwest::Client);

impl RangeClient {
    /// Wraps a client.
    #[must_use]
    pub fn new(client: reqwest::Client) -> Self {
        Self(client)
    }
}

/// What a fetch cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Bytes that came over the network.
    pub bytes_fetched: u64,
    /// Bytes that were on disk already.
    pub bytes_reused: u64,
}

/// Fetches every file into the store's staging, each proven against its digest and durable.
#[expect(clippy::too_many_arguments, reason = "each is a different collaborator, and there is one caller")]
pub async fn fetch(
    files: &[RemoteFile],
    revision: &str,
    source: Arc<dyn Source>,
    client: RangeClient,
    store: &Store,
    settings: &Settings,
    progress: &Progress,
    stop: CancellationToken,
) -> Result<Outcome, FetchError> {
    let _ = (files, revision, source, client.0, store, settings, progress, stop);
    Err(FetchError::Internal("the engine is not wired up".to_owned()))
}
