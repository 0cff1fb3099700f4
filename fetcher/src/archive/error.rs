//! Why an archive is not unpacked.

use std::io;

use modelcache_crds::report::FailureClass;

use crate::model::error::{FetchError, SourceError, StorageError};
use crate::model::path::InvalidPath;
use crate::model::remote_file::RemoteFile;

/// What is wrong with an archive. Its bytes are the ones that its source lists, so fetching it again does not help.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// What it is packed with cannot be undone.
    #[error("it cannot be read: {0}")]
    Unreadable(io::Error),
    /// It has no end.
    #[error("it is cut: no end mark follows")]
    Cut,
    /// No tar header where one must be.
    #[error("no tar header is here")]
    Header,
    /// A header that asks for more than headers need.
    #[error("a header of {0} bytes is longer than any path needs")]
    LongHeader(u64),
    /// A header for everything that follows, which could rename it.
    #[error("a global header that names or sizes files is not supported")]
    GlobalHeader,
    /// A path in no known writing.
    #[error("its path is no UTF-8 text")]
    NotUtf8,
    /// A path that leads elsewhere.
    #[error("its path must not be written: {0}")]
    Path(#[from] InvalidPath),
    /// Two entries of one name.
    #[error("{0} is there already, in this archive or beside it")]
    Twice(String),
    /// Names that are one on some volumes.
    #[error("{0} is there already and differs in case only")]
    CaseOnly(String),
    /// A file where another needs a folder.
    #[error("{0} is a file, and cannot be a folder too")]
    FileAsFolder(String),
    /// Devices, pipes and the like.
    #[error("it is {0}, which no model needs")]
    Kind(&'static str),
    /// Holes that would have to be guessed.
    #[error("it is a sparse file; pack it without --sparse")]
    Sparse,
    /// A link out.
    #[error("it is a link to {0}, which leads out of the archive's folder")]
    LinkOut(String),
    /// A link to nothing that is a file.
    #[error("it is a link to {0}, which is no file of the archive")]
    LinkNowhere(String),
    /// A decompression bomb.
    #[error("it unpacks to more than {0} bytes, which is out of proportion to its length")]
    Bomb(u64),
    /// Too many names.
    #[error("it holds more than {0} files")]
    TooMany(usize),
}

/// A fault and where it was found.
#[derive(Debug)]
pub(super) struct Located {
    pub(super) fault: Fault,
    /// Byte of the unpacked archive.
    pub(super) offset: u64,
    /// Path of the entry, as it stands there.
    pub(super) entry: Option<String>,
}

/// How unpacking fails.
#[derive(Debug)]
pub(super) enum Failure {
    /// By the archive.
    Archive(Located),
    /// By the volume.
    Storage(StorageError),
    /// Somebody asked to stop.
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
    /// The error of an archive.
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
                    "layer {}: {entry}at byte {offset} of the archive: {fault}; pack the model anew without it",
                    archive.digest
                ),
            ),
        }
    }
}
