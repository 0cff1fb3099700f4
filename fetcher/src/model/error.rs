//! The fetcher's errors. Each has a failure class, which decides whether it is retried.

use std::time::Duration;

use modelcache_crds::report::{Failed, FailureClass};

use super::fault::Fault;
use super::path::FilePath;

/// A failure of the source or of the network.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// The failure class.
    pub class: FailureClass,
    /// What failed, with the redacted URL, and what to do.
    pub message: String,
    /// The pause that the source asks for.
    pub retry_after: Option<Duration>,
}

/// Longest message of a source error; the rest is cut off.
const MAX_MESSAGE_CHARS: usize = 4000;

/// Replaces control characters by spaces and cuts a long message.
///
/// Messages quote servers. A quoted line break could forge a line in our log, and a quoted document can be megabytes.
fn one_line(message: String) -> String {
    let end = message.char_indices().nth(MAX_MESSAGE_CHARS);
    if end.is_none() && !message.contains(char::is_control) {
        return message;
    }
    let kept = end.map_or(message.as_str(), |(end, _)| &message[..end]);
    let mark = if end.is_some() { " … (cut)" } else { "" };
    kept.replace(char::is_control, " ") + mark
}

impl SourceError {
    /// An error of the given class, without a pause.
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: one_line(message.into()),
            retry_after: None,
        }
    }

    /// Sets the pause that the source asks for.
    #[must_use]
    pub fn with_retry_after(mut self, pause: Option<Duration>) -> Self {
        self.retry_after = pause;
        self
    }
}

/// A failure of the volume.
#[derive(Debug, thiserror::Error)]
#[error("failed to {action} {path}: {source}")]
pub struct StorageError {
    /// The action that failed: `write`, `create`, `rename`.
    pub action: &'static str,
    /// The path on the volume.
    pub path: String,
    /// The model file concerned, if any.
    pub file: Option<FilePath>,
    /// Offset in the file, in bytes.
    pub offset: Option<u64>,
    /// The system's error.
    #[source]
    pub source: std::io::Error,
}

impl StorageError {
    /// Adds action and path to an I/O error, for `map_err`.
    pub(crate) fn at(action: &'static str, path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self {
            action,
            path,
            file: None,
            offset: None,
            source,
        }
    }

    /// Adds the model file, unless one is set. The path on the volume may not show it.
    #[must_use]
    pub(crate) fn of(mut self, file: &FilePath) -> Self {
        self.file.get_or_insert_with(|| file.clone());
        self
    }

    /// Sets the offset in the file, in bytes.
    #[must_use]
    pub(crate) fn at_byte(self, offset: u64) -> Self {
        Self {
            offset: Some(offset),
            ..self
        }
    }

    /// The failure class.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self.source.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => FailureClass::DiskFull,
            std::io::ErrorKind::ReadOnlyFilesystem | std::io::ErrorKind::PermissionDenied => {
                FailureClass::StorageReadOnly
            }
            std::io::ErrorKind::WouldBlock => FailureClass::StorageBusy,
            _ => FailureClass::StorageError,
        }
    }
}

/// The error that ends a run.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The source failed, while listing or for one file.
    #[error("{}{source}", file.as_ref().map(|file| format!("{file}: ")).unwrap_or_default())]
    Source {
        /// The file concerned, if any.
        file: Option<FilePath>,
        /// First byte of the range concerned, if any.
        offset: Option<u64>,
        /// The cause.
        source: SourceError,
    },
    /// The volume failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A file fails its digest, also when fetched again.
    #[error(
        "{file}: the downloaded bytes hash to {actual}, but the source lists {expected}, also when fetched again; the source or a cache in front of it is damaged: use another endpoint, or report it"
    )]
    DigestMismatch {
        /// The file.
        file: FilePath,
        /// The listed digest.
        expected: String,
        /// The digest of the downloaded bytes.
        actual: String,
    },
    /// The listing has another manifest digest than the planned one.
    #[error("the source now lists content {actual} for revision {revision}, but {expected} was planned; plan it again")]
    SourceChanged {
        /// The immutable revision.
        revision: String,
        /// The planned manifest digest.
        expected: String,
        /// Manifest digest of the listing.
        actual: String,
    },
    /// Include and exclude select no file.
    #[error("include and exclude select none of the {listed} listed files; correct the patterns")]
    NoFilesMatch {
        /// Number of listed files.
        listed: usize,
    },
    /// The folder has no published revision.
    #[error("nothing is published in {root}; check the folder, or fetch into it first")]
    NothingPublished {
        /// The folder.
        root: String,
    },
    /// Published files fail the digests that they were published with.
    #[error(
        "{damaged} of {files} published files are damaged, the first is {first}{}; run `repair`, which fetches only the damaged blocks, or fetch the model again",
        match unreadable { 0 => String::new(), unreadable => format!(", and {unreadable} cannot be read") }
    )]
    Damaged {
        /// Number of damaged files.
        damaged: usize,
        /// Number of files that could not be read.
        unreadable: usize,
        /// Number of published files, with the links and texts next to them.
        files: usize,
        /// One of the damaged files.
        first: FilePath,
    },
    /// Some published files cannot be read; all others are intact.
    #[error(
        "{unreadable} of {files} published files cannot be read, the first is {first}: {source}; check the volume, then run `repair` if files stay unreadable"
    )]
    Unreadable {
        /// Number of files that could not be read.
        unreadable: usize,
        /// Number of published files, with the links and texts next to them.
        files: usize,
        /// One of the unreadable files.
        first: FilePath,
        /// Why it cannot be read.
        source: Box<StorageError>,
    },
    /// The files are the listed ones, but the listed weights are damaged or incomplete.
    #[error(
        "{first}{}; the source lists it this way, so fetching again does not help: report it, choose another revision, exclude the file, or accept it with --format-check warn (files.formatCheck: Warn)",
        match others { 0 => String::new(), others => format!(" (and {others} more)") }
    )]
    InvalidFormat {
        /// The first fault.
        first: Fault,
        /// Number of further faults.
        others: usize,
    },
    /// The server for `/progress` cannot listen.
    #[error("cannot listen on {address}: {source}; give another address with --listen")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// The system's error.
        source: std::io::Error,
    },
    /// The run was asked to stop, for example by a signal.
    #[error("stopped on request; bytes on disk are kept, run again to continue")]
    Interrupted,
    /// A defect of the fetcher.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}

impl FetchError {
    /// The failure class.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Source { source, .. } => source.class,
            Self::Storage(error) => error.class(),
            Self::DigestMismatch { .. } | Self::Damaged { .. } => FailureClass::DigestMismatch,
            // Not the class of the cause: a full or read-only disk does not matter to a read.
            Self::Unreadable { .. } => FailureClass::StorageError,
            Self::InvalidFormat { .. } => FailureClass::InvalidFormat,
            Self::NothingPublished { .. } | Self::Listen { .. } => FailureClass::Usage,
            Self::SourceChanged { .. } => FailureClass::SourceChanged,
            Self::NoFilesMatch { .. } => FailureClass::NoFilesMatch,
            Self::Interrupted => FailureClass::Interrupted,
            Self::Internal(_) => FailureClass::Internal,
        }
    }

    /// Adds the model file to a storage error; other errors stay as they are.
    #[must_use]
    pub(crate) fn of(self, file: &FilePath) -> Self {
        match self {
            Self::Storage(error) => Self::Storage(error.of(file)),
            other => other,
        }
    }

    /// The error as the fetcher's report to the operator.
    #[must_use]
    pub fn to_report(&self) -> Failed {
        let named = |file: &FilePath| Some(file.to_string());
        let (file, offset, retry_after) = match self {
            Self::Source { file, offset, source } => (file.as_ref().and_then(named), *offset, source.retry_after),
            // The path on the volume stands in where no model file is concerned.
            Self::Storage(error) => (
                error.file.as_ref().map_or_else(|| Some(error.path.clone()), named),
                error.offset,
                None,
            ),
            Self::DigestMismatch { file, .. } | Self::Damaged { first: file, .. } => (named(file), None, None),
            Self::Unreadable { first, source, .. } => (named(first), source.offset, None),
            Self::InvalidFormat { first, .. } => (named(&first.file), first.offset, None),
            Self::SourceChanged { .. }
            | Self::NoFilesMatch { .. }
            | Self::NothingPublished { .. }
            | Self::Listen { .. }
            | Self::Interrupted
            | Self::Internal(_) => (None, None, None),
        };
        Failed {
            class: self.class(),
            message: self.to_string(),
            file,
            offset: offset.and_then(|offset| i64::try_from(offset).ok()),
            retry_after_seconds: retry_after.and_then(|pause| i64::try_from(pause.as_secs()).ok()),
            origins: Vec::new(),
        }
    }
}

impl From<SourceError> for FetchError {
    fn from(source: SourceError) -> Self {
        Self::Source {
            file: None,
            offset: None,
            source,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::Path;

    use super::*;

    #[test]
    fn a_failure_of_the_volume_is_reported_with_its_file_and_place() {
        let failed = || StorageError::at("read", Path::new("/models/.modelcache/lock"))(io::Error::other("broken"));
        let report = FetchError::from(failed()).to_report();
        assert_eq!(report.file.as_deref(), Some("/models/.modelcache/lock"));
        assert_eq!(report.offset, None);

        let file = |name| FilePath::parse(name).unwrap();
        let error = FetchError::from(failed().at_byte(7).of(&file("weights")));
        let report = error.of(&file("of an outer caller")).to_report();
        assert_eq!((report.file.as_deref(), report.offset), (Some("weights"), Some(7)));
    }

    #[test]
    fn what_a_server_wrote_makes_one_line_that_is_not_long() {
        let shown = |message: &str| SourceError::new(FailureClass::SourceError, message).message;
        assert_eq!(shown("it says: a\nb\u{1b}[31mc"), "it says: a b [31mc");
        let long = "é".repeat(MAX_MESSAGE_CHARS);
        assert_eq!(shown(&long), long);
        assert_eq!(shown(&format!("{long}x")), format!("{long} … (cut)"));
    }
}
