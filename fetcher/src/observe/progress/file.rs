//! How far a file under way is, counted where it is fetched and read where it is shown.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Progress;

/// Counters of a file under way.
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
    /// No two files under way have the same, nor a file that is taken up again.
    pub number: u64,
    /// Its path.
    pub name: String,
    /// Bytes it is to have.
    pub size: u64,
    /// Bytes that are here, those of earlier runs included.
    pub bytes: u64,
}

/// A file is under way as long as this lives.
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

    /// Bytes of it came over the network.
    pub fn received(&self, bytes: u64) {
        self.received.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Some of these were of no use.
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
    fn a_file_is_told_as_long_as_it_is_under_way() {
        let progress = Progress::default();
        let (one, two) = (progress.begin("one", 100, 40), progress.begin("two", 7, 0));
        one.file().received(30);
        one.file().discarded(10);
        let told = |progress: &Progress| -> Vec<_> {
            let files = progress.files().into_iter();
            files.map(|file| (file.name, file.bytes, file.size)).collect()
        };
        assert_eq!(told(&progress), [("one".to_owned(), 60, 100), ("two".to_owned(), 0, 7)]);
        drop(one);
        assert_eq!(told(&progress), [("two".to_owned(), 0, 7)]);
        drop(two);
        assert_eq!(progress.files(), []);
    }
}
