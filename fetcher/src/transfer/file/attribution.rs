//! Finds out which origin sent other bytes than the digest promises, and does without it.
//!
//! A digest says that a file is wrong, not where. So what one origin did not bring is fetched again from it alone: if
//! the file is right then, the origins whose bytes differ from these have sent wrong ones.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};

use modelcache_crds::report::{FailureClass, OriginFault};

use super::complete::complete;
use super::partial::{Delivered, Partial};
use super::workers::Workers;
use crate::model::error::{FetchError, SourceError};
use crate::transfer::reuse::content::Content;
use crate::transfer::schedule::OriginNumber;

/// Trusts one origin after the other with a whole file; whether the file is right with one of them.
pub(crate) fn replace(workers: &Workers, content: &Content, partial: &mut Partial) -> Result<bool, FetchError> {
    let remote = &content.remote;
    let candidates = most_first(workers.origins.offering(&content.remote), partial.brought());
    if candidates.len() < 2 || remote.size == 0 {
        return Ok(false);
    }
    let mut former = Delivered::new();
    for trusted in candidates {
        if partial.is_all_from(trusted) || workers.origins.is_dropped(trusted) {
            continue;
        }
        tracing::warn!(
            file = %remote.path,
            origin = workers.origins.name(trusted),
            "the bytes hash to something else; what came from other origins is fetched again from this one"
        );
        workers.progress.unverified(partial.hashed_bytes());
        let replaced = partial.distrust(trusted)?;
        workers.progress.discarded(replaced.bytes);
        for (block, brought) in replaced.brought {
            former.entry(block).or_insert(brought);
        }
        match complete(workers, content, partial, vec![trusted]) {
            Ok(()) => {}
            Err(error @ FetchError::Source { .. }) => {
                tracing::warn!(file = %remote.path, %error, "the whole file cannot be had from this origin alone");
                continue;
            }
            Err(error) => return Err(error),
        }
        if partial.digest() == remote.digest {
            drop_liars(workers, content, &liars(&former, partial.brought()));
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whoever brought most is fast, and leaves the least to be fetched again.
fn most_first(mut origins: Vec<OriginNumber>, brought: &Delivered) -> Vec<OriginNumber> {
    let blocks = |origin: OriginNumber| brought.values().filter(|(by, _)| *by == origin).count();
    // Stable, so that of equals the source comes first.
    origins.sort_by_cached_key(|origin| Reverse(blocks(*origin)));
    origins
}

/// The origins that brought something else than is right, and how many blocks.
fn liars(former: &Delivered, right: &Delivered) -> HashMap<OriginNumber, usize> {
    let mut liars = HashMap::new();
    for (block, (origin, checksum)) in former {
        if right.get(block).is_some_and(|(_, right)| right != checksum) {
            *liars.entry(*origin).or_insert(0) += 1;
        }
    }
    liars
}

fn drop_liars(workers: &Workers, content: &Content, liars: &HashMap<OriginNumber, usize>) {
    for origin in liars.keys().copied().collect::<BTreeSet<_>>() {
        let blocks = liars.get(&origin).copied().unwrap_or_default();
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
    fn who_brought_most_is_trusted_first_and_of_equals_the_source() {
        let brought = Delivered::from([(0, (2, 10)), (1, (2, 11)), (2, (3, 12))]);
        assert_eq!(most_first(vec![0, 1, 2, 3], &brought), [2, 3, 0, 1]);
    }

    #[test]
    fn an_origin_lied_where_its_bytes_differ_from_the_right_ones() {
        let former = Delivered::from([(0, (1, 10)), (1, (2, 11)), (2, (1, 12)), (3, (1, 13))]);
        let right = Delivered::from([(0, (0, 10)), (1, (0, 99)), (2, (0, 12)), (3, (0, 13)), (4, (0, 14))]);
        assert_eq!(liars(&former, &right), HashMap::from([(2, 1)]));
    }
}
