//! Counters that a run moves and that `/progress`, `/metrics`, the progress bar and the report read.

mod file;
mod origin;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::file::{FileProgress, FileSnapshot, UnderWay};
pub use self::origin::{OriginCourse, OriginProgress, OriginSnapshot};

/// Counters of one run, cheap to clone and to move from any thread.
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
    /// Bytes that came over the network in this run.
    pub bytes_received: u64,
    /// Of the received ones, bytes that had to be thrown away and fetched again.
    pub bytes_discarded: u64,
    /// Bytes hashed.
    pub bytes_verified: u64,
    /// Files proven complete.
    pub files_done: u64,
    /// Requests tried again.
    pub retries: u64,
}

impl Snapshot {
    /// Bytes on disk, those of earlier runs included.
    #[must_use]
    pub fn bytes_fetched(&self) -> u64 {
        (self.bytes_reused + self.bytes_received).saturating_sub(self.bytes_discarded)
    }
}

impl Progress {
    /// Says how much there is to do.
    pub fn set_total(&self, files: u64, bytes: u64) {
        self.0.files_total.store(files, Ordering::Relaxed);
        self.0.bytes_total.store(bytes, Ordering::Relaxed);
    }

    /// Bytes that were on disk already.
    pub fn reused(&self, bytes: u64) {
        self.0.bytes_reused.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes that came over the network.
    pub fn received(&self, bytes: u64) {
        self.0.bytes_received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes on disk that have to be fetched again.
    pub fn discarded(&self, bytes: u64) {
        self.0.bytes_discarded.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes hashed.
    pub fn verified(&self, bytes: u64) {
        self.0.bytes_verified.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Hashed bytes that turned out wrong.
    pub fn unverified(&self, bytes: u64) {
        self.0.bytes_verified.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// A file proven complete.
    pub fn file_done(&self) {
        self.0.files_done.fetch_add(1, Ordering::Relaxed);
    }

    /// A request tried again.
    pub fn retried(&self) {
        self.0.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// A file is under way, of which so many bytes are here already.
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

    /// The files under way, in the order they were begun.
    #[must_use]
    pub fn files(&self) -> Vec<FileSnapshot> {
        self.files_locked().iter().map(|file| file.snapshot()).collect()
    }

    fn files_locked(&self) -> MutexGuard<'_, Vec<Arc<FileProgress>>> {
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Names the origins that are asked, the source first, and gives the counters of each.
    pub fn set_origins<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> Vec<Arc<OriginProgress>> {
        let origins: Vec<_> = names
            .into_iter()
            .map(|name| Arc::new(OriginProgress::new(name)))
            .collect();
        self.origins_locked().clone_from(&origins);
        origins
    }

    /// What each origin has brought by now, in the order they were named.
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
