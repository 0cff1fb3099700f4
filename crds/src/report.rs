//! What a fetcher tells the operator when it ends: a JSON document of at most 4 KiB, written as the
//! container's termination message, and an exit code per failure class for people without a cluster.

use std::fmt;

mod origins;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::origins::fitting;
pub use self::origins::{MAX_ORIGINS, OriginFault, OriginReport};

/// Kubernetes keeps this much of a termination message.
pub const MAX_REPORT_BYTES: usize = 4096;

/// Where the fetcher writes the report: the default `terminationMessagePath`.
pub const TERMINATION_MESSAGE_PATH: &str = "/dev/termination-log";

/// The end of one run of the fetcher.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Report {
    /// `plan` listed the source.
    Planned(Planned),
    /// `fetch` or `verify` proved and published every file.
    Published(Published),
    /// The run ended without its result.
    Failed(Failed),
}

/// A source, resolved and listed.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Planned {
    /// Immutable revision.
    pub revision: String,
    /// Digest of the canonical manifest, `sha256:<hex>`.
    pub digest: String,
    /// Number of selected files.
    pub files: i64,
    /// Bytes of the selected files.
    pub bytes: i64,
    /// Bytes that are needed beside them, to unpack those that are archives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpacking_bytes: Option<i64>,
}

/// A model, proven and published.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    /// Immutable revision.
    pub revision: String,
    /// Digest of the canonical manifest, `sha256:<hex>`.
    pub digest: String,
    /// Number of files published.
    pub files: i64,
    /// Bytes of these files.
    pub bytes: i64,
    /// Bytes that came over the network in this run.
    pub bytes_fetched: i64,
    /// Bytes that were on disk already.
    pub bytes_reused: i64,
    /// Milliseconds from start to publication.
    pub duration_milliseconds: i64,
    /// Where the files are, relative to the claim (or to the subPath given).
    pub path: String,
    /// What each origin was good for; left out where none was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<OriginReport>,
}

/// A run that failed.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Failed {
    /// What kind of failure.
    pub class: FailureClass,
    /// What happened, and what to do. Never holds a secret or a signed URL.
    pub message: String,
    /// The file concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Byte offset in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    /// Seconds the source asked to wait, when it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<i64>,
    /// What each origin was good for until then; left out where none was asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<OriginReport>,
}

/// A closed set of failure classes, each with its exit code and whether trying again can help.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureClass {
    /// A defect of the fetcher, or something it has no class for.
    Internal,
    /// The command line is wrong.
    Usage,
    /// No such repository, or a private one and no token.
    RepositoryNotFound,
    /// The repository has no such branch, tag or commit.
    RevisionNotFound,
    /// A listed file is not there.
    FileNotFound,
    /// The token is wrong or expired.
    AuthenticationFailed,
    /// The token is right but may not read this: gated, disabled or out of scope.
    AccessDenied,
    /// No file is left after include and exclude.
    NoFilesMatch,
    /// The listing holds what must not be written: absolute paths, `..`, case collisions, no usable digest.
    InvalidListing,
    /// The source now lists other bytes than were planned.
    SourceChanged,
    /// No connection: DNS, refused, TLS, timeout.
    SourceUnreachable,
    /// The source asked for fewer requests.
    RateLimited,
    /// The source answers against its protocol, or with a server error.
    SourceError,
    /// The volume is full.
    DiskFull,
    /// The volume may not be written.
    StorageReadOnly,
    /// The volume failed to read or write.
    StorageError,
    /// Another fetcher works in the same folder.
    StorageBusy,
    /// The bytes are not the listed ones, after fetching them again.
    DigestMismatch,
    /// The bytes are the listed ones, and are no model: cut short, damaged, or a shard is missing.
    InvalidFormat,
    /// Something asked the fetcher to stop (SIGTERM).
    Interrupted,
    /// The container was ended without a report: killed, out of memory or evicted. Told by the operator.
    Killed,
    /// The container was killed for its memory limit. Told by the operator.
    OutOfMemory,
}

impl FailureClass {
    /// Every class, in the order of exit codes.
    pub const ALL: [Self; 22] = [
        Self::Internal,
        Self::Usage,
        Self::RepositoryNotFound,
        Self::RevisionNotFound,
        Self::FileNotFound,
        Self::AuthenticationFailed,
        Self::AccessDenied,
        Self::NoFilesMatch,
        Self::InvalidListing,
        Self::SourceChanged,
        Self::SourceUnreachable,
        Self::RateLimited,
        Self::SourceError,
        Self::DiskFull,
        Self::StorageReadOnly,
        Self::StorageError,
        Self::StorageBusy,
        Self::DigestMismatch,
        Self::InvalidFormat,
        Self::Interrupted,
        Self::OutOfMemory,
        Self::Killed,
    ];

    /// Exit code of the fetcher. `Killed` and `OutOfMemory` end by signal 9, as the shell counts it.
    #[must_use]
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Internal => 1,
            Self::Usage => 2,
            Self::RepositoryNotFound => 10,
            Self::RevisionNotFound => 11,
            Self::FileNotFound => 12,
            Self::AuthenticationFailed => 13,
            Self::AccessDenied => 14,
            Self::NoFilesMatch => 15,
            Self::InvalidListing => 16,
            Self::SourceChanged => 17,
            Self::SourceUnreachable => 20,
            Self::RateLimited => 21,
            Self::SourceError => 22,
            Self::DiskFull => 30,
            Self::StorageReadOnly => 31,
            Self::StorageError => 32,
            Self::StorageBusy => 33,
            Self::DigestMismatch => 40,
            Self::InvalidFormat => 41,
            Self::Interrupted => 50,
            Self::OutOfMemory | Self::Killed => 137,
        }
    }

    /// Whether trying again unchanged cannot help: somebody has to change something first.
    #[must_use]
    pub const fn is_permanent(self) -> bool {
        match self {
            Self::Usage
            | Self::RepositoryNotFound
            | Self::RevisionNotFound
            | Self::FileNotFound
            | Self::AuthenticationFailed
            | Self::AccessDenied
            | Self::NoFilesMatch
            | Self::InvalidListing
            | Self::SourceChanged
            | Self::StorageReadOnly
            | Self::DigestMismatch
            | Self::InvalidFormat => true,
            // A full disk ends the run at once, but room can appear without a word to us (expansion, a clean-up),
            // and a try that finds none costs one pod and no byte.
            Self::DiskFull
            | Self::Internal
            | Self::SourceUnreachable
            | Self::RateLimited
            | Self::SourceError
            | Self::StorageError
            | Self::StorageBusy
            | Self::Interrupted
            | Self::OutOfMemory
            | Self::Killed => false,
        }
    }
}

impl fmt::Display for FailureClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl Report {
    /// The report as JSON of at most [`MAX_REPORT_BYTES`]; a message that is too long is cut, and says so.
    #[must_use]
    pub fn to_termination_message(&self) -> String {
        let mut report = self.clone();
        if let Self::Published(Published { origins, .. }) | Self::Failed(Failed { origins, .. }) = &mut report {
            *origins = fitting(origins);
        }
        let whole = serde_json::to_string(&report).unwrap_or_default();
        if whole.len() <= MAX_REPORT_BYTES {
            return whole;
        }
        let Self::Failed(failed) = report else { return whole };
        let mut shortened = failed.clone();
        // JSON escaping can make six bytes of one, so halve until it fits.
        let mut keep = shortened.message.len();
        loop {
            keep /= 2;
            shortened.message = format!("{} … (cut)", truncate_at_char(&failed.message, keep));
            shortened.file = failed
                .file
                .as_deref()
                .map(|file| truncate_at_char(file, keep.max(64)).to_owned());
            let text = serde_json::to_string(&Self::Failed(shortened.clone())).unwrap_or_default();
            if text.len() <= MAX_REPORT_BYTES || keep == 0 {
                return text;
            }
        }
    }

    /// Reads what [`Report::to_termination_message`] wrote; `None` when it is something else.
    #[must_use]
    pub fn from_termination_message(message: &str) -> Option<Self> {
        serde_json::from_str(message.trim()).ok()
    }

    /// What each origin was good for, as far as the run came to ask one.
    #[must_use]
    pub fn origins(&self) -> &[OriginReport] {
        match self {
            Self::Planned(_) => &[],
            Self::Published(Published { origins, .. }) | Self::Failed(Failed { origins, .. }) => origins,
        }
    }
}

fn truncate_at_char(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// What the fetcher serves as JSON on `/progress` while it runs.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ProgressReport {
    /// Bytes on disk, those of earlier runs included.
    pub bytes_fetched: i64,
    /// Bytes hashed so far.
    pub bytes_verified: i64,
    /// Bytes of all selected files; zero until the listing is there.
    pub bytes_total: i64,
    /// Bytes per second over the last seconds.
    pub bytes_per_second: i64,
    /// Files published or staged complete.
    pub files_done: i64,
    /// Number of selected files.
    pub files_total: i64,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_class_is_listed_once_and_has_an_exit_code_of_its_own() {
        let names: BTreeSet<_> = FailureClass::ALL.iter().collect();
        assert_eq!(names.len(), FailureClass::ALL.len());
        let codes: BTreeSet<_> = FailureClass::ALL.iter().map(|class| class.exit_code()).collect();
        assert_eq!(
            codes.len(),
            FailureClass::ALL.len() - 1,
            "only Killed and OutOfMemory share signal 9's code"
        );
    }

    fn origin() -> impl Strategy<Value = OriginReport> {
        (
            "\\PC{0,900}",
            any::<i64>(),
            proptest::option::of("\\PC{0,900}"),
            any::<bool>(),
        )
            .prop_map(|(name, bytes, last_error, lied)| OriginReport {
                name,
                bytes,
                failures: 7,
                last_error,
                dropped: lied.then_some(OriginFault::SentWrongBytes),
            })
    }

    #[test]
    fn a_report_of_before_there_were_origins_is_read() {
        let text = r#"{"kind":"failed","class":"DiskFull","message":"full"}"#;
        let report = Report::from_termination_message(text).unwrap();
        assert_eq!(report.origins(), []);
    }

    proptest! {
        #[test]
        fn a_report_fits_the_termination_message_whatever_its_text(message in "\\PC{0,6000}", file in "\\PC{0,6000}") {
            let report = Report::Failed(Failed {
                class: FailureClass::SourceError, message, file: Some(file), offset: Some(7), retry_after_seconds: None,
                origins: Vec::new(),
            });
            let text = report.to_termination_message();
            prop_assert!(text.len() <= MAX_REPORT_BYTES);
            prop_assert!(matches!(Report::from_termination_message(&text), Some(Report::Failed(_))));
        }

        #[test]
        fn any_number_of_origins_fits_too_and_a_liar_stays_named(
            message in "\\PC{0,3000}", origins in proptest::collection::vec(origin(), 0..20),
        ) {
            let failed = Report::Failed(Failed {
                class: FailureClass::SourceError, message, file: None, offset: None, retry_after_seconds: None,
                origins: origins.clone(),
            });
            let published = Report::Published(Published {
                revision: "r".repeat(64), digest: "d".repeat(71), files: i64::MAX, bytes: i64::MAX, bytes_fetched: 0,
                bytes_reused: 0, duration_milliseconds: 0, path: "current".to_owned(), origins: origins.clone(),
            });
            for report in [failed, published] {
                let text = report.to_termination_message();
                prop_assert!(text.len() <= MAX_REPORT_BYTES, "{}", text.len());
                let read = Report::from_termination_message(&text).unwrap();
                prop_assert_eq!(read.origins().len(), origins.len().min(MAX_ORIGINS));
                let lied = |origin: &&OriginReport| origin.dropped.is_some();
                let liars = origins.iter().filter(lied).count();
                // The source itself is always among them.
                prop_assert!(read.origins().iter().filter(lied).count() >= liars.min(MAX_ORIGINS - 1));
            }
        }
    }
}
