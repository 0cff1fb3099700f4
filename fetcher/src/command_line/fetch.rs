//! `fetch`: lists, fetches, verifies and publishes a model.

use std::time::Instant;

use modelcache_crds::names::CURRENT;
use modelcache_crds::report::{Published, Report};

use super::args::FetchArgs;
use super::terminal::{bytes, elapsed};
use super::{Run, signed};
use crate::application::formats::check_fetched;
use crate::application::layout::layout;
use crate::application::mirrors::{Origins, origins};
use crate::application::selection::list;
use crate::archive::Archives;
use crate::http::client::range_client;
use crate::model::error::FetchError;
use crate::model::remote_file::RemoteFile;
use crate::observe::progress::OriginSnapshot;
use crate::store::Store;
use crate::transfer::{FetchRequest, RangeClient, fetch_arranged};

pub(super) async fn fetch(run: &Run, args: &FetchArgs) -> Result<Report, FetchError> {
    let start = Instant::now();
    let layout = layout(&args.source.source, args.layout, args.reference.as_deref())?;
    let request = args.source.request();
    let selected = list(&request, &run.progress, &run.stop).await?;
    if let Some(expected) = args
        .expect_digest
        .as_ref()
        .filter(|expected| **expected != selected.digest)
    {
        return Err(FetchError::SourceChanged {
            revision: selected.revision,
            expected: expected.clone(),
            actual: selected.digest,
        });
    }
    run.progress.set_total(selected.files.len() as u64, selected.bytes);
    let Origins { usable, skipped } = origins(&args.transfer.origins.mirror, &request, &selected, &run.stop).await?;
    let store = Store::open(&args.folder)?.with_layout(layout);
    let is_archive = |file: &RemoteFile| selected.source.is_archive(file);
    let archives = Archives::survey(&store, &selected.revision, &selected.files, is_archive, &run.stop).await?;
    let reused = archives.reused_bytes();
    let transfer = FetchRequest {
        files: &archives.to_fetch(),
        revision: &selected.revision,
        origins: usable,
        client: RangeClient::new(range_client(&request.access.trust()?)?),
        store: &store,
        settings: &args.transfer.settings(),
        progress: &run.progress,
        stop: run.stop.clone(),
    };
    let outcome = fetch_arranged(transfer, archives.arrangement(), archives.extra_staging()).await?;
    let contents = archives.unpack(&run.stop).await?;
    let manifest = store.manifest(&selected.revision, &selected.files, &contents, &selected.origin);
    check_fetched(request.format_check, &store, &manifest, &selected.left_out, &run.stop).await?;
    store.record_source(
        &manifest.id,
        &request.address.kind().record(&request.access, &selected.revision),
    )?;
    let published = store.publish_manifest(&manifest)?;
    let duration = start.elapsed();
    tracing::info!(path = published.as_str(), elapsed = ?duration, "published");
    let report = Report::Published(Published {
        digest: selected.digest,
        files: signed(contents.files.len()),
        bytes: signed(contents.bytes()),
        bytes_fetched: signed(outcome.bytes_fetched),
        bytes_reused: signed(outcome.bytes_reused + reused),
        duration_milliseconds: signed(duration.as_millis()),
        path: CURRENT.to_owned(),
        revision: selected.revision,
        origins: outcome
            .origins
            .iter()
            .map(OriginSnapshot::to_report)
            .chain(skipped)
            .collect(),
    });
    if run.json {
        for origin in several(&outcome.origins) {
            tracing::info!(
                origin = origin.name,
                bytes = origin.bytes,
                dropped = origin.dropped(),
                "origin statistics"
            );
        }
        run.print_json(&report);
    } else {
        run.print(&format!(
            "{} files, {} (fetched {}, reused {}) in {}\n{}{}\n",
            contents.files.len(),
            bytes(contents.bytes()),
            bytes(outcome.bytes_fetched),
            bytes(outcome.bytes_reused + reused),
            elapsed(duration),
            several(&outcome.origins).iter().map(origin_line).collect::<String>(),
            args.folder.join(CURRENT).display(),
        ));
    }
    Ok(report)
}

/// The origins if there are several; a single one is not worth a line.
fn several(origins: &[OriginSnapshot]) -> &[OriginSnapshot] {
    if origins.len() < 2 { &[] } else { origins }
}

/// A line with the bytes from an origin and why it was dropped.
fn origin_line(origin: &OriginSnapshot) -> String {
    let dropped = origin.dropped().map(|reason| format!(", which was dropped: {reason}"));
    format!(
        "{} from {}{}\n",
        bytes(origin.bytes),
        origin.name,
        dropped.unwrap_or_default()
    )
}

#[cfg(test)]
mod tests {
    use modelcache_crds::report::OriginFault;

    use super::*;
    use crate::observe::progress::OriginState;

    #[test]
    fn several_origins_have_a_line_each() {
        let origin = |name: &str, bytes, state, last_error: Option<&str>| OriginSnapshot {
            name: name.to_owned(),
            bytes,
            failures: 0,
            state,
            last_error: last_error.map(str::to_owned),
        };
        let hub = origin("hub", 3 << 30, OriginState::Active, Some("a timeout"));
        assert_eq!(several(std::slice::from_ref(&hub)), []);
        let dropped = OriginState::Dropped(OriginFault::SentWrongBytes);
        let origins = [hub, origin("mirror", 1 << 20, dropped, Some("sent wrong bytes"))];
        assert_eq!(
            several(&origins).iter().map(origin_line).collect::<Vec<_>>(),
            [
                "3.00 GiB from hub\n",
                "1.00 MiB from mirror, which was dropped: sent wrong bytes\n"
            ]
        );
    }
}
