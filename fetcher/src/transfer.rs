//! The transfer engine: connections fetch pieces of several files at once, each file is hashed as its bytes arrive, and
//! durable bytes are never fetched again. It knows no source, and no protocol but byte ranges.
//!
//! A file worker takes one file at a time from the first request to staging: it offers missing blocks on the shared schedule,
//! hashes and syncs what arrives, verifies the digest and stages the file. Connections take pieces from the schedule and
//! write their blocks. Workers are threads, because they mostly wait for the disk; connections are tasks, because they mostly
//! wait for the network.
//!
//! The folders import downwards only: request, file, reuse, origins, schedule.

mod budget;
mod file;
mod origins;
mod request;
mod reuse;
mod run;
mod schedule;
mod settings;
mod stop;

use tokio_util::sync::CancellationToken;

pub use self::origins::Origin;
pub(crate) use self::origins::connections::FIRST_CONNECTIONS;
pub use self::settings::Settings;
use crate::model::error::FetchError;
use crate::model::remote_file::RemoteFile;
use crate::observe::progress::{OriginSnapshot, Progress};
use crate::store::{Arrangement, ExtraStaging, Store};

/// The HTTP client for range requests. It must not follow redirects or decompress bodies.
#[derive(Clone, Debug)]
pub struct RangeClient(reqwest::Client);

impl RangeClient {
    /// Wraps a client.
    #[must_use]
    pub fn new(client: reqwest::Client) -> Self {
        Self(client)
    }
}

/// The result of a completed fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Bytes received over the network.
    pub bytes_fetched: u64,
    /// Bytes that were on disk already.
    pub bytes_reused: u64,
    /// Statistics of each origin.
    pub origins: Vec<OriginSnapshot>,
}

/// What to fetch, from where, and how.
pub struct FetchRequest<'a> {
    /// The listed files. These are arranged and staged.
    pub files: &'a [RemoteFile],
    /// Name of the revision in the store. The store's layout decides the place of each file.
    pub revision: &'a str,
    /// The origins, each of which serves the files that it lists.
    pub origins: Vec<Origin>,
    /// Sends the requests.
    pub client: RangeClient,
    /// Where the files are staged.
    pub store: &'a Store,
    /// Limits and timeouts.
    pub settings: &'a Settings,
    /// Counts bytes and files during the fetch.
    pub progress: &'a Progress,
    /// Stops the fetch when it is cancelled. Durable bytes stay for the next fetch.
    pub stop: CancellationToken,
}

/// Fetches every file into the store's staging, verified against its digest and durable.
pub async fn fetch(request: FetchRequest<'_>) -> Result<Outcome, FetchError> {
    let arrangement = request.store.arrange(request.revision, request.files);
    fetch_arranged(request, arrangement, ExtraStaging::default()).await
}

/// The same for files that are only a part of their revision. Others stage the rest.
pub(crate) async fn fetch_arranged(
    request: FetchRequest<'_>,
    arrangement: Arrangement,
    extra: ExtraStaging,
) -> Result<Outcome, FetchError> {
    run::run(request, arrangement, extra).await
}
