//! Errors of unpacking an archive.

use std::io;

use modelcache_crds::report::FailureClass;

use crate::model::error::{FetchError, SourceError, StorageError};
use crate::model::path::InvalidPath;
use crate::model::remote_file::RemoteFile;

/// What is wrong with an archive. Its bytes match the listed digest, so fetching it again does not help.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// Decompression fails.
    #[error("decompression failed: {0}")]
    Unreadable(io::Error),
    /// The archive ends too early.
    #[error("the archive is truncated: its end mark is missing")]
    Truncated,
    /// A block that should be a tar header is none.
    #[error("this is not a tar header")]
    Header,
    /// A header with more text than a path or a size needs.
    #[error("a header of {0} bytes is too long")]
    LongHeader(u64),
    /// A header that would rename or resize all entries after it.
    #[error("a global header with names or sizes of files is not supported")]
    GlobalHeader,
    /// A path in another encoding.
    #[error("the path is not UTF-8")]
    NotUtf8,
    /// A path outside the folder, or one that some volumes cannot hold.
    #[error("the path must not be written: {0}")]
    Path(#[from] InvalidPath),
    /// Two files at one path.
    #[error("the model has {0} already, in this archive or outside it")]
    Duplicate(String),
    /// Paths that are the same on volumes that ignore case.
    #[error("the model has {0} already, which differs only in case")]
    CaseOnly(String),
    /// A path that is a file and a folder.
    #[error("{0} is a file and cannot be a folder too")]
    FileAsFolder(String),
    /// An entry that is not a file, a folder or a link.
    #[error("it is {0}, which a model must not contain")]
    Kind(&'static str),
    /// A sparse file, whose holes this reader does not support.
    #[error("it is a sparse file; pack it without --sparse")]
    Sparse,
    /// A link to a path outside the archive.
    #[error("it is a link to {0}, which is outside the archive")]
    LinkOut(String),
    /// A link to something other than a file.
    #[error("it is a link to {0}, which is not a file of the archive")]
    LinkNowhere(String),
    /// A decompression bomb.
    #[error("the archive unpacks to more than {0} bytes, which is too much for its size")]
    Bomb(u64),
    /// More files than a model has.
    #[error("the archive has more than {0} files")]
    TooMany(usize),
}

/// A fault and its position.
#[derive(Debug)]
pub(super) struct Located {
    pub(super) fault: Fault,
    /// Offset in the decompressed archive, in bytes.
    pub(super) offset: u64,
    /// Path of the entry, exactly as the archive has it.
    pub(super) entry: Option<String>,
}

/// Why unpacking failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The archive is invalid.
    Archive(Located),
    /// The volume failed.
    Storage(StorageError),
    /// The run was stopped.
    Interrupted,
}

impl From<Located> for Failure {
    fn from(located: Located) -> Self {
        Self::Archive(located)
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Self::Storage(error)
    }
}

impl Failure {
    /// The error of the run, with the archive's name.
    pub(super) fn of(self, archive: &RemoteFile) -> FetchError {
        let Located { fault, offset, entry } = match self {
            Self::Archive(located) => located,
            Self::Storage(error) => return error.into(),
            Self::Interrupted => return FetchError::Interrupted,
        };
        let entry = entry.map(|entry| format!("entry {entry:?} ")).unwrap_or_default();
        FetchError::Source {
            file: Some(archive.path.clone()),
            offset: Some(offset),
            source: SourceError::new(
                FailureClass::InvalidListing,
                format!(
                    "layer {}: {entry}at byte {offset} of the archive: {fault}; pack the model again without it",
                    archive.digest
                ),
            ),
        }
    }
}
