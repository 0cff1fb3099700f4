//! `fetch`: lists, fetches, proves and publishes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use modelcache_crds::names::CURRENT;
use modelcache_crds::report::{Published, Report};

use super::{Run, list, signed};
use crate::args::FetchArgs;
use crate::bar::{bytes, elapsed};
use crate::engine::{self, RangeClient, Settings};
use crate::error::FetchError;
use crate::http;
use crate::store::Store;

pub(super) async fn fetch(run: &Run, args: &FetchArgs) -> Result<Report, FetchError> {
    let start = Instant::now();
    let selected = list(run, &args.source).await?;
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
    let store = Store::open(&args.folder)?;
    let settings = Settings {
        connections: args.connections.into(),
        parallel_files: args.parallel_files.into(),
        stall_timeout: Duration::from_secs(args.stall_timeout.into()),
        max_bytes_per_second: args.max_bytes_per_second,
        ..Settings::default()
    };
    let outcome = engine::fetch(
        &selected.files,
        &selected.revision,
        Arc::clone(&selected.source),
        RangeClient::new(http::range_client()?),
        &store,
        &settings,
        &run.progress,
        run.stop.clone(),
    )
    .await?;
    let published = store.publish(&selected.revision, &selected.files, &selected.origin)?;
    let took = start.elapsed();
    tracing::info!(path = published.as_str(), elapsed = ?took, "published");
    let report = Report::Published(Published {
        digest: selected.digest,
        files: signed(selected.files.len()),
        bytes: signed(selected.bytes),
        bytes_fetched: signed(outcome.bytes_fetched),
        bytes_reused: signed(outcome.bytes_reused),
        duration_milliseconds: signed(took.as_millis()),
        path: CURRENT.to_owned(),
        revision: selected.revision,
    });
    if run.json {
        run.print_json(&report);
    } else {
        run.print(&format!(
            "{} files, {} (fetched {}, reused {}) in {}\n{}\n",
            selected.files.len(),
            bytes(selected.bytes),
            bytes(outcome.bytes_fetched),
            bytes(outcome.bytes_reused),
            elapsed(took),
            args.folder.join(CURRENT).display(),
        ));
    }
    Ok(report)
}
