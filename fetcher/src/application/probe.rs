//! Measures the throughput of each origin with a few seconds of requests whose bytes are discarded.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use modelcache_crds::report::FailureClass;
use reqwest::{Client, Response};
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use super::estimate::Sample;
use crate::http::client as http;
use crate::http::client::Trust;
use crate::http::range::Decision;
use crate::http::range_request::RangeRequest;
use crate::http::redact::SecretUrl;
use crate::model::error::{FetchError, SourceError};
use crate::model::remote_file::RemoteFile;
use crate::source::Location;
use crate::transfer::Origin;

/// Time after which a probe ends.
pub(crate) const PROBE_MAX_TIME: Duration = Duration::from_secs(3);

/// Bytes from all origins together after which a probe ends.
pub(crate) const PROBE_MAX_BYTES: u64 = 32 << 20;

/// Bytes of one request.
const PROBE_PIECE_BYTES: u64 = 4 << 20;

/// The result of a probe for one origin.
pub(crate) struct ProbeResult {
    pub(crate) name: String,
    pub(crate) sample: Sample,
    /// Set if no byte arrived.
    pub(crate) error: Option<String>,
}

/// An origin that several connections probe.
struct Probe {
    origin: Origin,
    file: RemoteFile,
    client: Client,
    /// Requested once for all connections.
    location: OnceCell<Location>,
    start: Instant,
    next_piece: AtomicU64,
    result: Mutex<(Sample, Option<String>)>,
}

/// Probes all origins in parallel, each with the largest file that it lists.
pub(crate) async fn probe(
    origins: Vec<Origin>,
    connections: usize,
    trust: &Trust,
) -> Result<Vec<ProbeResult>, FetchError> {
    let connections_each = (connections / origins.len().max(1)).max(1);
    let budget = Arc::new(AtomicU64::new(PROBE_MAX_BYTES));
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
            start: Instant::now(),
            next_piece: AtomicU64::new(0),
            result: Mutex::default(),
        });
        for _ in 0..connections_each {
            let (probe, budget) = (Arc::clone(&probe), Arc::clone(&budget));
            tasks.spawn(async move {
                if let Err(error) = probe.run(&budget).await {
                    probe.record(|_, first_error| {
                        first_error.get_or_insert(error.message);
                    });
                }
            });
        }
        probes.push(probe);
    }
    // Dropping the set ends the tasks that take longer.
    let _ = timeout(PROBE_MAX_TIME, async { while tasks.join_next().await.is_some() {} }).await;
    drop(tasks);
    Ok(probes.iter().map(|probe| probe.result()).collect())
}

impl Probe {
    fn record(&self, change: impl FnOnce(&mut Sample, &mut Option<String>)) {
        let mut result = self.result.lock().unwrap_or_else(PoisonError::into_inner);
        let (sample, error) = &mut *result;
        change(sample, error);
    }

    fn result(&self) -> ProbeResult {
        let (sample, error) = self.result.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let no_data = || format!("sent no data in {} s", PROBE_MAX_TIME.as_secs());
        ProbeResult {
            name: self.origin.name.clone(),
            sample,
            error: (sample.bytes == 0 && self.file.size > 0).then(|| error.unwrap_or_else(no_data)),
        }
    }

    /// Requests one piece after the other until the file or the budget ends.
    async fn run(&self, budget: &AtomicU64) -> Result<(), SourceError> {
        let locate = || self.origin.source.locate(&self.origin.revision, &self.file);
        let Location::Http(location) = self.location.get_or_try_init(locate).await? else {
            return Err(SourceError::new(
                FailureClass::SourceError,
                "is a mounted folder, which is not probed",
            ));
        };
        loop {
            let start = self.next_piece.fetch_add(1, Ordering::Relaxed) * PROBE_PIECE_BYTES;
            let end = (start + PROBE_PIECE_BYTES).min(self.file.size);
            if start >= end || spend(budget, end - start).is_none() {
                return Ok(());
            }
            let request = RangeRequest::new(location, start..end, self.file.size, false);
            let mut response = self.send(request).await?;
            let mut remaining = end - start;
            while remaining > 0
                && let Some(chunk) = response.chunk().await.map_err(|error| body_error(&error))?
            {
                let bytes = (chunk.len() as u64).min(remaining);
                remaining -= bytes;
                let now = self.start.elapsed();
                self.record(|sample, _| {
                    if sample.bytes == 0 {
                        sample.first_byte = now;
                    }
                    sample.bytes += bytes;
                    sample.last_byte = now;
                });
            }
        }
    }

    /// Sends a request and follows its redirects.
    async fn send(&self, mut request: RangeRequest) -> Result<Response, SourceError> {
        loop {
            let sent = request.build(&self.client).send().await;
            let response = sent.map_err(|error| http::describe(&error, &SecretUrl::new(request.url().clone())))?;
            match request.judge(&response, Timestamp::now())? {
                // The whole file measures the throughput as well as a range.
                Decision::Accept { .. } | Decision::Whole => return Ok(response),
                Decision::Redirect => {}
                Decision::Relocate(error) | Decision::Retry(error) => return Err(error),
            }
        }
    }
}

fn body_error(error: &reqwest::Error) -> SourceError {
    let message = if error.is_timeout() {
        "sent no more data"
    } else {
        "ended the body early"
    };
    SourceError::new(FailureClass::SourceError, message)
}

/// Takes bytes from the budget; `None` if it has fewer.
fn spend(budget: &AtomicU64, bytes: u64) -> Option<u64> {
    budget
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |rest| rest.checked_sub(bytes))
        .ok()
}
