//! Progress of one active file.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Progress;

/// Counters of an active file.
#[derive(Debug)]
pub struct FileProgress {
    number: u64,
    name: String,
    size: u64,
    received: AtomicU64,
    discarded: AtomicU64,
}

/// A file's counters at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSnapshot {
    /// Unique number; a file that becomes active again gets another.
    pub number: u64,
    /// Path of the file.
    pub name: String,
    /// Size of the complete file in bytes.
    pub size: u64,
    /// Bytes on disk, including those of earlier runs.
    pub bytes: u64,
}

/// A guard that keeps a file active until it is dropped.
#[derive(Debug)]
pub struct UnderWay {
    pub(super) progress: Progress,
    pub(super) file: Arc<FileProgress>,
}

impl FileProgress {
    pub(super) fn new(number: u64, name: &str, size: u64, here: u64) -> Self {
        Self {
            number,
            name: name.to_owned(),
            size,
            received: AtomicU64::new(here),
            discarded: AtomicU64::new(0),
        }
    }

    /// Counts received bytes of the file.
    pub fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Counts bytes of the file that are discarded and fetched again.
    pub fn discarded(&self, bytes: u64) {
        self.discarded.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn snapshot(&self) -> FileSnapshot {
        let discarded = self.discarded.load(Ordering::Relaxed);
        let bytes = self.received.load(Ordering::Relaxed).saturating_sub(discarded);
        FileSnapshot {
            number: self.number,
            name: self.name.clone(),
            size: self.size,
            bytes: bytes.min(self.size),
        }
    }
}

impl UnderWay {
    /// The file's counters.
    #[must_use]
    pub fn file(&self) -> Arc<FileProgress> {
        Arc::clone(&self.file)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.progress.end(&self.file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_listed_while_it_is_active() {
        let progress = Progress::default();
        let (one, two) = (progress.begin("one", 100, 40), progress.begin("two", 7, 0));
        one.file().received(30);
        one.file().discarded(10);
        let listed = |progress: &Progress| -> Vec<_> {
            let files = progress.files().into_iter();
            files.map(|file| (file.name, file.bytes, file.size)).collect()
        };
        assert_eq!(
            listed(&progress),
            [("one".to_owned(), 60, 100), ("two".to_owned(), 0, 7)]
        );
        drop(one);
        assert_eq!(listed(&progress), [("two".to_owned(), 0, 7)]);
        drop(two);
        assert_eq!(progress.files(), []);
    }
}
