//! Reads a range of a mounted file like the body of a response: chunk by chunk, on blocking threads. The bytes do not stay
//! in the page cache, which counts toward our memory limit.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;
use modelcache_crds::report::FailureClass;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::disk::files::open_plain;
use crate::disk::page_cache::forget;
use crate::model::error::SourceError;
use crate::source::{LocalFile, Stamp};

/// The most bytes of one read.
const CHUNK_BYTES: u64 = 256 << 10;

/// The most concurrent reads. A volume that hangs blocks their threads, and writes need threads as well.
const MAX_READS: usize = 16;

/// Limits the number of concurrent reads.
#[derive(Debug)]
pub(crate) struct Readers(Arc<Semaphore>);

impl Default for Readers {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_READS)))
    }
}

impl Readers {
    /// Runs a read on a blocking thread. The thread holds its permit even if it hangs and the caller gives up.
    async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, SourceError> + Send + 'static,
    ) -> Result<T, SourceError> {
        let internal = |what: String| SourceError::new(FailureClass::Internal, what);
        let permit = Arc::clone(&self.0).acquire_owned().await;
        let permit = permit.map_err(|error| internal(format!("cannot read: {error}")))?;
        let ended = spawn_blocking(move || {
            let _permit = permit;
            read()
        });
        ended
            .await
            .map_err(|error| internal(format!("read task failed: {error}")))?
    }
}

/// A range of a mounted file that is being read.
pub(crate) struct Reading {
    readers: Readers,
    file: Arc<File>,
    stamp: Stamp,
    left: Range<u64>,
}

impl Reading {
    /// Opens a file, if it has not changed since it was listed.
    pub(crate) async fn open(readers: &Readers, local: &LocalFile, range: Range<u64>) -> Result<Self, SourceError> {
        let LocalFile { path, stamp } = local.clone();
        let file = readers.run(move || {
            let file = open_plain(&path).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => changed("it no longer exists"),
                _ => failed("open", 0, &error),
            })?;
            unchanged(&file, stamp)?;
            Ok(file)
        });
        Ok(Self {
            file: Arc::new(file.await?),
            readers: Readers(Arc::clone(&readers.0)),
            stamp,
            left: range,
        })
    }

    /// Reads the next bytes; `None` at the end of the range.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, SourceError> {
        if self.left.is_empty() {
            return Ok(None);
        }
        let (file, stamp, left) = (Arc::clone(&self.file), self.stamp, self.left.clone());
        let bytes = self.readers.run(move || read(&file, stamp, &left)).await?;
        self.left.start += bytes.len() as u64;
        Ok(Some(bytes))
    }
}

/// Reads the first bytes of a range. The last ones are returned only if the file has not changed since it was listed.
fn read(file: &File, stamp: Stamp, range: &Range<u64>) -> Result<Bytes, SourceError> {
    let length = CHUNK_BYTES.min(range.end - range.start);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(usize::MAX)];
    let read = loop {
        match file.read_at(&mut bytes, range.start) {
            Ok(0) => return Err(changed("it ends early")),
            Ok(read) => break read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(failed("read", range.start, &error)),
        }
    };
    bytes.truncate(read);
    forget(file, range.start, read as u64);
    if range.start + read as u64 == range.end {
        unchanged(file, stamp)?;
    }
    Ok(bytes.into())
}

fn unchanged(file: &File, stamp: Stamp) -> Result<(), SourceError> {
    let metadata = file.metadata().map_err(|error| failed("read", 0, &error))?;
    if Stamp::of(&metadata) == stamp {
        return Ok(());
    }
    Err(changed("its length or modification time differs"))
}

fn changed(how: &str) -> SourceError {
    SourceError::new(
        FailureClass::SourceChanged,
        format!("the file changed since it was listed: {how}; plan it again once it is complete"),
    )
}

fn failed(action: &str, offset: u64, error: &io::Error) -> SourceError {
    let class = match error.kind() {
        io::ErrorKind::PermissionDenied => FailureClass::AccessDenied,
        // Transient, because I/O errors of a network volume pass when it returns. Those of a disk repeat until retries end.
        _ => FailureClass::SourceError,
    };
    let advice = match class {
        FailureClass::AccessDenied => "; make it readable for the fetcher's user",
        _ => "",
    };
    SourceError::new(class, format!("cannot {action} it at byte {offset}: {error}{advice}"))
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;

    use super::*;

    fn listed(content: &[u8]) -> (tempfile::TempDir, LocalFile) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, content).unwrap();
        let stamp = Stamp::of(&std::fs::metadata(&path).unwrap());
        (folder, LocalFile { path, stamp })
    }

    async fn all(local: &LocalFile, range: Range<u64>) -> Result<Vec<u8>, SourceError> {
        let mut reading = Reading::open(&Readers::default(), local, range).await?;
        let mut read = Vec::new();
        while let Some(bytes) = reading.chunk().await? {
            read.extend_from_slice(&bytes);
        }
        Ok(read)
    }

    #[tokio::test]
    async fn exactly_the_range_is_read() {
        let content: Vec<u8> = (0..=250).cycle().take(700_000).collect();
        let (_folder, local) = listed(&content);
        assert!(all(&local, 0..700_000).await.unwrap() == content);
        assert!(all(&local, 300_001..600_003).await.unwrap() == content[300_001..600_003]);
    }

    #[tokio::test]
    async fn a_file_that_was_changed_or_removed_since_it_was_listed_is_refused() {
        let (_folder, local) = listed(&[7; 1000]);
        let mut open = Reading::open(&Readers::default(), &local, 0..1000).await.unwrap();
        let file = OpenOptions::new().append(true).open(&local.path);
        file.unwrap().write_all(b"more").unwrap();
        let errors = [
            open.chunk().await.unwrap_err(),
            all(&local, 0..10).await.unwrap_err(),
            {
                std::fs::remove_file(&local.path).unwrap();
                all(&local, 0..10).await.unwrap_err()
            },
        ];
        for error in errors {
            assert_eq!(error.class, FailureClass::SourceChanged, "{error}");
            assert!(error.message.contains("plan it again"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_file_shorter_than_the_range_is_an_error() {
        let (_folder, local) = listed(&[7; 1000]);
        let error = all(&local, 900..1100).await.unwrap_err();
        assert_eq!(error.class, FailureClass::SourceChanged);
        assert!(error.message.contains("ends early"), "{error}");
    }

    #[test]
    fn a_read_error_names_its_offset_and_is_transient() {
        let error = failed(
            "read",
            4096,
            &io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()),
        );
        assert!(!error.class.is_permanent());
        assert!(
            error
                .message
                .contains("cannot read it at byte 4096: Input/output error"),
            "{error}"
        );
    }
}
