//! Hashes a whole file.

use std::io::{self, Read};
use std::path::Path;

use tokio_util::sync::CancellationToken;

use super::files::open_plain;
use super::page_cache::forget;
use crate::model::digest::{ContentDigest, Hasher};
use crate::model::error::{FetchError, StorageError};
use crate::observe::progress::Progress;

/// Hashes a file with the algorithm of the expected digest.
///
/// Drops the file from the page cache as it goes, since the page cache is charged to the container's memory.
pub(crate) fn hash_file(
    path: &Path,
    expected: &ContentDigest,
    size: u64,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<ContentDigest, FetchError> {
    let mut file = open_plain(path).map_err(StorageError::at("open", path))?;
    let mut hasher = Hasher::new(expected, size);
    let mut buffer = vec![0; 1 << 20];
    let mut offset = 0;
    loop {
        if stop.is_cancelled() {
            return Err(FetchError::Interrupted);
        }
        let read = match file.read(&mut buffer) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(StorageError::at("read", path)(error).at_byte(offset).into()),
        };
        hasher.update(&buffer[..read]);
        progress.verified(read as u64);
        forget(&file, offset, read as u64);
        offset += read as u64;
    }
}
