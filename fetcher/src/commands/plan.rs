//! `plan`: what a fetch would fetch.

use std::fmt::Write;

use modelcache_crds::report::{Planned, Report};
use serde::Serialize;

use super::{Run, Selected, list, signed};
use crate::archive;
use crate::args::SourceArgs;
use crate::bar::bytes;
use crate::error::FetchError;
use crate::pattern::Reason;
use crate::source::RemoteFile;

pub(super) async fn plan(run: &Run, args: &SourceArgs) -> Result<Report, FetchError> {
    let selected = list(run, args).await?;
    may_read(run, &selected).await?;
    if run.json {
        run.print_json(&FullList::new(&selected));
    } else {
        run.print(&table(&selected));
    }
    Ok(Report::Planned(Planned {
        unpacking_bytes: unpacking_bytes(&selected),
        digest: selected.digest,
        files: signed(selected.files.len()),
        bytes: signed(selected.bytes),
        revision: selected.revision,
    }))
}

/// Bytes that unpacking takes on the volume, where something is packed.
fn unpacking_bytes(selected: &Selected) -> Option<i64> {
    let archives = selected.files.iter().filter(|file| selected.source.is_archive(file));
    let bytes = archive::unpacking_bytes(archives);
    (bytes > 0).then(|| signed(bytes))
}

/// Finds out now what would otherwise end the fetch, when a volume has been made for it already: hubs list the
/// files of a gated model to everyone. The largest file stands for all, since small ones may be open.
async fn may_read(run: &Run, selected: &Selected) -> Result<(), FetchError> {
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

/// Everything that is known of a plan, for programs.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct FullList<'a> {
    revision: &'a str,
    digest: &'a str,
    bytes: u64,
    files: Vec<ListedFile<'a>>,
    left_out: Vec<ListedFile<'a>>,
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
    fn new(selected: &'a Selected) -> Self {
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
                .map(|out| listed(&out.file, Some(told(&out.reason))))
                .collect(),
        }
    }
}

fn told(reason: &Reason) -> String {
    match reason {
        Reason::NotIncluded => "no include pattern matches".to_owned(),
        Reason::Excluded(pattern) => format!("excluded by {pattern}"),
        Reason::Default(why) => format!("left out by default: {why}"),
    }
}

/// The same for people: sizes lined up, digests cut to what identifies.
fn table(selected: &Selected) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(text, "source    {}", selected.origin);
    let _ = writeln!(text, "revision  {}", selected.revision);
    let _ = writeln!(text, "digest    {}\n", selected.digest);
    let _ = writeln!(text, "{:>9}  {:<21}  FILE", "SIZE", "DIGEST");
    for file in &selected.files {
        let digest: String = file.digest.to_string().chars().take(21).collect();
        let _ = writeln!(text, "{:>9}  {digest:<21}  {}", bytes(file.size), file.path);
    }
    for out in &selected.left_out {
        let _ = writeln!(
            text,
            "{:>9}  {:<21}  {} ({})",
            "-",
            "",
            out.file.path,
            told(&out.reason)
        );
    }
    let _ = write!(text, "\n{} files, {}", selected.files.len(), bytes(selected.bytes));
    if !selected.left_out.is_empty() {
        let left_out = selected.left_out.iter().map(|out| out.file.size).sum();
        let _ = write!(text, "; {} left out, {}", selected.left_out.len(), bytes(left_out));
    }
    text.push('\n');
    text
}
