//! Judges findings about weights: they are logged, and a fault prevents publication unless the caller asked otherwise.

use std::collections::HashSet;
use std::path::Path;

use clap::ValueEnum;
use tokio_util::sync::CancellationToken;

use crate::disk::blocking::blocking;
use crate::format;
use crate::format::{Contents, Findings, Held};
use crate::model::error::FetchError;
use crate::model::path::FilePath;
use crate::model::pattern::{LeftOut, Selection};
use crate::store::{Store, StoredFile, StoredManifest};

/// What to do about weights that are not what their names say.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatCheck {
    /// Fail, and publish nothing
    Enforce,
    /// Say so, and go on
    Warn,
}

/// Refuses a listing that lacks a shard, before anything is fetched.
pub(crate) fn require_whole_sets(selection: &Selection, how: FormatCheck) -> Result<(), FetchError> {
    let left_out: Vec<_> = selection.left_out.iter().map(|out| &out.file.path).collect();
    judge(format::require_whole_sets(&selection.selected, &left_out), how)
}

/// Refuses weights that were fetched and proven, and are no weights.
pub(crate) async fn check_fetched(
    how: FormatCheck,
    store: &Store,
    manifest: &StoredManifest,
    left_out: &[LeftOut],
    stop: &CancellationToken,
) -> Result<(), FetchError> {
    let left_out = left_out.iter().map(|out| out.file.path.clone()).collect();
    let findings = check(&store.verified_folder(&manifest.id), manifest, Some(left_out), stop).await?;
    judge(findings, how)
}

/// Findings about a published revision. What was left out of it is no longer known.
pub(crate) async fn check_published(
    root: &Path,
    manifest: &StoredManifest,
    stop: &CancellationToken,
) -> Result<Findings, FetchError> {
    check(&root.join(manifest.folder()), manifest, None, stop).await
}

async fn check(
    folder: &Path,
    manifest: &StoredManifest,
    left_out: Option<HashSet<FilePath>>,
    stop: &CancellationToken,
) -> Result<Findings, FetchError> {
    let (folder, files, stop) = (folder.to_owned(), manifest.files.clone(), stop.clone());
    blocking(move || {
        let contents = Contents {
            folder: &folder,
            files: files.iter().map(held).collect(),
            left_out: left_out.as_ref().map(|paths| paths.iter().collect()),
        };
        format::check(&contents, &stop)
    })
    .await
}

fn held(file: &StoredFile) -> Held<'_> {
    Held {
        path: &file.path,
        place: file.place(),
        size: file.size,
    }
}

/// Logs findings, and fails with the first fault where that is asked.
pub(crate) fn judge(findings: Findings, how: FormatCheck) -> Result<(), FetchError> {
    for remark in &findings.remarks {
        tracing::warn!("{remark}");
    }
    if how == FormatCheck::Warn {
        for fault in &findings.faults {
            tracing::warn!("{fault}; published all the same, as asked");
        }
        return Ok(());
    }
    let others = findings.faults.len().saturating_sub(1);
    match findings.faults.into_iter().next() {
        None => Ok(()),
        Some(first) => Err(FetchError::InvalidFormat { first, others }),
    }
}
