//! What can go wrong, one enum per meaning. Every error knows its class, and so whether trying again can help.

use std::time::Duration;

use modelcache_crds::report::{Failed, FailureClass};

use super::fault::Fault;
use super::path::FilePath;

/// The source, or the way to it, failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct SourceError {
    /// What kind of failure.
    pub class: FailureClass,
    /// What happened, with the redacted address, and what to do.
    pub message: String,
    /// How long the source asks to wait.
    pub retry_after: Option<Duration>,
}

/// Characters of the longest message.
const LONGEST_MESSAGE: usize = 4000;

/// One line that is not long. What a message repeats of a server's words can be anything: breaks of lines, after which
/// would stand what looks like a line of ours in a log, or a document of some megabytes.
fn one_line(message: String) -> String {
    let end = message.char_indices().nth(LONGEST_MESSAGE);
    if end.is_none() && !message.contains(char::is_control) {
        return message;
    }
    let kept = end.map_or(message.as_str(), |(end, _)| &message[..end]);
    let mark = if end.is_some() { " … (cut)" } else { "" };
    kept.replace(char::is_control, " ") + mark
}

impl SourceError {
    /// An error of a class.
    pub fn new(class: FailureClass, message: impl Into<String>) -> Self {
        Self {
            class,
            message: one_line(message.into()),
            retry_after: None,
        }
    }

    /// The same with the pause the source asked for.
    #[must_use]
    pub fn with_retry_after(mut self, pause: Option<Duration>) -> Self {
        self.retry_after = pause;
        self
    }
}

/// The volume failed.
#[derive(Debug, thiserror::Error)]
#[error("failed to {action} {path}: {source}")]
pub struct StorageError {
    /// What was tried: `write`, `create`, `rename`.
    pub action: &'static str,
    /// On what.
    pub path: String,
    /// The file of the model concerned, where it is one.
    pub file: Option<FilePath>,
    /// First byte of the place in it.
    pub offset: Option<u64>,
    /// The system's answer.
    #[source]
    pub source: std::io::Error,
}

impl StorageError {
    /// Says what was tried on which path, for `map_err`.
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

    /// The same, of a file of the model; its path on the volume need not tell.
    #[must_use]
    pub(crate) fn of(mut self, file: &FilePath) -> Self {
        self.file.get_or_insert_with(|| file.clone());
        self
    }

    /// The same, at a place in its file.
    #[must_use]
    pub(crate) fn at_byte(self, offset: u64) -> Self {
        Self {
            offset: Some(offset),
            ..self
        }
    }

    /// What kind of failure.
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

/// A run that could not end with its result.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The source failed while listing, or for the file named.
    #[error("{}{source}", file.as_ref().map(|file| format!("{file}: ")).unwrap_or_default())]
    Source {
        /// The file concerned.
        file: Option<FilePath>,
        /// First byte of the range concerned.
        offset: Option<u64>,
        /// Why.
        source: SourceError,
    },
    /// The volume failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// A file's bytes are not the listed ones, also when fetched again.
    #[error(
        "{file}: the bytes of the source hash to {actual}, but it lists {expected}, also when fetched again; the source or a cache before it is damaged: use another endpoint, or report it"
    )]
    DigestMismatch {
        /// The file.
        file: FilePath,
        /// The listed digest.
        expected: String,
        /// What the bytes hash to.
        actual: String,
    },
    /// The source lists other content than the digest given on the command line.
    #[error("the source now lists content {actual} for revision {revision}, but {expected} was planned; plan it anew")]
    SourceChanged {
        /// The immutable revision.
        revision: String,
        /// Manifest digest that was planned.
        expected: String,
        /// Manifest digest of the listing.
        actual: String,
    },
    /// Include and exclude leave nothing.
    #[error("none of the {listed} files of the listing is selected by include and exclude; correct the patterns")]
    NoFilesMatch {
        /// Number of listed files.
        listed: usize,
    },
    /// Nothing to verify.
    #[error("nothing is published in {root}; check the folder, or fetch into it first")]
    NothingPublished {
        /// The folder.
        root: String,
    },
    /// Published files are not what was proven when they were published.
    #[error(
        "{damaged} of {files} published files are damaged, the first is {first}{}; mend them with `repair`, which fetches only what is damaged, or fetch the model again",
        match unreadable { 0 => String::new(), unreadable => format!(", and {unreadable} cannot be read") }
    )]
    Damaged {
        /// Number of damaged files.
        damaged: usize,
        /// Number of files that could not be read.
        unreadable: usize,
        /// Number of files verified, and of what stands beside them.
        files: usize,
        /// One of the damaged.
        first: FilePath,
    },
    /// Of published files nobody can say whether they are damaged, and all that can be read is sound.
    #[error(
        "{unreadable} of {files} published files cannot be read, the first is {first}: {source}; look after the volume, and `repair` what stays unreadable"
    )]
    Unreadable {
        /// Number of files that could not be read.
        unreadable: usize,
        /// Number of files verified, and of what stands beside them.
        files: usize,
        /// One that could not be read.
        first: FilePath,
        /// Why.
        source: Box<StorageError>,
    },
    /// Weights are what the source lists, and are no weights all the same.
    #[error(
        "{first}{}; the source lists it so, and fetching again does not help: report it, choose another revision or exclude the file; to have it all the same, give --format-check warn (files.formatCheck: Warn)",
        match others { 0 => String::new(), others => format!(" (and {others} more)") }
    )]
    InvalidFormat {
        /// What is wrong, and where.
        first: Fault,
        /// How much else is wrong.
        others: usize,
    },
    /// The address of `/progress` cannot be used.
    #[error("cannot listen on {address}: {source}; give another address with --listen")]
    Listen {
        /// The address.
        address: std::net::SocketAddr,
        /// The system's answer.
        source: std::io::Error,
    },
    /// Something asked us to stop.
    #[error("asked to stop; what is on disk is kept, run again to continue")]
    Interrupted,
    /// A defect here.
    #[error("internal error: {0}; please report it")]
    Internal(String),
}

impl FetchError {
    /// What kind of failure.
    #[must_use]
    pub fn class(&self) -> FailureClass {
        match self {
            Self::Source { source, .. } => source.class,
            Self::Storage(error) => error.class(),
            Self::DigestMismatch { .. } | Self::Damaged { .. } => FailureClass::DigestMismatch,
            // Whatever keeps it from being read: nothing was to be written.
            Self::Unreadable { .. } => FailureClass::StorageError,
            Self::InvalidFormat { .. } => FailureClass::InvalidFormat,
            Self::NothingPublished { .. } | Self::Listen { .. } => FailureClass::Usage,
            Self::SourceChanged { .. } => FailureClass::SourceChanged,
            Self::NoFilesMatch { .. } => FailureClass::NoFilesMatch,
            Self::Interrupted => FailureClass::Interrupted,
            Self::Internal(_) => FailureClass::Internal,
        }
    }

    /// The same; a failure of the volume is told with the file that was worked on.
    #[must_use]
    pub(crate) fn of(self, file: &FilePath) -> Self {
        match self {
            Self::Storage(error) => Self::Storage(error.of(file)),
            other => other,
        }
    }

    /// The error as the operator is told.
    #[must_use]
    pub fn to_report(&self) -> Failed {
        let named = |file: &FilePath| Some(file.to_string());
        let (file, offset, retry_after) = match self {
            Self::Source { file, offset, source } => (file.as_ref().and_then(named), *offset, source.retry_after),
            // What is no file of the model is told by its path.
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
        let report = error.of(&file("of somebody who knows less")).to_report();
        assert_eq!((report.file.as_deref(), report.offset), (Some("weights"), Some(7)));
    }

    #[test]
    fn what_a_server_wrote_makes_one_line_that_is_not_long() {
        let told = |message: &str| SourceError::new(FailureClass::SourceError, message).message;
        assert_eq!(told("it says: a\nb\u{1b}[31mc"), "it says: a b [31mc");
        let long = "é".repeat(LONGEST_MESSAGE);
        assert_eq!(told(&long), long);
        assert_eq!(told(&format!("{long}x")), format!("{long} … (cut)"));
    }
}
