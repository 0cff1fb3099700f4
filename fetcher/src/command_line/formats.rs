//! What is made of findings about weights: they are told, and what is wrong stands in the way of publication unless
//! somebody asked otherwise.

use std::collections::HashSet;
use std::path::Path;

use super::Run;
use super::args::FormatCheck;
use crate::disk::blocking::blocking;
use crate::format;
use crate::format::{Contents, Findings, Held};
use crate::model::error::FetchError;
use crate::model::path::FilePath;
use crate::model::pattern::{LeftOut, Selection};
use crate::store::{Store, StoredFile, StoredManifest};

/// Refuses a listing that lacks a shard, before anything is fetched.
pub(super) fn require_whole_sets(selection: &Selection, how: FormatCheck) -> Result<(), FetchError> {
    let left_out: Vec<_> = selection.left_out.iter().map(|out| &out.file.path).collect();
    judge(format::require_whole_sets(&selection.selected, &left_out), how)
}

/// Refuses weights that were fetched and proven, and are no weights.
pub(super) async fn check_fetched(
    run: &Run,
    how: FormatCheck,
    store: &Store,
    manifest: &StoredManifest,
    left_out: &[LeftOut],
) -> Result<(), FetchError> {
    let left_out = left_out.iter().map(|out| out.file.path.clone()).collect();
    let findings = check(run, &store.proven(&manifest.id), manifest, Some(left_out)).await?;
    judge(findings, how)
}

/// The same for a revision that is published. What was left out of it is not known any more.
pub(super) async fn check_published(
    run: &Run,
    how: FormatCheck,
    root: &Path,
    manifest: &StoredManifest,
) -> Result<(), FetchError> {
    let findings = check(run, &root.join(manifest.folder()), manifest, None).await?;
    if !run.json {
        let lines = findings.faults.iter();
        let lines: Vec<_> = lines
            .map(|fault| format!("invalid  {}/{fault}\n", manifest.folder().display()))
            .collect();
        run.print(&lines.concat());
    }
    judge(findings, how)
}

async fn check(
    run: &Run,
    folder: &Path,
    manifest: &StoredManifest,
    left_out: Option<HashSet<FilePath>>,
) -> Result<Findings, FetchError> {
    let (folder, files, stop) = (folder.to_owned(), manifest.files.clone(), run.stop.clone());
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

fn judge(findings: Findings, how: FormatCheck) -> Result<(), FetchError> {
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
