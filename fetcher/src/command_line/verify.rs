//! `verify`: hashes published files again.

use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use modelcache_crds::names::CURRENT;
use modelcache_crds::report::{Published, Report};

use super::args::RevisionArgs;
use super::terminal::bytes;
use super::{Run, signed};
use crate::application::formats::{FormatCheck, check_published, require_sound_weights};
use crate::format;
use crate::model::error::FetchError;
use crate::model::path::FilePath;
use crate::store;
use crate::store::StoredManifest;
use crate::store::verify::{DamageKind, Findings};

pub(super) async fn verify(
    run: &Run,
    root: &Path,
    revisions: &RevisionArgs,
    how: FormatCheck,
) -> Result<Report, FetchError> {
    let start = Instant::now();
    let (mut all, mut invalid) = (Findings::default(), None);
    let mut files = 0;
    let mut last = None;
    for manifest in selected_revisions(root, revisions)? {
        let found = crate::store::verify::verify(root, &manifest, &run.progress, run.stop.clone()).await?;
        if !run.json {
            run.print(&result_lines(&manifest, &found));
        }
        files += manifest.files.len() + manifest.links.len() + manifest.notes.len();
        // The headers of damaged files would only add faults of the same damage.
        if found.is_sound() {
            let findings = check_published(root, &manifest, &run.stop).await?;
            if !run.json {
                run.print(&invalid_lines(&manifest, &findings));
            }
            if let Err(error) = require_sound_weights(findings, how) {
                invalid.get_or_insert(error);
            }
        }
        all.damages.extend(found.damages);
        all.unreadable.extend(found.unreadable);
        last = Some(manifest);
    }
    require_sound(all, files)?;
    if let Some(error) = invalid {
        return Err(error);
    }
    let Some(manifest) = last else {
        return Err(nothing_published(root));
    };
    let total = manifest.files.iter().map(|file| file.size).sum::<u64>();
    let report = Report::Published(Published {
        files: signed(manifest.files.len()),
        bytes: signed(total),
        bytes_fetched: 0,
        bytes_reused: signed(total),
        duration_milliseconds: signed(start.elapsed().as_millis()),
        path: if revisions.is_current() {
            CURRENT.to_owned()
        } else {
            manifest.folder().display().to_string()
        },
        revision: manifest.revision,
        origins: Vec::new(),
        digest: manifest.digest,
    });
    if run.json {
        run.print_json(&report);
    }
    Ok(report)
}

/// Fails if files are damaged or unreadable. Damage comes first, since it can be repaired.
fn require_sound(found: Findings, files: usize) -> Result<(), FetchError> {
    let unreadable = found.unreadable.len();
    if let Some(first) = found.damages.first() {
        return Err(FetchError::Damaged {
            damaged: found.damages.len(),
            unreadable,
            files,
            first: first.file.clone(),
        });
    }
    match found.unreadable.into_iter().next() {
        None => Ok(()),
        Some(first) => Err(FetchError::Unreadable {
            unreadable,
            files,
            first: first.file,
            source: Box::new(first.error),
        }),
    }
}

/// The manifests of the revisions that the options select.
pub(super) fn selected_revisions(root: &Path, revisions: &RevisionArgs) -> Result<Vec<StoredManifest>, FetchError> {
    let id = revisions.revision_dir.as_deref();
    let manifests = if revisions.is_current() {
        store::current(root)?.into_iter().collect()
    } else {
        store::published(root)?
    };
    let selected: Vec<_> = manifests
        .into_iter()
        .filter(|manifest| id.is_none_or(|id| manifest.id == id))
        .collect();
    if selected.is_empty() {
        Err(nothing_published(root))
    } else {
        Ok(selected)
    }
}

fn nothing_published(root: &Path) -> FetchError {
    FetchError::NothingPublished {
        root: root.display().to_string(),
    }
}

/// A line for each fault in the weights of a revision.
fn invalid_lines(manifest: &StoredManifest, findings: &format::Findings) -> String {
    let line = |fault| format!("invalid  {}/{fault}\n", manifest.folder().display());
    findings.faults.iter().map(line).collect()
}

/// The lines for one revision: one for each damage and each unreadable file, or that it is sound.
fn result_lines(manifest: &StoredManifest, found: &Findings) -> String {
    let total = manifest.files.iter().map(|file| file.size).sum();
    let folder = manifest.folder();
    let at = |place: &FilePath, file: &FilePath| {
        let listed_as = if file == place {
            String::new()
        } else {
            format!(" ({file})")
        };
        format!("{}/{place}{listed_as}", folder.display())
    };
    let mut text = String::new();
    for damage in &found.damages {
        let cause = match &damage.kind {
            DamageKind::Missing => "missing".to_owned(),
            DamageKind::WrongSize { expected, actual } => format!("has {actual} bytes instead of {expected}"),
            DamageKind::WrongDigest { expected, actual } => format!("hashes to {actual} instead of {expected}"),
            DamageKind::WrongLink { expected } => format!("is not a link to {expected}"),
            DamageKind::WrongText { expected } => format!("does not contain {expected}"),
        };
        let _ = writeln!(text, "damaged  {}: {cause}", at(&damage.place, &damage.file));
    }
    for unreadable in &found.unreadable {
        let place = at(&unreadable.place, &unreadable.file);
        let _ = writeln!(text, "unread   {place}: {}", unreadable.error.source);
    }
    if found.is_sound() {
        let _ = writeln!(
            text,
            "sound    {}: {} files, {}",
            folder.display(),
            manifest.files.len(),
            bytes(total)
        );
    }
    text
}
