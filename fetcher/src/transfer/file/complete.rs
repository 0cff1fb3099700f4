//! Offers the missing blocks of a file on the schedule, and hashes and syncs what connections write.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::active::{ActiveFile, Offer, Written};
use super::partial::Partial;
use super::workers::Workers;
use crate::model::error::FetchError;
use crate::transfer::origins::locations::Locations;
use crate::transfer::reuse::content::Content;
use crate::transfer::schedule::{FileNumber, OriginNumber};

/// How often a worker checks whether the fetch has ended.
const END_POLL: Duration = Duration::from_millis(100);

/// How often a worker checks whether a sync has ended.
const SYNC_POLL: Duration = Duration::from_millis(2);

/// Fetches the missing blocks of a content from origins, and hashes all of it. If none of them offers it any more, returns
/// the failure of the last one.
pub(crate) fn complete(
    workers: &Workers,
    content: &Content,
    partial: &mut Partial,
    origins: Vec<OriginNumber>,
) -> Result<(), FetchError> {
    if partial.is_hashed() {
        return Ok(());
    }
    let remote = &content.remote;
    let offers: BTreeMap<_, _> = origins
        .iter()
        .filter_map(|origin| {
            let remote = workers.origins.offer(*origin, remote)?.clone();
            let locations = Locations::default();
            Some((*origin, Offer { remote, locations }))
        })
        .collect();
    if offers.is_empty() {
        return Err(workers.origins.no_origin_left().for_file(&remote.path));
    }
    let file_progress = workers
        .progress
        .begin(remote.path.as_str(), remote.size, partial.written_bytes());
    let (written, arriving) = channel();
    let offering: Vec<_> = offers.keys().copied().collect();
    let active = ActiveFile {
        remote: content.remote.clone(),
        disk: partial.disk(),
        label: partial.label().to_owned(),
        block_bytes: workers.settings.block_bytes,
        offers,
        written,
        progress: file_progress.file(),
    };
    let number = workers.schedule.add(
        Arc::new(active),
        offering,
        partial.blocks(),
        partial.written(),
        partial.hashed(),
        !workers.store.abilities().writes_anywhere(),
    );
    for origin in origins.into_iter().filter(|origin| workers.origins.is_dropped(*origin)) {
        // Dropped before the file was on the schedule.
        workers
            .schedule
            .withdraw(number, origin, workers.origins.no_origin_left());
    }
    let completed = hash_and_sync(workers, content, number, partial, &arriving);
    workers.schedule.remove(number);
    completed
}

/// Hashes and syncs what connections write, until every byte is hashed. If the fetch ends earlier, makes all written blocks
/// durable first.
fn hash_and_sync(
    workers: &Workers,
    content: &Content,
    number: FileNumber,
    partial: &mut Partial,
    arriving: &Receiver<Written>,
) -> Result<(), FetchError> {
    loop {
        // Files share the limit, so that a kill loses no more of many files than of one. A sync starts when half of the share
        // is used, because the other half arrives during the sync.
        let unsynced_bytes = workers.unsynced_bytes() / 2 / workers.schedule.arriving_files().max(1);
        let is_drained = workers.stop.is_drained();
        let is_orphaned = !partial.can_hash() && workers.schedule.is_orphaned(number);
        wait(workers, partial, arriving, unsynced_bytes);
        while let Ok(written) = arriving.try_recv() {
            partial.received(written);
        }
        if is_drained {
            partial.sync()?;
            partial.finish()?;
            return Err(FetchError::Interrupted);
        }
        if is_orphaned
            && !partial.can_hash()
            && let Some(failure) = workers.schedule.take_failure(number)
        {
            partial.sync()?;
            partial.finish()?;
            return Err(failure.for_file(&content.remote.path));
        }
        let started = Instant::now();
        if let Some(bytes) = partial.hash_next()? {
            let took = started.elapsed();
            workers.progress.verified(bytes);
            workers.schedule.hashed(number, partial.hashed(), took);
        }
        if partial.is_hashed() {
            return Ok(());
        }
        if is_sync_due(workers, partial, unsynced_bytes) {
            partial.sync()?;
        }
    }
}

/// Waits for the next written block, unless there is something else to do.
fn wait(workers: &Workers, partial: &mut Partial, arriving: &Receiver<Written>, unsynced_bytes: u64) {
    if partial.can_hash() || workers.stop.is_drained() {
        return;
    }
    let due = partial
        .sync_due_in(unsynced_bytes, workers.settings.sync_interval)
        .unwrap_or(END_POLL);
    // A sync that is due during another one starts when that ends.
    let due = if partial.can_sync() { due } else { due.max(SYNC_POLL) };
    match arriving.recv_timeout(due.min(END_POLL)) {
        Ok(written) => partial.received(written),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
    }
}

fn is_sync_due(workers: &Workers, partial: &Partial, unsynced_bytes: u64) -> bool {
    partial.can_sync()
        && partial
            .sync_due_in(unsynced_bytes, workers.settings.sync_interval)
            .is_some_and(|due| due.is_zero())
}
