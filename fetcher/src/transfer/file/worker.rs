//! A file worker: takes one file after another from what is on disk to staged.

use super::attribution;
use super::complete::complete;
use super::partial::Partial;
use super::queue::WorkerKind;
use super::repair;
use super::workers::Workers;
use crate::model::error::FetchError;
use crate::transfer::reuse::Found;
use crate::transfer::reuse::content::Content;

/// Works until no file is left for this kind of worker, or the fetch ends.
pub(crate) fn run(workers: &Workers, kind: WorkerKind) {
    loop {
        let (next, is_last) = {
            let mut waiting = workers.queue();
            let next = waiting.next(kind);
            (next, waiting.has_no_large())
        };
        if is_last {
            workers.schedule.set_all_files_added();
        }
        let Some(content) = next else {
            return;
        };
        if workers.stop.has_ended() {
            return;
        }
        if let Err(error) = ensure_staged(workers, &content) {
            workers.stop.fail(error.of(&content.remote.path));
            return;
        }
    }
}

/// Ensures that every file with this content is staged or published in place.
fn ensure_staged(workers: &Workers, content: &Content) -> Result<(), FetchError> {
    match workers
        .reuse
        .find(&workers.store, content, &workers.progress, workers.stop.token())?
    {
        Found::Staged => {
            workers.staging.set_staged();
            workers.progress.reused(content.remote.size);
        }
        Found::InPlace => {
            workers.staging.add_in_place(content.clone());
            workers.progress.reused(content.remote.size);
        }
        Found::Missing => {
            let first = workers.store.staged(&workers.arrangement.id, &content.place);
            let fetched = fetch_verified(workers, content)?;
            repair::keep_checksums(workers, &fetched);
            fetched.stage(&first)?;
            workers.reuse.stage(&workers.store, content, &first)?;
            workers.staging.set_staged();
        }
    }
    workers.progress.reused(content.duplicate_bytes());
    workers.progress.verified(content.duplicate_bytes());
    for _ in 0..content.files {
        workers.progress.file_done();
    }
    Ok(())
}

/// Fetches a content, again if its digest is wrong, and returns it verified.
fn fetch_verified(workers: &Workers, content: &Content) -> Result<Partial, FetchError> {
    let remote = &content.remote;
    let mut refetches = 0;
    loop {
        let mut partial = Partial::open(
            &workers.store,
            remote,
            workers.settings.block_bytes,
            &workers.buffers,
            workers.stop.token(),
        )?;
        // Only at the first try: if reused blocks turn out wrong, everything is fetched.
        if refetches == 0 {
            repair::reuse_blocks(workers, content, &mut partial)?;
        }
        workers.progress.reused(partial.written_bytes());
        workers.progress.verified(partial.hashed_bytes());
        complete(
            workers,
            content,
            &mut partial,
            workers.origins.offering(&content.remote),
        )?;
        let actual = partial.digest();
        if actual == remote.digest || attribution::refetch_from_one_origin(workers, content, &mut partial)? {
            return Ok(partial);
        }
        workers.progress.discarded(partial.written_bytes());
        workers.progress.unverified(partial.hashed_bytes());
        partial.discard(&workers.store)?;
        if refetches == workers.settings.refetches || remote.size == 0 {
            return Err(FetchError::DigestMismatch {
                file: remote.path.clone(),
                expected: remote.digest.to_string(),
                actual: actual.to_string(),
            });
        }
        refetches += 1;
        tracing::warn!(file = %remote.path, %actual, expected = %remote.digest, "digest mismatch; fetching the file again");
    }
}
