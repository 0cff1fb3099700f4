//! Checks weights: logs the findings, and fails on a fault unless faults are only to be logged.

use std::collections::HashSet;
use std::path::Path;

use clap::ValueEnum;
use tokio_util::sync::CancellationToken;

use crate::disk::blocking::blocking;
use crate::format;
use crate::format::{Contents, Findings, Held};
use crate::model::error::FetchError;
use crate::model::fault::Fault;
use crate::model::path::FilePath;
use crate::model::pattern::{LeftOut, Selection};
use crate::store::{Store, StoredFile, StoredManifest};

/// Action for weights that are truncated, damaged or lack a shard.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatCheck {
    /// Fail and publish nothing
    Enforce,
    /// Log the fault and continue
    Warn,
}

/// Fails if a listing lacks a shard, before anything is fetched.
pub(crate) fn require_whole_sets(selection: &Selection, how: FormatCheck) -> Result<(), FetchError> {
    let left_out: Vec<_> = selection.left_out.iter().map(|out| &out.file.path).collect();
    require_sound_weights(format::require_whole_sets(&selection.selected, &left_out), how)
}

/// Fails if fetched weights match their digests but not their format.
pub(crate) async fn check_fetched(
    how: FormatCheck,
    store: &Store,
    manifest: &StoredManifest,
    left_out: &[LeftOut],
    stop: &CancellationToken,
) -> Result<(), FetchError> {
    let left_out = left_out.iter().map(|out| out.file.path.clone()).collect();
    let findings = check(&store.verified_folder(&manifest.id), manifest, Some(left_out), stop).await?;
    require_sound_weights(findings, how)
}

/// Checks a published revision. The files that its fetch skipped are not recorded.
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

/// Logs findings. With [`FormatCheck::Enforce`], fails with the first fault.
pub(crate) fn require_sound_weights(findings: Findings, how: FormatCheck) -> Result<(), FetchError> {
    for Fault { file, offset, cause } in &findings.remarks {
        tracing::warn!(%file, offset, cause, "unusual weights");
    }
    if how == FormatCheck::Warn {
        for Fault { file, offset, cause } in &findings.faults {
            tracing::warn!(%file, offset, cause, "ignoring invalid weights: the format check only warns");
        }
        return Ok(());
    }
    let others = findings.faults.len().saturating_sub(1);
    match findings.faults.into_iter().next() {
        None => Ok(()),
        Some(first) => Err(FetchError::InvalidFormat { first, others }),
    }
}
