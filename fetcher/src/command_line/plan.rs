//! `plan`: lists what a fetch would fetch, what is on disk, and how long the rest takes.

mod table;

use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Duration;

use modelcache_crds::report::{OriginReport, Planned, Report};
use serde::Serialize;

use super::args::PlanArgs;
use super::terminal::Display;
use super::{Run, signed};
use crate::application::estimate;
use crate::application::mirrors::{Origins, origins};
use crate::application::probe::{ProbeResult, probe};
use crate::application::selection::{Selected, SourceRequest, list};
use crate::archive;
use crate::disk::free_space::free;
use crate::model::error::{FetchError, StorageError};
use crate::model::pattern::Reason;
use crate::model::remote_file::RemoteFile;
use crate::store::{Present, present};
use crate::transfer::{FIRST_CONNECTIONS, Settings};

pub(super) async fn plan(run: &Run, args: &PlanArgs) -> Result<Report, FetchError> {
    let request = args.source.request();
    let selected = list(&request, &run.progress, &run.stop).await?;
    require_access(run, &selected).await?;
    let disk = args.dir.as_deref().map(|dir| on_disk(dir, &selected)).transpose()?;
    let is_watched = io::stdout().is_terminal() && !run.json && !matches!(run.display, Display::Quiet);
    let speed = if args.should_probe(is_watched) {
        Some(probe_origins(run, args, &request, &selected).await?)
    } else {
        None
    };
    let plan = Plan { selected, disk, speed };
    if run.json {
        run.print_json(&FullList::new(&plan));
    } else {
        run.print(&table::table(&plan));
    }
    let selected = plan.selected;
    Ok(Report::Planned(Planned {
        unpacking_bytes: unpacking_bytes(&selected),
        digest: selected.digest,
        files: signed(selected.files.len()),
        bytes: signed(selected.bytes),
        revision: selected.revision,
    }))
}

/// Bytes that unpacking takes on the volume; `None` if the model has no archives.
fn unpacking_bytes(selected: &Selected) -> Option<i64> {
    let archives = selected.files.iter().filter(|file| selected.source.is_archive(file));
    let bytes = archive::unpacking_bytes(archives);
    (bytes > 0).then(|| signed(bytes))
}

/// The result of `plan`.
struct Plan {
    selected: Selected,
    disk: Option<OnDisk>,
    speed: Option<Speed>,
}

/// The part of a model that a folder holds.
struct OnDisk {
    dir: String,
    present: Present,
    free: u64,
}

/// The result of a probe.
struct Speed {
    probed: Vec<ProbeResult>,
    skipped: Vec<OriginReport>,
}

impl Plan {
    fn bytes_to_fetch(&self) -> u64 {
        self.disk
            .as_ref()
            .map_or(self.selected.bytes, |disk| disk.present.missing)
    }

    /// Estimated time of the fetch; `None` without a probe or if no origin sent data.
    fn duration(&self) -> Option<Duration> {
        let probed = &self.speed.as_ref()?.probed;
        let speeds = probed.iter().filter_map(|origin| origin.sample.bytes_per_second());
        estimate::duration(self.bytes_to_fetch(), speeds)
    }
}

fn on_disk(dir: &Path, selected: &Selected) -> Result<OnDisk, StorageError> {
    // If the folder does not exist, its volume is that of the closest folder above it.
    let existing = dir.ancestors().find(|folder| folder.exists());
    let existing = existing.filter(|folder| !folder.as_os_str().is_empty());
    let existing = existing.unwrap_or(Path::new("."));
    Ok(OnDisk {
        dir: dir.display().to_string(),
        present: present(
            dir,
            &selected.revision,
            &selected.files,
            Settings::default().block_bytes,
        )?,
        free: free(existing).map_err(StorageError::at("read the free space of", existing))?,
    })
}

async fn probe_origins(
    run: &Run,
    args: &PlanArgs,
    request: &SourceRequest,
    selected: &Selected,
) -> Result<Speed, FetchError> {
    let Origins { usable, skipped } = origins(&args.origins.mirror, request, selected, &run.stop).await?;
    let trust = request.access.trust()?;
    tokio::select! {
        probed = probe(usable, usize::from(args.origins.connections).min(FIRST_CONNECTIONS), &trust) => Ok(Speed { probed: probed?, skipped }),
        () = run.stop.cancelled() => Err(FetchError::Interrupted),
    }
}

/// Fails if the largest file must not be read, so that no volume is created for a gated model.
///
/// Hubs list the files of a gated model to everyone, and may serve its small files to everyone too.
async fn require_access(run: &Run, selected: &Selected) -> Result<(), FetchError> {
    let Some(largest) = selected.files.iter().max_by_key(|file| file.size) else {
        return Ok(());
    };
    tokio::select! {
        located = selected.source.locate(&selected.revision, largest) => match located {
            Ok(_) => Ok(()),
            Err(source) => Err(FetchError::Source { file: Some(largest.path.clone()), offset: None, source }),
        },
        () = run.stop.cancelled() => Err(FetchError::Interrupted),
    }
}

/// A plan as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FullList<'a> {
    revision: &'a str,
    digest: &'a str,
    bytes: u64,
    files: Vec<ListedFile<'a>>,
    left_out: Vec<ListedFile<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    disk: Option<ListedDisk<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    origins: Vec<ListedOrigin<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    estimated_seconds: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedDisk<'a> {
    dir: &'a str,
    bytes_present: u64,
    bytes_to_fetch: u64,
    room_needed: u64,
    room_free: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedOrigin<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes_per_second: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_byte_milliseconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

impl<'a> ListedOrigin<'a> {
    fn probed(probed: &'a ProbeResult) -> Self {
        let first_byte = u64::try_from(probed.sample.first_byte.as_millis()).unwrap_or(u64::MAX);
        Self {
            name: &probed.name,
            bytes_per_second: probed.sample.bytes_per_second(),
            first_byte_milliseconds: (probed.sample.bytes > 0).then_some(first_byte),
            error: probed.error.as_deref(),
        }
    }

    fn skipped(origin: &'a OriginReport) -> Self {
        Self {
            name: &origin.name,
            bytes_per_second: None,
            first_byte_milliseconds: None,
            error: origin.last_error.as_deref(),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListedFile<'a> {
    path: &'a str,
    size: u64,
    digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl<'a> FullList<'a> {
    fn new(plan: &'a Plan) -> Self {
        let selected = &plan.selected;
        let listed = |file: &'a RemoteFile, reason| ListedFile {
            path: file.path.as_str(),
            size: file.size,
            digest: file.digest.to_string(),
            reason,
        };
        Self {
            revision: &selected.revision,
            digest: &selected.digest,
            bytes: selected.bytes,
            files: selected.files.iter().map(|file| listed(file, None)).collect(),
            left_out: selected
                .left_out
                .iter()
                .map(|skipped| listed(&skipped.file, Some(describe(&skipped.reason))))
                .collect(),
            disk: plan.disk.as_ref().map(|disk| ListedDisk {
                dir: &disk.dir,
                bytes_present: disk.present.bytes,
                bytes_to_fetch: disk.present.missing,
                room_needed: disk.present.room,
                room_free: disk.free,
            }),
            origins: plan.speed.iter().flat_map(origins_of).collect(),
            estimated_seconds: plan.duration().map(|time| time.as_secs()),
        }
    }
}

fn origins_of(speed: &Speed) -> impl Iterator<Item = ListedOrigin<'_>> {
    let probed = speed.probed.iter().map(ListedOrigin::probed);
    probed.chain(speed.skipped.iter().map(ListedOrigin::skipped))
}

/// Why a file is skipped.
fn describe(reason: &Reason) -> String {
    match reason {
        Reason::NotIncluded => "no include pattern matches".to_owned(),
        Reason::Excluded(pattern) => format!("excluded by {pattern}"),
        Reason::Default(why) => format!("skipped by default: {why}"),
    }
}
