//! Mends instead of fetching: what is sound of a damaged published file is taken over block by block, into a new file,
//! for published ones are never written to. Only the rest is fetched. The whole is hashed like any other file.

use super::partial::Partial;
use super::workers::Workers;
use crate::disk::files::open_plain;
use crate::model::error::FetchError;
use crate::transfer::reuse::content::Content;

/// Takes over what is sound of a content that is published and damaged.
pub(crate) fn salvage(workers: &Workers, content: &Content, partial: &mut Partial) -> Result<(), FetchError> {
    let places = workers.reuse.places(content);
    if places.is_empty() || partial.blocks() < 2 {
        return Ok(());
    }
    let Some(checksums) = workers.store.block_checksums(partial.key()) else {
        tracing::info!(file = %content.remote.path, "no checksums of its blocks are kept; the damaged file is fetched whole");
        return Ok(());
    };
    for place in places {
        let file = match open_plain(place) {
            Ok(file) => file,
            Err(error) => {
                tracing::warn!(path = %place.display(), %error, "cannot open a damaged file");
                continue;
            }
        };
        let taken = partial.reuse_blocks(&file, &checksums, workers.stop.token())?;
        tracing::info!(
            path = %place.display(),
            sound = taken,
            of = partial.blocks(),
            "what is sound of a damaged file is kept, only the rest is fetched"
        );
    }
    Ok(())
}

/// Keeps the checksums of a proven content, so that it can be mended later. Without them it is fetched whole then.
pub(crate) fn keep_checksums(workers: &Workers, partial: &Partial) {
    if partial.blocks() < 2 {
        return;
    }
    if let Err(error) = workers.store.keep_block_checksums(partial.key(), &partial.checksums()) {
        tracing::warn!(%error, "cannot keep the checksums of blocks; damage could not be mended block by block");
    }
}
