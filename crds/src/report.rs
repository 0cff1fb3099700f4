//! The report of a fetcher when it ends: a JSON document of at most 4 KiB, written as the termination message of the
//! container, and an exit code for each failure class, for use without a cluster.

use std::fmt;

mod origins;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::origins::reported;
pub use self::origins::{MAX_ORIGINS, OriginFault, OriginReport};

/// Length at which Kubernetes truncates a termination message.
pub const MAX_REPORT_BYTES: usize = 4096;

/// Path that the fetcher writes the report to: the default `terminationMessagePath`.
pub const TERMINATION_MESSAGE_PATH: &str = "/dev/termination-log";

/// Outcome of one run of the fetcher.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Report {
    /// `plan` resolved and listed the source.
    Planned(Planned),
    /// `fetch` or `verify` verified every file, and every file is published.
    Published(Published),
    /// The run failed.
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
    /// Total size of the selected files in bytes.
    pub bytes: i64,
    /// Additional bytes needed to unpack archives; `None` if no file is an archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpacking_bytes: Option<i64>,
}

/// A model, verified and published.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    /// Immutable revision.
    pub revision: String,
    /// Digest of the canonical manifest, `sha256:<hex>`.
    pub digest: String,
    /// Number of files published.
    pub files: i64,
    /// Total size of these files in bytes.
    pub bytes: i64,
    /// Bytes downloaded in this run.
    pub bytes_fetched: i64,
    /// Bytes that were already on disk.
    pub bytes_reused: i64,
    /// Milliseconds from start to publication.
    pub duration_milliseconds: i64,
    /// Path of the published folder, relative to the root of the claim or to its `subPath`.
    pub path: String,
    /// Statistics of each origin; empty if no request was sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<OriginReport>,
}

/// A run that failed.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Failed {
    /// Failure class.
    pub class: FailureClass,
    /// What failed, and what to do about it. Never contains a secret or a signed URL.
    pub message: String,
    /// Path of the affected file, if the failure concerns one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Byte offset in that file, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,
    /// Seconds to wait as requested by the source (`Retry-After`), if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<i64>,
    /// Statistics of each origin until the failure; empty if no request was sent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub origins: Vec<OriginReport>,
}

/// Failure class of a run: a closed set, each class with an exit code and either transient or permanent.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FailureClass {
    /// A defect of the fetcher, or a failure that fits no other class.
    Internal,
    /// The command line is invalid.
    Usage,
    /// The repository does not exist, or is private and no token is set.
    RepositoryNotFound,
    /// The repository has no such branch, tag or commit.
    RevisionNotFound,
    /// The source lists a file that it does not serve.
    FileNotFound,
    /// The token is invalid or expired.
    AuthenticationFailed,
    /// The token is valid but does not grant access: gated, disabled or out of scope.
    AccessDenied,
    /// The include and exclude patterns select no file.
    NoFilesMatch,
    /// The listing has an unsafe or unusable entry: absolute path, `..`, case collision, or no usable digest.
    InvalidListing,
    /// The source now lists different content than when it was resolved.
    SourceChanged,
    /// The source cannot be reached: DNS failure, connection refused, TLS failure or timeout.
    SourceUnreachable,
    /// The source limits the rate of requests.
    RateLimited,
    /// The source returned a server error or an invalid response.
    SourceError,
    /// The volume is full.
    DiskFull,
    /// The volume is not writable.
    StorageReadOnly,
    /// A read from or a write to the volume failed.
    StorageError,
    /// Another fetcher uses the same folder.
    StorageBusy,
    /// The data does not match the listed digest, even after downloading it again.
    DigestMismatch,
    /// The data matches the listed digests but is not a complete model: truncated, damaged, or a shard is missing.
    InvalidFormat,
    /// The fetcher received SIGTERM.
    Interrupted,
    /// The container was killed or evicted and left no report. Set by the operator.
    Killed,
    /// The container exceeded its memory limit. Set by the operator.
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

    /// Exit code of the fetcher. `Killed` and `OutOfMemory` share 137, that of signal 9.
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

    /// Whether a retry cannot succeed until something is changed.
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
            // A full disk ends the run at once. It is transient because space can appear without an event (expansion,
            // cleanup), and an attempt that finds none costs one pod and downloads nothing.
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
    /// Serializes the report as JSON of at most [`MAX_REPORT_BYTES`]; a longer message is truncated and marked as such.
    #[must_use]
    pub fn to_termination_message(&self) -> String {
        let mut report = self.clone();
        if let Self::Published(Published { origins, .. }) | Self::Failed(Failed { origins, .. }) = &mut report {
            *origins = reported(origins);
        }
        let whole = serde_json::to_string(&report).unwrap_or_default();
        if whole.len() <= MAX_REPORT_BYTES {
            return whole;
        }
        let Self::Failed(failed) = report else { return whole };
        let mut shortened = failed.clone();
        // JSON escaping can turn one byte into six, so halve until it fits.
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

    /// Parses the output of [`Report::to_termination_message`]; `None` if the message is not a report.
    #[must_use]
    pub fn from_termination_message(message: &str) -> Option<Self> {
        serde_json::from_str(message.trim()).ok()
    }

    /// Statistics of each origin; empty if no request was sent.
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

/// Response of the fetcher on `/progress`, as JSON.
#[derive(Serialize, Deserialize, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ProgressReport {
    /// Bytes on disk, including those of earlier runs.
    pub bytes_fetched: i64,
    /// Bytes hashed so far.
    pub bytes_verified: i64,
    /// Total size of the selected files in bytes; zero until the source is listed.
    pub bytes_total: i64,
    /// Download rate in bytes per second, averaged over the last seconds.
    pub bytes_per_second: i64,
    /// Number of files that are published or completely staged.
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
            .prop_map(|(name, bytes, last_error, is_corrupt)| OriginReport {
                name,
                bytes,
                failures: 7,
                last_error,
                dropped: is_corrupt.then_some(OriginFault::SentWrongBytes),
            })
    }

    #[test]
    fn a_report_without_origins_is_parsed() {
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
        fn any_number_of_origins_fits_and_corrupt_ones_are_kept(
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
                let is_corrupt = |origin: &&OriginReport| origin.dropped.is_some();
                let corrupt = origins.iter().filter(is_corrupt).count();
                // The source itself always takes one place.
                prop_assert!(read.origins().iter().filter(is_corrupt).count() >= corrupt.min(MAX_ORIGINS - 1));
            }
        }
    }
}
