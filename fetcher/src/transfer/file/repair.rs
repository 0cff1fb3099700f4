//! Block reuse: repairs a damaged published file by copying its intact blocks. They go into a new file, because published
//! files are never written to. Only the other blocks are fetched, and the whole is hashed like any other file.

use super::partial::Partial;
use super::workers::Workers;
use crate::disk::files::open_plain;
use crate::model::error::FetchError;
use crate::transfer::reuse::content::Content;

/// Copies the intact blocks of damaged published files into a partial file.
pub(crate) fn reuse_blocks(workers: &Workers, content: &Content, partial: &mut Partial) -> Result<(), FetchError> {
    let places = workers.reuse.places(content);
    if places.is_empty() || partial.blocks() < 2 {
        return Ok(());
    }
    let Some(checksums) = workers.store.block_checksums(partial.key()) else {
        tracing::info!(file = %content.remote.path, "no block checksums for damaged file; fetching it completely");
        return Ok(());
    };
    for place in places {
        let file = match open_plain(place) {
            Ok(file) => file,
            Err(error) => {
                tracing::warn!(path = %place.display(), %error, "cannot open damaged file");
                continue;
            }
        };
        let intact = partial.reuse_blocks(&file, &checksums, workers.stop.token())?;
        tracing::info!(
            path = %place.display(),
            intact,
            of = partial.blocks(),
            "reusing intact blocks of damaged file"
        );
    }
    Ok(())
}

/// Keeps the block checksums of a verified content for a later repair. Without them, a repair fetches the whole file.
pub(crate) fn keep_checksums(workers: &Workers, partial: &Partial) {
    if partial.blocks() < 2 {
        return;
    }
    if let Err(error) = workers.store.keep_block_checksums(partial.key(), &partial.checksums()) {
        tracing::warn!(%error, "cannot keep block checksums; a repair would fetch the whole file");
    }
}
