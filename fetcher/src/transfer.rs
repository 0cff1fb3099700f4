//! Moves bytes: any number of connections fetch pieces of several files at once, each file is hashed as its
//! bytes arrive, and what is durable is never fetched again. It knows no source and no protocol but byte ranges.
//!
//! A *lane* takes one file at a time through its life: take up what is on disk, offer the rest on the *board*, hash
//! and sync what arrives, prove it, stage it. *Connections* take pieces from the board and write them. Lanes are
//! threads, since all they do is wait for the disk; connections are tasks, since all they do is wait for the network.

mod budget;
mod file;
mod origins;
mod request;
mod reuse;
mod schedule;
mod settings;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::budget::Budget;
use self::file::buffers::Buffers;
pub use self::origins::Origin;
use self::origins::Origins;
pub(crate) use self::origins::connections::FIRST_CONNECTIONS;
use self::origins::connections::is_nearly_complete;
use self::request::bandwidth::Bandwidth;
use self::request::local::Readers;
use self::request::pauses::Pauses;
use self::reuse::Reuse;
use self::reuse::content::{Content, contents};
use self::schedule::Limits;
use self::schedule::piece_length::{Bounds, PieceLength};
use self::schedule::queue::{Queue, Takes};
use self::schedule::shared::Board;
pub use self::settings::Settings;
use crate::disk::blocking::blocking;
use crate::model::error::{FetchError, SourceError};
use crate::model::remote_file::RemoteFile;
use crate::observe::progress::{OriginSnapshot, Progress};
use crate::store::{Arrangement, ExtraStaging, Store};

/// How often it is looked what each origin brings.
const LOOK: Duration = Duration::from_millis(250);

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

/// Everything lanes and connections share.
struct Run {
    settings: Settings,
    budget: Budget,
    origins: Origins,
    client: reqwest::Client,
    progress: Progress,
    board: Board,
    piece_length: Mutex<PieceLength>,
    buffers: Arc<Buffers>,
    /// One permit for each block that is begun and not yet durable, for it is lost with a kill.
    unsynced: Arc<Semaphore>,
    /// Blocks that are being written, also for connections that have ended.
    writes: TaskTracker,
    pauses: Pauses,
    readers: Readers,
    bandwidth: Option<Bandwidth>,
    store: Store,
    arrangement: Arrangement,
    reuse: Reuse,
    waiting: Mutex<Queue>,
    in_place: Mutex<Vec<Content>>,
    any_staged: AtomicBool,
    seeds: AtomicU64,
    failure: Mutex<Option<FetchError>>,
    /// Ends everything: asked to stop, or failed.
    halt: CancellationToken,
    /// No connection writes any more, so lanes can sync what they have and end.
    drained: AtomicBool,
}

/// Why a request did not bring what it was to bring.
enum Trouble {
    /// Its server ignores ranges.
    RangesIgnored,
    /// The address does not serve the file (any more); it is located anew.
    Relocate(SourceError),
    /// The same, or its server is asked too much: some say so with 403.
    Forbidden(SourceError),
    /// Its server is asked too much.
    Refused(SourceError),
    /// Another try may help.
    Again(SourceError),
    /// Another try cannot help.
    Permanent(SourceError),
    /// Something here failed, not the source.
    Failed(FetchError),
}

impl From<SourceError> for Trouble {
    fn from(error: SourceError) -> Self {
        if error.class.is_permanent() {
            Self::Permanent(error)
        } else {
            Self::Again(error)
        }
    }
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
    let FetchRequest {
        files,
        revision: _,
        origins,
        client,
        store,
        settings,
        progress,
        stop,
    } = request;
    let before = progress.snapshot();
    progress.set_total(files.len() as u64, files.iter().map(|file| file.size).sum());
    let contents = contents(files, &arrangement.places);
    let reuse = Reuse::survey(store, &arrangement.id)?;
    reuse::room::require(store, &contents, &reuse, extra.bytes)?;
    let settings = settings.sound();
    let budget = Budget::new(&settings);
    let waiting = Queue::new(contents, settings.block_bytes);
    let buffers = Buffers::new(settings.block_bytes, budget.filled(), budget.kept());
    let origins = Origins::new(origins, settings.connections, settings.retry.attempts, progress);
    let connections = origins.connections();
    let piece_length = PieceLength::new(Bounds::new(&settings, connections), connections);
    let run = Arc::new(Run {
        piece_length: Mutex::new(piece_length),
        unsynced: Arc::new(Semaphore::new(budget.unsynced().min(Semaphore::MAX_PERMITS))),
        board: Board::new(
            Limits {
                piece: piece_length.bytes() / settings.block_bytes,
                shortest: piece_length.bytes() / settings.block_bytes,
                connections: connections as u64,
                files: settings.parallel_files,
                window: settings.window_bytes / settings.block_bytes,
                far_window: settings.far_window_bytes / settings.block_bytes,
                memory: buffers.most() as u64,
                is_capped: settings.max_bytes_per_second.is_some(),
            },
            origins.count(),
        ),
        buffers,
        bandwidth: settings.max_bytes_per_second.map(Bandwidth::new),
        seeds: AtomicU64::new(settings.seed),
        origins,
        settings,
        budget,
        client: client.0,
        progress: progress.clone(),
        writes: TaskTracker::new(),
        pauses: Pauses::default(),
        readers: Readers::default(),
        store: store.clone(),
        arrangement,
        reuse,
        waiting: Mutex::new(waiting),
        in_place: Mutex::default(),
        any_staged: AtomicBool::new(extra.is_staged),
        failure: Mutex::default(),
        halt: stop.child_token(),
        drained: AtomicBool::new(false),
    });
    run_to_the_end(&run).await;
    if let Some(error) = lock(&run.failure).take() {
        return Err(error);
    }
    if run.halt.is_cancelled() {
        return Err(FetchError::Interrupted);
    }
    settle_what_is_in_place(&run).await?;
    let after = progress.snapshot();
    Ok(Outcome {
        bytes_fetched: after.bytes_received - before.bytes_received,
        bytes_reused: after.bytes_reused - before.bytes_reused,
        origins: run.origins.outcome(),
    })
}

/// Stops lanes and connections also when the future that waits for them is dropped.
struct Halt<'a>(&'a Run);

impl Drop for Halt<'_> {
    fn drop(&mut self) {
        self.0.halt.cancel();
        self.0.board.close();
        self.0.drained.store(true, Ordering::Release);
    }
}

/// Runs lanes and connections until every file is staged, or something ends them.
async fn run_to_the_end(run: &Arc<Run>) {
    let halted = Halt(run);
    let settings = &run.settings;
    let any = settings.parallel_files.saturating_add(settings.files_ahead);
    let lanes = lock(&run.waiting).lanes(any, settings.parallel_small_files);
    let lanes: Vec<_> = lanes.into_iter().map(|takes| start_lane(run, takes)).collect();
    let mut connections = JoinSet::new();
    for _ in 0..run.settings.connections {
        connections.spawn(request::connection::run(Arc::clone(run)));
    }
    let steering = tokio::spawn(steer(Arc::clone(run)));
    let mut lanes = std::pin::pin!(async {
        for lane in lanes {
            if lane.await.is_err() {
                run.fail(FetchError::Internal("a lane ended early".to_owned()));
            }
        }
    });
    let complete = tokio::select! {
        () = &mut lanes => true,
        () = run.halt.cancelled() => false,
    };
    run.board.close();
    while let Some(ended) = connections.join_next().await {
        if let Err(error) = ended {
            run.fail(FetchError::Internal(format!("a connection ended early: {error}")));
        }
    }
    steering.abort();
    // A connection that is told to end leaves its write to itself.
    run.writes.close();
    run.writes.wait().await;
    run.drained.store(true, Ordering::Release);
    if complete {
        // Nothing is left to stop: do not make a success look halted.
        std::mem::forget(halted);
    } else {
        lanes.await;
    }
}

/// Looks again and again what each origin brings, and who is to rest.
async fn steer(run: Arc<Run>) {
    let mut ticks = tokio::time::interval(LOOK);
    let mut connections = run.origins.connections();
    let mut received = run.progress.snapshot().bytes_received;
    loop {
        ticks.tick().await;
        let now = run.progress.snapshot();
        let came = now.bytes_received - received;
        received = now.bytes_received;
        let left = now.bytes_total.saturating_sub(now.bytes_reused + now.bytes_received);
        let is_held_back = run.settings.max_bytes_per_second.is_some() || run.board.is_hash_busy();
        let is_enough = is_held_back || is_nearly_complete(came, left);
        let look = run.origins.look(&run.board.demands(run.origins.count()), is_enough);
        if look.connections != connections {
            connections = look.connections;
            tracing::debug!(connections, "another number of connections");
            run.board.set_connections(connections);
            lock(&run.piece_length).set_bounds(Bounds::new(&run.settings, connections));
        }
        for closed in look.closed {
            run.board.leave(closed);
        }
        if let Some(hog) = look.hog {
            run.board.leave_slowest(hog);
        }
    }
}

/// Starts a lane; the receiver hears when it ends. A thread of its own, for it waits for the disk most of the time
/// and must not use up the runtime's blocking threads, on which connections write.
fn start_lane(run: &Arc<Run>, takes: Takes) -> oneshot::Receiver<()> {
    let (ended, hears) = oneshot::channel();
    let lane = Arc::clone(run);
    let started = std::thread::Builder::new().name("lane".to_owned()).spawn(move || {
        file::worker::run(&lane, takes);
        let _ = ended.send(());
    });
    if let Err(error) = started {
        run.fail(FetchError::Internal(format!("cannot start a thread: {error}")));
    }
    hears
}

/// A revision that is published whole and sound stays as it is. One of which something was staged anew, or that lacks
/// what leads to its files, is staged whole, to be exchanged for the published one.
async fn settle_what_is_in_place(run: &Arc<Run>) -> Result<(), FetchError> {
    let run = Arc::clone(run);
    blocking(move || {
        let in_place = lock(&run.in_place);
        if in_place.is_empty() {
            return Ok(());
        }
        if !run.any_staged.load(Ordering::Acquire) && run.store.is_laid_out(&run.arrangement) {
            return Ok(run.store.unstage(&run.arrangement.id)?);
        }
        in_place
            .iter()
            .try_for_each(|content| run.reuse.stage_in_place(&run.store, content))?;
        Ok(())
    })
    .await
}

impl Run {
    /// Ends everything with an error; the first one counts.
    fn fail(&self, error: FetchError) {
        if !matches!(error, FetchError::Interrupted) {
            lock(&self.failure).get_or_insert(error);
        }
        self.halt.cancel();
    }

    /// Takes note of how a piece arrived. One that is less than a block says nothing about how fast many would come.
    fn learn_piece_length(&self, first_byte: Duration, bytes: u64, body: Duration) {
        if bytes < self.settings.block_bytes {
            return;
        }
        let mut length = lock(&self.piece_length);
        length.observe(first_byte, bytes, body);
        let blocks = |bytes| bytes / self.settings.block_bytes;
        self.board
            .set_pieces(blocks(length.bytes()), blocks(length.last_bytes()), length.distance());
    }

    /// Bytes of whole blocks that may be written and not yet durable.
    fn unsynced_bytes(&self) -> u64 {
        self.budget.written_bytes(self.origins.connections())
    }

    /// Fixes the jitter of one more schedule.
    fn next_seed(&self) -> u64 {
        self.seeds.fetch_add(1, Ordering::Relaxed)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
