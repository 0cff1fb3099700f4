//! Runs one fetch from start to end: builds what workers and connections share, runs them, and steers the origins.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

use super::budget::Budget;
use super::file::active::ActiveFile;
use super::file::buffers::Buffers;
use super::file::queue::{Queue, WorkerKind};
use super::file::worker;
use super::file::workers::{StagingState, Workers};
use super::origins::Origins;
use super::origins::connections::is_nearly_complete;
use super::request::bandwidth::Bandwidth;
use super::request::connection;
use super::request::context::Requests;
use super::request::local::Readers;
use super::request::pauses::Pauses;
use super::reuse::content::contents;
use super::reuse::{Reuse, free_space};
use super::schedule::Limits;
use super::schedule::piece_length::{Bounds, PieceLength};
use super::schedule::shared::SharedSchedule;
use super::settings::Settings;
use super::stop::Stop;
use super::{FetchRequest, Outcome};
use crate::disk::blocking::blocking;
use crate::model::error::FetchError;
use crate::store::{Arrangement, ExtraStaging};

/// How often origins are sampled and steered.
const SAMPLE_INTERVAL: Duration = Duration::from_millis(250);

/// Fetches the files of a request into staging.
pub(super) async fn run(
    request: FetchRequest<'_>,
    arrangement: Arrangement,
    extra: ExtraStaging,
) -> Result<Outcome, FetchError> {
    let progress = request.progress;
    let before = progress.snapshot();
    let files = request.files;
    progress.set_total(files.len() as u64, files.iter().map(|file| file.size).sum());
    let (workers, requests) = prepare(&request, arrangement, extra)?;
    run_to_the_end(&workers, &requests).await;
    workers.stop.result()?;
    finish_staging(&workers).await?;
    let after = progress.snapshot();
    Ok(Outcome {
        bytes_fetched: after.bytes_received - before.bytes_received,
        bytes_reused: after.bytes_reused - before.bytes_reused,
        origins: workers.origins.statistics(),
    })
}

/// Builds what file workers share, and what connections share.
fn prepare(
    request: &FetchRequest<'_>,
    arrangement: Arrangement,
    extra: ExtraStaging,
) -> Result<(Arc<Workers>, Arc<Requests>), FetchError> {
    let (store, progress) = (request.store, request.progress);
    let contents = contents(request.files, &arrangement.places);
    let reuse = Reuse::scan(store, &arrangement.id)?;
    free_space::require(store, &contents, &reuse, extra.bytes)?;
    let settings = Arc::new(request.settings.sanitized());
    let budget = Budget::new(&settings);
    let buffers = Buffers::new(settings.block_bytes, budget.filling(), budget.cached());
    let origins = Arc::new(Origins::new(
        request.origins.clone(),
        settings.connections,
        settings.retry.attempts,
        progress,
    ));
    let connections = origins.connections();
    let piece_length = PieceLength::new(Bounds::new(&settings, connections), connections);
    let limits = limits(&settings, connections, piece_length, &buffers);
    let schedule = Arc::new(SharedSchedule::<ActiveFile>::new(limits, origins.count()));
    let stop = Arc::new(Stop::new(&request.stop));
    let workers = Workers {
        settings: Arc::clone(&settings),
        budget,
        origins: Arc::clone(&origins),
        schedule: Arc::clone(&schedule),
        buffers: Arc::clone(&buffers),
        progress: progress.clone(),
        store: store.clone(),
        arrangement,
        reuse,
        queue: Mutex::new(Queue::new(contents, settings.block_bytes)),
        staging: StagingState::new(extra.is_staged),
        stop: Arc::clone(&stop),
    };
    let requests = Requests {
        client: request.client.0.clone(),
        origins,
        schedule,
        buffers,
        progress: progress.clone(),
        piece_length: Mutex::new(piece_length),
        unsynced: Arc::new(Semaphore::new(budget.unsynced().min(Semaphore::MAX_PERMITS))),
        writes: TaskTracker::new(),
        pauses: Pauses::default(),
        readers: Readers::default(),
        bandwidth: settings.max_bytes_per_second.map(Bandwidth::new),
        seeds: AtomicU64::new(settings.seed),
        settings,
        stop,
    };
    Ok((Arc::new(workers), Arc::new(requests)))
}

fn limits(settings: &Settings, connections: usize, piece_length: PieceLength, buffers: &Buffers) -> Limits {
    let blocks = |bytes: u64| bytes / settings.block_bytes;
    Limits {
        piece: blocks(piece_length.bytes()),
        shortest: blocks(piece_length.bytes()),
        connections: connections as u64,
        files: settings.parallel_files,
        window: blocks(settings.window_bytes),
        far_window: blocks(settings.far_window_bytes),
        memory: buffers.max_blocks() as u64,
        is_capped: settings.max_bytes_per_second.is_some(),
    }
}

/// Runs workers and connections until every file is staged or the fetch ends otherwise.
async fn run_to_the_end(workers: &Arc<Workers>, requests: &Arc<Requests>) {
    // Stops workers and connections when the future that waits for them is dropped.
    let guard = workers.stop.token().clone().drop_guard();
    let settings = &workers.settings;
    let any = settings.parallel_files.saturating_add(settings.files_ahead);
    let kinds = workers.queue().workers(any, settings.parallel_small_files);
    let running: Vec<_> = kinds.into_iter().map(|kind| start_worker(workers, kind)).collect();
    let mut connections = JoinSet::new();
    for _ in 0..settings.connections {
        connections.spawn(connection::run(Arc::clone(requests)));
    }
    let steering = tokio::spawn(steer(Arc::clone(requests)));
    let mut all = std::pin::pin!(async {
        for worker in running {
            if worker.await.is_err() {
                workers
                    .stop
                    .fail(FetchError::Internal("file worker ended unexpectedly".to_owned()));
            }
        }
    });
    let is_complete = tokio::select! {
        () = &mut all => true,
        () = workers.stop.ended() => false,
    };
    if is_complete {
        // A failure that was recorded earlier still wins.
        workers.stop.complete();
    }
    while let Some(ended) = connections.join_next().await {
        if let Err(error) = ended {
            workers
                .stop
                .fail(FetchError::Internal(format!("connection task failed: {error}")));
        }
    }
    steering.abort();
    // A connection may end before its last write does.
    requests.writes.close();
    requests.writes.wait().await;
    workers.stop.set_drained();
    if !is_complete {
        all.await;
    }
    guard.disarm();
}

/// Samples the throughput of each origin at intervals, and steers the connections.
async fn steer(requests: Arc<Requests>) {
    let mut ticks = tokio::time::interval(SAMPLE_INTERVAL);
    let mut connections = requests.origins.connections();
    let mut received = requests.progress.snapshot().bytes_received;
    loop {
        ticks.tick().await;
        let now = requests.progress.snapshot();
        let arrived = now.bytes_received - std::mem::replace(&mut received, now.bytes_received);
        let left = now.bytes_total.saturating_sub(now.bytes_reused + now.bytes_received);
        let is_held_back = requests.settings.max_bytes_per_second.is_some() || requests.schedule.is_hash_busy();
        let is_enough = is_held_back || is_nearly_complete(arrived, left);
        let demands = requests.schedule.demands(requests.origins.count());
        let steered = requests.origins.steer(&demands, is_enough);
        if steered.connections != connections {
            connections = steered.connections;
            tracing::debug!(connections, "number of connections changed");
            requests.set_connections(connections);
        }
        for closed in steered.closed {
            requests.schedule.cancel_origin(closed);
        }
        if let Some(slowest) = steered.surplus {
            requests.schedule.cancel_slowest(slowest);
        }
    }
}

/// Starts a worker. The receiver resolves when it ends.
///
/// A worker is a thread of its own: it mostly waits for the disk, and must not use up the runtime's blocking threads, on
/// which connections write.
fn start_worker(workers: &Arc<Workers>, kind: WorkerKind) -> oneshot::Receiver<()> {
    let (ended, receiver) = oneshot::channel();
    let shared = Arc::clone(workers);
    let started = std::thread::Builder::new()
        .name("file worker".to_owned())
        .spawn(move || {
            worker::run(&shared, kind);
            let _ = ended.send(());
        });
    if let Err(error) = started {
        workers
            .stop
            .fail(FetchError::Internal(format!("cannot start a file worker: {error}")));
    }
    receiver
}

/// Stages files that are published in place, if the revision must be published again.
async fn finish_staging(workers: &Arc<Workers>) -> Result<(), FetchError> {
    let workers = Arc::clone(workers);
    blocking(move || {
        workers
            .staging
            .finish(&workers.store, &workers.reuse, &workers.arrangement)
    })
    .await
}
