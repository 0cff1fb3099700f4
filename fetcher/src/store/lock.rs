//! Allows one writer at a time.
//!
//! A POSIX record lock: network file systems forward it to their server, while `flock` is silently local to the node on
//! several of them. The lock belongs to the process, so two stores of one process do not exclude each other.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;

use crate::model::error::StorageError;

/// A held lock, released on drop and by the system when the process ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn take(path: &Path) -> Result<Self, StorageError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(StorageError::at("open", path))?;
        match fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::AGAIN | Errno::ACCESS) => {
                let busy = io::Error::new(
                    io::ErrorKind::WouldBlock,
                    "another fetcher writes to this folder; wait until it ends, or stop it",
                );
                return Err(StorageError::at("lock", path)(busy));
            }
            Err(Errno::NOLCK | Errno::NOTSUP | Errno::NOSYS) => {
                tracing::warn!(path = %path.display(), "continuing without a lock: the file system has none; make sure that only one fetcher writes here");
            }
            Err(error) => return Err(StorageError::at("lock", path)(error.into())),
        }
        Ok(Self { _file: file })
    }
}
