//! Counters that a run updates and that `/progress`, `/metrics`, the terminal and the report read.

mod file;
mod origin;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::file::{FileProgress, FileSnapshot, UnderWay};
pub use self::origin::{OriginProgress, OriginSnapshot, OriginState};

/// Counters of one run, cheap to clone and to update from any thread.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    bytes_total: AtomicU64,
    files_total: AtomicU64,
    bytes_reused: AtomicU64,
    bytes_received: AtomicU64,
    bytes_discarded: AtomicU64,
    bytes_verified: AtomicU64,
    files_done: AtomicU64,
    retries: AtomicU64,
    begun: AtomicU64,
    files: Mutex<Vec<Arc<FileProgress>>>,
    origins: Mutex<Vec<Arc<OriginProgress>>>,
}

/// The counters at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// Bytes of all selected files; zero until they are listed.
    pub bytes_total: u64,
    /// Number of selected files.
    pub files_total: u64,
    /// Bytes found on disk at the start.
    pub bytes_reused: u64,
    /// Bytes received over the network in this run.
    pub bytes_received: u64,
    /// Received bytes that were discarded and fetched again.
    pub bytes_discarded: u64,
    /// Bytes hashed.
    pub bytes_verified: u64,
    /// Files verified complete.
    pub files_done: u64,
    /// Retried requests.
    pub retries: u64,
}

impl Snapshot {
    /// Bytes on disk, including those of earlier runs.
    #[must_use]
    pub fn bytes_fetched(&self) -> u64 {
        (self.bytes_reused + self.bytes_received).saturating_sub(self.bytes_discarded)
    }
}

impl Progress {
    /// Sets the number of selected files and their bytes.
    pub fn set_total(&self, files: u64, bytes: u64) {
        self.0.files_total.store(files, Ordering::Relaxed);
        self.0.bytes_total.store(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that were on disk already.
    pub fn reused(&self, bytes: u64) {
        self.0.bytes_reused.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes received over the network.
    pub fn received(&self, bytes: u64) {
        self.0.bytes_received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that are discarded and fetched again.
    pub fn discarded(&self, bytes: u64) {
        self.0.bytes_discarded.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts hashed bytes.
    pub fn verified(&self, bytes: u64) {
        self.0.bytes_verified.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Subtracts hashed bytes that turned out to be wrong.
    pub fn unverified(&self, bytes: u64) {
        self.0.bytes_verified.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Counts a file that is verified complete.
    pub fn file_done(&self) {
        self.0.files_done.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a retried request.
    pub fn retried(&self) {
        self.0.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds an active file with `here` bytes on disk; the returned guard removes it.
    #[must_use]
    pub fn begin(&self, name: &str, size: u64, here: u64) -> UnderWay {
        let number = self.0.begun.fetch_add(1, Ordering::Relaxed);
        let file = Arc::new(FileProgress::new(number, name, size, here));
        self.files_locked().push(Arc::clone(&file));
        UnderWay {
            progress: self.clone(),
            file,
        }
    }

    fn end(&self, file: &Arc<FileProgress>) {
        self.files_locked().retain(|other| !Arc::ptr_eq(other, file));
    }

    /// The active files, in the order in which they became active.
    #[must_use]
    pub fn files(&self) -> Vec<FileSnapshot> {
        self.files_locked().iter().map(|file| file.snapshot()).collect()
    }

    fn files_locked(&self) -> MutexGuard<'_, Vec<Arc<FileProgress>>> {
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the names of the origins, the source first, and returns the counters of each.
    pub fn set_origins<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Vec<Arc<OriginProgress>> {
        let origins: Vec<_> = names
            .into_iter()
            .map(|name| Arc::new(OriginProgress::new(name)))
            .collect();
        self.origins_locked().clone_from(&origins);
        origins
    }

    /// The counters of each origin now, in the order of [`Progress::set_origins`].
    #[must_use]
    pub fn origins(&self) -> Vec<OriginSnapshot> {
        self.origins_locked().iter().map(|origin| origin.snapshot()).collect()
    }

    fn origins_locked(&self) -> MutexGuard<'_, Vec<Arc<OriginProgress>>> {
        self.0.origins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The counters now.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            bytes_total: read(&self.0.bytes_total),
            files_total: read(&self.0.files_total),
            bytes_reused: read(&self.0.bytes_reused),
            bytes_received: read(&self.0.bytes_received),
            bytes_discarded: read(&self.0.bytes_discarded),
            bytes_verified: read(&self.0.bytes_verified),
            files_done: read(&self.0.files_done),
            retries: read(&self.0.retries),
        }
    }
}
