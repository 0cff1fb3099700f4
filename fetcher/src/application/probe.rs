//! A few seconds of fetching whose bytes are thrown away, to tell how fast each origin is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use modelcache_crds::report::FailureClass;
use reqwest::{Client, Response};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::estimate::Brought;
use crate::http::client as http;
use crate::http::client::Trust;
use crate::http::range_request::{Judged, RangeRequest};
use crate::http::redact::SecretUrl;
use crate::model::error::{FetchError, SourceError};
use crate::model::remote_file::RemoteFile;
use crate::source::Location;
use crate::transfer::Origin;

/// A probe ends after this time.
const TIME: Duration = Duration::from_secs(3);

/// Or after so many bytes from all origins together.
const BYTES: u64 = 32 << 20;

/// Bytes asked for at once.
const PIECE: u64 = 4 << 20;

/// What a probe found out about an origin.
pub(crate) struct Probed {
    pub(crate) name: String,
    pub(crate) brought: Brought,
    pub(crate) error: Option<String>,
}

/// An origin that is being probed, by several connections.
struct Probe {
    origin: Origin,
    file: RemoteFile,
    client: Client,
    /// Asked for once by all connections.
    location: OnceCell<Location>,
    begun: Instant,
    next_piece: AtomicU64,
    found: Mutex<(Brought, Option<String>)>,
}

/// Probes all origins at once, as a fetch would ask them, each for the largest file it offers.
pub(crate) async fn probe(origins: Vec<Origin>, connections: usize, trust: &Trust) -> Result<Vec<Probed>, FetchError> {
    let each = (connections / origins.len().max(1)).max(1);
    let budget = Arc::new(AtomicU64::new(BYTES));
    let mut probes = Vec::new();
    let mut tasks = JoinSet::new();
    for origin in origins {
        let Some(file) = origin.files.iter().max_by_key(|file| file.size).cloned() else {
            continue;
        };
        let probe = Arc::new(Probe {
            file,
            origin,
            client: http::range_client(trust)?,
            location: OnceCell::new(),
            begun: Instant::now(),
            next_piece: AtomicU64::new(0),
            found: Mutex::default(),
        });
        for _ in 0..each {
            let (probe, budget) = (Arc::clone(&probe), Arc::clone(&budget));
            tasks.spawn(async move {
                if let Err(error) = probe.run(&budget).await {
                    probe.found(|_, kept| {
                        kept.get_or_insert(error.message);
                    });
                }
            });
        }
        probes.push(probe);
    }
    // What did not come in time is not waited for; dropping the set ends its tasks.
    let _ = timeout(TIME, async { while tasks.join_next().await.is_some() {} }).await;
    drop(tasks);
    Ok(probes.iter().map(|probe| probe.told()).collect())
}

impl Probe {
    fn found(&self, note: impl FnOnce(&mut Brought, &mut Option<String>)) {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let (brought, error) = &mut *found;
        note(brought, error);
    }

    fn told(&self) -> Probed {
        let (brought, error) = self.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let silent = || format!("brought nothing in {} s", TIME.as_secs());
        Probed {
            name: self.origin.name.clone(),
            brought,
            error: (brought.bytes == 0 && self.file.size > 0).then(|| error.unwrap_or_else(silent)),
        }
    }

    /// Asks for one piece after the other, until the file or the budget is used up.
    async fn run(&self, budget: &AtomicU64) -> Result<(), SourceError> {
        let locate = || self.origin.source.locate(&self.origin.revision, &self.file);
        let Location::Http(location) = self.location.get_or_try_init(locate).await? else {
            return Err(SourceError::new(
                FailureClass::SourceError,
                "is on a disk that is mounted here, which is not probed",
            ));
        };
        loop {
            let start = self.next_piece.fetch_add(1, Ordering::Relaxed) * PIECE;
            let end = (start + PIECE).min(self.file.size);
            if start >= end || take(budget, end - start).is_none() {
                return Ok(());
            }
            let request = RangeRequest::new(location, start..end, self.file.size, false);
            let mut response = self.ask(request).await?;
            let mut left = end - start;
            while left > 0
                && let Some(chunk) = response.chunk().await.map_err(|error| broken(&error))?
            {
                let bytes = (chunk.len() as u64).min(left);
                left -= bytes;
                let now = self.begun.elapsed();
                self.found(|brought, _| {
                    if brought.bytes == 0 {
                        brought.first = now;
                    }
                    brought.bytes += bytes;
                    brought.last = now;
                });
            }
        }
    }

    async fn ask(&self, mut request: RangeRequest) -> Result<Response, SourceError> {
        loop {
            let sent = request.build(&self.client).send().await;
            let response = sent.map_err(|error| http::describe(&error, &SecretUrl::new(request.url().clone())))?;
            match request.judge(&response, Timestamp::now()) {
                // Also the whole file tells how fast its server is.
                Judged::Accept { .. } | Judged::Whole => return Ok(response),
                Judged::Redirected => {}
                Judged::Astray(error) | Judged::Relocate(error) | Judged::Retry(error) => return Err(error),
            }
        }
    }
}

fn broken(error: &reqwest::Error) -> SourceError {
    let message = if error.is_timeout() {
        "brought no more bytes"
    } else {
        "ended the body early"
    };
    SourceError::new(FailureClass::SourceError, message)
}

/// Takes from what may be spent, if there is as much.
fn take(budget: &AtomicU64, bytes: u64) -> Option<u64> {
    budget
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes))
        .ok()
}
