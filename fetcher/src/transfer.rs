//! The transfer engine: any number of connections fetch pieces of several files at once, each file is hashed as its bytes
//! arrive, and what is durable is never fetched again. It knows no source and no protocol but byte ranges.
//!
//! A file worker takes one file at a time from what is on disk to staged: it offers what is missing on the shared schedule,
//! hashes and syncs what arrives, proves it and stages it. Connections take pieces from the schedule and write them. Workers
//! are threads, since all they do is wait for the disk; connections are tasks, since all they do is wait for the network.
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Bytes that came over the network.
    pub bytes_fetched: u64,
    /// Bytes that were on disk already.
    pub bytes_reused: u64,
    /// What each origin was good for.
    pub origins: Vec<OriginSnapshot>,
}

/// What to fetch, from where, and how.
pub struct FetchRequest<'a> {
    /// The files, as they are listed. What is arranged and staged are these.
    pub files: &'a [RemoteFile],
    /// Name of the revision in the store, whose layout says where each file goes.
    pub revision: &'a str,
    /// Who serves the files; all of them are asked for what they list.
    pub origins: Vec<Origin>,
    /// Sends the requests.
    pub client: RangeClient,
    /// Where the files are staged.
    pub store: &'a Store,
    /// Limits and timeouts.
    pub settings: &'a Settings,
    /// Counts for those who watch.
    pub progress: &'a Progress,
    /// Ends the fetch early; what is durable stays.
    pub stop: CancellationToken,
}

/// Fetches every file into the store's staging, each proven against its digest and durable.
pub async fn fetch(request: FetchRequest<'_>) -> Result<Outcome, FetchError> {
    let arrangement = request.store.arrange(request.revision, request.files);
    fetch_arranged(request, arrangement, ExtraStaging::default()).await
}

/// The same for files that are a part of their revision; the rest is staged by others.
pub(crate) async fn fetch_arranged(
    request: FetchRequest<'_>,
    arrangement: Arrangement,
    extra: ExtraStaging,
) -> Result<Outcome, FetchError> {
    run::run(request, arrangement, extra).await
}
