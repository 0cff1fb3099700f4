//! `repair`: hashes published files and fetches damaged blocks again.
//!
//! It fetches what the stored manifest lists. Sound files stay, and no source is contacted before something is missing.

use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use modelcache_crds::names::CURRENT;
use modelcache_crds::report::{FailureClass, Published, Report};

use super::args::RepairArgs;
use super::terminal::bytes;
use super::verify::selected_revisions;
use super::{Run, signed};
use crate::application::mirrors::open_mirror;
use crate::application::recorded::address;
use crate::http::client::range_client;
use crate::model::error::{FetchError, SourceError};
use crate::model::remote_file::RemoteFile;
use crate::observe::progress::OriginSnapshot;
use crate::source::kind::Opened;
use crate::source::{ByContent, Listing, Location, Source, SourceAddress};
use crate::store::{Layout, Store, StoredFile, StoredManifest, recorded_source};
use crate::transfer::{self, FetchRequest, Origin, Outcome, RangeClient};

pub(super) async fn repair(run: &Run, args: &RepairArgs) -> Result<Report, FetchError> {
    let start = Instant::now();
    let mut last = None;
    let (mut fetched, mut reused, mut origins) = (0, 0, Vec::new());
    let manifests = selected_revisions(&args.folder, &args.revisions)?;
    let store = Store::open(&args.folder)?;
    for manifest in manifests {
        let outcome = repair_revision(run, args, &store, &manifest).await?;
        if !run.json {
            run.print(&result_line(&manifest, &outcome));
        }
        fetched += outcome.bytes_fetched;
        reused += outcome.bytes_reused;
        origins = outcome.origins;
        last = Some(manifest);
    }
    let Some(manifest) = last else {
        return Err(FetchError::NothingPublished {
            root: args.folder.display().to_string(),
        });
    };
    let report = Report::Published(Published {
        files: signed(manifest.files.len()),
        bytes: signed(manifest.files.iter().map(|file| file.size).sum::<u64>()),
        bytes_fetched: signed(fetched),
        bytes_reused: signed(reused),
        duration_milliseconds: signed(start.elapsed().as_millis()),
        path: if args.revisions.is_current() {
            CURRENT.to_owned()
        } else {
            manifest.folder().display().to_string()
        },
        revision: manifest.revision,
        digest: manifest.digest,
        origins: origins.iter().map(OriginSnapshot::to_report).collect(),
    });
    if run.json {
        run.print_json(&report);
    }
    Ok(report)
}

/// Fetches the damaged blocks of one revision and publishes it again.
async fn repair_revision(
    run: &Run,
    args: &RepairArgs,
    store: &Store,
    manifest: &StoredManifest,
) -> Result<Outcome, FetchError> {
    let files: Vec<RemoteFile> = manifest.files.iter().map(StoredFile::remote).collect();
    let store = store.clone().with_layout(Layout::Kept(Box::new(manifest.clone())));
    let outcome = transfer::fetch(FetchRequest {
        files: &files,
        revision: &manifest.revision,
        origins: origins(run, args, manifest, &files)?,
        client: RangeClient::new(range_client(&args.access.access().trust()?)?),
        store: &store,
        settings: &args.transfer.settings(),
        progress: &run.progress,
        stop: run.stop.clone(),
    })
    .await?;
    store.restore(manifest)?;
    Ok(outcome)
}

/// The origins of damaged blocks: the given or recorded source first, then the mirrors.
///
/// Each is listed only when the first file is needed from it.
fn origins(
    run: &Run,
    args: &RepairArgs,
    manifest: &StoredManifest,
    files: &[RemoteFile],
) -> Result<Vec<Origin>, FetchError> {
    if !manifest.archives.is_empty() {
        return Ok(vec![no_origin(manifest, files, UNPACKED)]);
    }
    let access = args.access.access();
    let recorded = recorded_source(&args.folder, &manifest.id)?;
    let source: Option<(SourceAddress, Opened)> = match (&args.source, &recorded) {
        (Some(source), _) => Some((source.clone(), source.kind().open(&access, &run.progress)?)),
        (None, Some(record)) => {
            let address = address(record)?;
            let opened = address.kind().reopen(record, &access, &run.progress)?;
            Some((address, opened))
        }
        (None, None) => None,
    };
    let origin = |name: String, opened: Opened| Origin {
        source: Arc::new(ByContent::new(opened.source, name.clone())),
        name,
        revision: manifest.revision.clone(),
        files: files.to_vec(),
    };
    let mut mirrors = Vec::new();
    for mirror in &args.transfer.origins.mirror {
        let named = source.as_ref().map(|(address, _)| address);
        match open_mirror(&access, named, mirror, &manifest.revision) {
            Ok(opened) => mirrors.push(origin(mirror.to_string(), opened)),
            Err(error) => {
                tracing::warn!(%mirror, %error, "skipping mirror: it cannot be opened");
            }
        }
    }
    let mut origins: Vec<Origin> = source
        .map(|(_, opened)| origin(opened.origin.clone(), opened))
        .into_iter()
        .collect();
    origins.extend(mirrors);
    if origins.is_empty() {
        origins.push(no_origin(manifest, files, NOT_RECORDED));
    }
    Ok(origins)
}

/// Error for a damaged file of a revision without a recorded source.
const NOT_RECORDED: &str =
    "it is damaged, and the source of this revision is not recorded; name a source with --source";

/// Error for a damaged file that was unpacked: its source serves only the whole archive.
const UNPACKED: &str =
    "it is damaged, and was unpacked from an archive that can only be fetched whole; fetch the model again";

/// An origin that fails every request. A folder without damage never uses it.
fn no_origin(manifest: &StoredManifest, files: &[RemoteFile], error: &'static str) -> Origin {
    Origin {
        name: "no source".to_owned(),
        source: Arc::new(NoSource(error)),
        revision: manifest.revision.clone(),
        files: files.to_vec(),
    }
}

/// A source that fails with an error.
struct NoSource(&'static str);

#[async_trait]
impl Source for NoSource {
    async fn list(&self) -> Result<Listing, SourceError> {
        Err(SourceError::new(FailureClass::Usage, self.0))
    }

    async fn locate(&self, _revision: &str, _file: &RemoteFile) -> Result<Location, SourceError> {
        Err(SourceError::new(FailureClass::Usage, self.0))
    }
}

/// The line for one revision.
fn result_line(manifest: &StoredManifest, outcome: &Outcome) -> String {
    let folder = manifest.folder();
    if outcome.bytes_fetched == 0 {
        let total = manifest.files.iter().map(|file| file.size).sum();
        return format!(
            "sound    {}: {} files, {}\n",
            folder.display(),
            manifest.files.len(),
            bytes(total)
        );
    }
    format!(
        "repaired {}: fetched {}, kept {}\n",
        folder.display(),
        bytes(outcome.bytes_fetched),
        bytes(outcome.bytes_reused)
    )
}
