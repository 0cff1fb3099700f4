//! `verify`: hashes again what is published.

use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use modelcache_crds::names::CURRENT;
use modelcache_crds::report::{Published, Report};

use super::args::RevisionArgs;
use super::terminal::bytes;
use super::{Run, signed};
use crate::application::formats::{FormatCheck, check_published, judge};
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
    for manifest in chosen(root, revisions)? {
        let found = crate::store::verify::verify(root, &manifest, &run.progress, run.stop.clone()).await?;
        if !run.json {
            run.print(&told(&manifest, &found));
        }
        files += manifest.files.len() + manifest.links.len() + manifest.notes.len();
        // What is damaged is no model anyway, and its headers say nothing new.
        if found.is_sound() {
            let findings = check_published(root, &manifest, &run.stop).await?;
            if !run.json {
                run.print(&invalid_lines(&manifest, &findings));
            }
            if let Err(error) = judge(findings, how) {
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
        return Err(nothing(root));
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

/// Ends a run that found something. Damage can be mended, so it is told before what could not be read.
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

/// The manifests of the revisions that are meant.
pub(super) fn chosen(root: &Path, revisions: &RevisionArgs) -> Result<Vec<StoredManifest>, FetchError> {
    let id = revisions.revision_dir.as_deref();
    let manifests = if revisions.is_current() {
        store::current(root)?.into_iter().collect()
    } else {
        store::published(root)?
    };
    let chosen: Vec<_> = manifests
        .into_iter()
        .filter(|manifest| id.is_none_or(|id| manifest.id == id))
        .collect();
    if chosen.is_empty() {
        Err(nothing(root))
    } else {
        Ok(chosen)
    }
}

fn nothing(root: &Path) -> FetchError {
    FetchError::NothingPublished {
        root: root.display().to_string(),
    }
}

/// A line for each fault of a revision's weights.
fn invalid_lines(manifest: &StoredManifest, findings: &format::Findings) -> String {
    let line = |fault| format!("invalid  {}/{fault}\n", manifest.folder().display());
    findings.faults.iter().map(line).collect()
}

/// What was found in one revision, a line for each damage and for each file that cannot be read.
fn told(manifest: &StoredManifest, found: &Findings) -> String {
    let total = manifest.files.iter().map(|file| file.size).sum();
    let folder = manifest.folder();
    let at = |place: &FilePath, file: &FilePath| {
        let known_as = if file == place {
            String::new()
        } else {
            format!(" ({file})")
        };
        format!("{}/{place}{known_as}", folder.display())
    };
    let mut text = String::new();
    for damage in &found.damages {
        let what = match &damage.kind {
            DamageKind::Missing => "missing".to_owned(),
            DamageKind::WrongSize { expected, actual } => format!("has {actual} bytes, should have {expected}"),
            DamageKind::WrongDigest { expected, actual } => format!("hashes to {actual}, should to {expected}"),
            DamageKind::WrongLink { expected } => format!("is no link to {expected}"),
            DamageKind::WrongText { expected } => format!("does not hold {expected}"),
        };
        let _ = writeln!(text, "damaged  {}: {what}", at(&damage.place, &damage.file));
    }
    for one in &found.unreadable {
        let _ = writeln!(text, "unread   {}: {}", at(&one.place, &one.file), one.error.source);
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
