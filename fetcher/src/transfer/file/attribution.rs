//! Corruption attribution: finds the origin that sent wrong bytes, and drops it.
//!
//! A digest shows that a file is wrong, not where. So the blocks of all other origins are fetched again from one origin
//! alone. If the file then has the right digest, the origins whose blocks differ from these sent wrong bytes.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use modelcache_crds::report::{FailureClass, OriginFault};

use super::complete::complete;
use super::partial::{Delivered, Partial};
use super::workers::Workers;
use crate::model::error::{FetchError, SourceError};
use crate::transfer::reuse::content::Content;
use crate::transfer::schedule::OriginNumber;

/// Fetches the whole file from one origin after another. Returns whether one of them gives the right digest.
pub(crate) fn refetch_from_one_origin(
    workers: &Workers,
    content: &Content,
    partial: &mut Partial,
) -> Result<bool, FetchError> {
    let remote = &content.remote;
    let candidates = by_blocks_delivered(workers.origins.offering(&content.remote), &partial.delivered());
    if candidates.len() < 2 || remote.size == 0 {
        return Ok(false);
    }
    let mut previous = Delivered::new();
    for trusted in candidates {
        if partial.is_all_from(trusted) || workers.origins.is_dropped(trusted) {
            continue;
        }
        tracing::warn!(
            file = %remote.path,
            origin = workers.origins.name(trusted),
            "digest mismatch; fetching the blocks of other origins again from this one"
        );
        workers.progress.unverified(partial.hashed_bytes());
        let replaced = partial.distrust(trusted)?;
        workers.progress.discarded(replaced.bytes);
        for (block, delivered) in replaced.delivered {
            previous.entry(block).or_insert(delivered);
        }
        match complete(workers, content, partial, vec![trusted]) {
            Ok(()) => {}
            Err(error @ FetchError::Source { .. }) => {
                tracing::warn!(file = %remote.path, %error, "origin cannot serve the whole file alone");
                continue;
            }
            Err(error) => return Err(error),
        }
        if partial.digest() == remote.digest {
            drop_corrupt_origins(workers, content, &wrong_blocks(&previous, &partial.delivered()));
            return Ok(true);
        }
    }
    Ok(false)
}

/// Sorts origins by the blocks they delivered, most first: those are fast, and leave the least to fetch again.
fn by_blocks_delivered(mut origins: Vec<OriginNumber>, delivered: &Delivered) -> Vec<OriginNumber> {
    let blocks = |origin: OriginNumber| delivered.values().filter(|(by, _)| *by == origin).count();
    // A stable sort: of equal origins, the source comes first.
    origins.sort_by_cached_key(|origin| Reverse(blocks(*origin)));
    origins
}

/// The origins that delivered wrong blocks, with the number of these blocks.
fn wrong_blocks(previous: &Delivered, verified: &Delivered) -> HashMap<OriginNumber, usize> {
    let mut wrong_blocks = HashMap::new();
    for (block, (origin, checksum)) in previous {
        if verified.get(block).is_some_and(|(_, right)| right != checksum) {
            *wrong_blocks.entry(*origin).or_insert(0) += 1;
        }
    }
    wrong_blocks
}

fn drop_corrupt_origins(workers: &Workers, content: &Content, wrong_blocks: &HashMap<OriginNumber, usize>) {
    for origin in wrong_blocks.keys().copied().collect::<BTreeSet<_>>() {
        let blocks = wrong_blocks.get(&origin).copied().unwrap_or_default();
        let reason = format!(
            "sent wrong bytes of {}, in {blocks} of its blocks of {} bytes",
            content.remote.path, workers.settings.block_bytes
        );
        workers
            .origins
            .drop_origin(origin, OriginFault::SentWrongBytes, &reason);
        let reason = SourceError::new(
            FailureClass::SourceError,
            format!("{} {reason}", workers.origins.name(origin)),
        );
        workers.schedule.withdraw_all(origin, &reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_origin_with_most_blocks_comes_first_and_of_equals_the_source() {
        let delivered = Delivered::from([(0, (2, 10)), (1, (2, 11)), (2, (3, 12))]);
        assert_eq!(by_blocks_delivered(vec![0, 1, 2, 3], &delivered), [2, 3, 0, 1]);
    }

    #[test]
    fn a_block_that_differs_from_the_verified_one_is_attributed_to_its_origin() {
        let previous = Delivered::from([(0, (1, 10)), (1, (2, 11)), (2, (1, 12)), (3, (1, 13))]);
        let verified = Delivered::from([(0, (0, 10)), (1, (0, 99)), (2, (0, 12)), (3, (0, 13)), (4, (0, 14))]);
        assert_eq!(wrong_blocks(&previous, &verified), HashMap::from([(2, 1)]));
    }
}
