//! One writer at a time.
//!
//! A POSIX record lock, which network file systems pass on to their server; `flock` is silently local to the node
//! on several of them. Being the process's own, it does not keep two stores of one process apart.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::io::Errno;

use crate::model::error::StorageError;

/// A held lock: released when dropped, and by the system when the process ends.
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
                    "another fetcher is at work in this folder; wait until it ends, or stop it",
                );
                return Err(StorageError::at("lock", path)(busy));
            }
            Err(Errno::NOLCK | Errno::NOTSUP | Errno::NOSYS) => {
                tracing::warn!(path = %path.display(), "the file system has no locks; make sure that one fetcher writes here at a time");
            }
            Err(error) => return Err(StorageError::at("lock", path)(error.into())),
        }
        Ok(Self { _file: file })
    }
}
