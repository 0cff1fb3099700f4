//! Takes one file after another through its life, from what is on disk to staged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use super::active::{ActiveFile, Offer, Written};
use super::attribution;
use super::partial::Partial;
use super::repair;
use crate::model::error::FetchError;
use crate::transfer::origins::locations::Locations;
use crate::transfer::reuse::Found;
use crate::transfer::reuse::content::Content;
use crate::transfer::schedule::queue::Takes;
use crate::transfer::schedule::{FileNumber, OriginNumber};
use crate::transfer::{Run, lock};

/// How soon a lane notices that everything ends.
const GLANCE: Duration = Duration::from_millis(100);

/// How soon a lane notices that a sync has ended.
const NUDGE: Duration = Duration::from_millis(2);

/// Works until no file is left for it, or everything ends.
pub(crate) fn run(run: &Run, takes: Takes) {
    loop {
        let (next, is_last) = {
            let mut waiting = lock(&run.waiting);
            let next = waiting.next(takes);
            (next, waiting.has_no_large())
        };
        if is_last {
            run.board.set_last();
        }
        let Some(content) = next else {
            return;
        };
        if run.halt.is_cancelled() {
            return;
        }
        if let Err(error) = obtain(run, &content) {
            run.fail(error.of(&content.remote.path));
            return;
        }
    }
}

/// Has every file of a content staged or in place.
fn obtain(run: &Run, content: &Content) -> Result<(), FetchError> {
    match run.reuse.find(&run.store, content, &run.progress, &run.halt)? {
        Found::Staged => {
            run.any_staged.store(true, Ordering::Release);
            run.progress.reused(content.remote.size);
        }
        Found::InPlace => {
            lock(&run.in_place).push(content.clone());
            run.progress.reused(content.remote.size);
        }
        Found::Nowhere => {
            let first = run.store.staged(&run.arrangement.id, &content.place);
            let fetched = fetch(run, content)?;
            repair::keep_checksums(run, &fetched);
            fetched.stage(&first)?;
            run.reuse.stage(&run.store, content, &first)?;
            run.any_staged.store(true, Ordering::Release);
        }
    }
    run.progress.reused(content.duplicate_bytes());
    run.progress.verified(content.duplicate_bytes());
    for _ in 0..content.files {
        run.progress.file_done();
    }
    Ok(())
}

/// Fetches a content until its bytes hash to its digest.
fn fetch(run: &Run, content: &Content) -> Result<Partial, FetchError> {
    let remote = &content.remote;
    let mut refetches = 0;
    loop {
        let mut partial = Partial::open(&run.store, remote, run.settings.block_bytes, &run.buffers, &run.halt)?;
        // Once: should what is taken over not be right after all, everything is fetched.
        if refetches == 0 {
            repair::salvage(run, content, &mut partial)?;
        }
        run.progress.reused(partial.written_bytes());
        run.progress.verified(partial.hashed_bytes());
        complete(run, content, &mut partial, run.origins.offering(content))?;
        let actual = partial.digest();
        if actual == remote.digest || attribution::replace(run, content, &mut partial)? {
            return Ok(partial);
        }
        run.progress.discarded(partial.written_bytes());
        run.progress.unverified(partial.hashed_bytes());
        partial.discard(&run.store)?;
        if refetches == run.settings.refetches || remote.size == 0 {
            return Err(FetchError::DigestMismatch {
                file: remote.path.clone(),
                expected: remote.digest.to_string(),
                actual: actual.to_string(),
            });
        }
        refetches += 1;
        tracing::warn!(file = %remote.path, %actual, expected = %remote.digest, "the bytes hash to something else; the file is fetched again");
    }
}

/// Has what is missing of a content fetched from some origins, and all of it hashed. Fails with the failure after which
/// none of them offers it any more.
pub(crate) fn complete(
    run: &Run,
    content: &Content,
    partial: &mut Partial,
    origins: Vec<OriginNumber>,
) -> Result<(), FetchError> {
    if partial.is_hashed() {
        return Ok(());
    }
    let offers: BTreeMap<_, _> = origins
        .iter()
        .filter_map(|origin| {
            let remote = run.origins.offer(*origin, content)?.clone();
            let locations = Locations::default();
            Some((*origin, Offer { remote, locations }))
        })
        .collect();
    if offers.is_empty() {
        return Err(run.origins.none_is_left(&content.remote));
    }
    let remote = &content.remote;
    let under_way = run
        .progress
        .begin(remote.path.as_str(), remote.size, partial.written_bytes());
    let (written, arriving) = channel();
    let active = ActiveFile {
        remote: content.remote.clone(),
        disk: partial.disk(),
        label: partial.label().to_owned(),
        block_bytes: run.settings.block_bytes,
        in_sequence: !run.store.abilities().writes_anywhere(),
        offers,
        written,
        progress: under_way.file(),
    };
    let number = run
        .board
        .add(Arc::new(active), partial.blocks(), partial.written(), partial.hashed());
    for origin in origins.into_iter().filter(|origin| run.origins.is_out(*origin)) {
        // Dropped before the board knew of the file.
        run.board
            .withdraw(number, origin, run.origins.none_is_left(&content.remote));
    }
    let followed = follow(run, number, partial, &arriving);
    run.board.remove(number);
    followed
}

/// Hashes and syncs what connections write, until every byte is hashed. What is written when everything ends is
/// made durable before that.
fn follow(
    run: &Run,
    number: FileNumber,
    partial: &mut Partial,
    arriving: &Receiver<Written>,
) -> Result<(), FetchError> {
    loop {
        // Lanes share the bound, so that a kill loses no more of many files than of one; and each begins when half of
        // its share is used up, for the other half comes in while it syncs.
        let unsynced_bytes = run.unsynced_bytes() / 2 / run.board.arriving_files().max(1);
        let drained = run.drained.load(Ordering::Acquire);
        let orphaned = !partial.can_hash() && run.board.is_orphaned(number);
        wait(run, partial, arriving, unsynced_bytes);
        while let Ok(written) = arriving.try_recv() {
            partial.received(written);
        }
        if drained {
            partial.sync()?;
            partial.finish()?;
            return Err(FetchError::Interrupted);
        }
        if orphaned
            && !partial.can_hash()
            && let Some(failure) = run.board.take_failure(number)
        {
            partial.sync()?;
            partial.finish()?;
            return Err(failure);
        }
        let begun = Instant::now();
        if let Some(bytes) = partial.hash_next()? {
            let took = begun.elapsed();
            run.progress.verified(bytes);
            run.board.hashed(number, partial.hashed(), took);
        }
        if partial.is_hashed() {
            return Ok(());
        }
        if sync_is_due(run, partial, unsynced_bytes) {
            partial.sync()?;
        }
    }
}

/// Waits for the next block, but not while there is something else to do.
fn wait(run: &Run, partial: &mut Partial, arriving: &Receiver<Written>, unsynced_bytes: u64) {
    if partial.can_hash() || run.drained.load(Ordering::Acquire) {
        return;
    }
    let due = partial
        .sync_due_in(unsynced_bytes, run.settings.sync_interval)
        .unwrap_or(GLANCE);
    // One that is due while another is under way begins when that ends.
    let due = if partial.can_sync() { due } else { due.max(NUDGE) };
    match arriving.recv_timeout(due.min(GLANCE)) {
        Ok(written) => partial.received(written),
        Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
    }
}

fn sync_is_due(run: &Run, partial: &Partial, unsynced_bytes: u64) -> bool {
    partial.can_sync()
        && partial
            .sync_due_in(unsynced_bytes, run.settings.sync_interval)
            .is_some_and(|due| due.is_zero())
}
