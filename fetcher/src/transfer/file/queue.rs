//! The queue of contents, the largest first, because what takes longest must not start last. Small ones are not all left to
//! the end: each costs round trips, during which large ones deliver many bytes.

use std::collections::VecDeque;

use crate::transfer::reuse::content::Content;

/// Which contents a file worker takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkerKind {
    /// Large contents first, then small ones.
    Any,
    /// Only small contents.
    Small,
}

/// The contents that no worker has taken yet.
#[derive(Debug)]
pub(crate) struct Queue {
    large: VecDeque<Content>,
    small: VecDeque<Content>,
}

impl Queue {
    /// A queue of contents sorted by size, the largest first. Small ones have at most `small_bytes`.
    pub(crate) fn new(contents: Vec<Content>, small_bytes: u64) -> Self {
        let (large, small) = contents
            .into_iter()
            .partition(|content| content.remote.size > small_bytes);
        Self { large, small }
    }

    pub(crate) fn next(&mut self, kind: WorkerKind) -> Option<Content> {
        let large = match kind {
            WorkerKind::Any => self.large.pop_front(),
            WorkerKind::Small => None,
        };
        large.or_else(|| self.small.pop_front())
    }

    /// The kinds of workers to start: at most `any` and `small`, and no more than there are contents for.
    pub(crate) fn workers(&self, any: usize, small: usize) -> Vec<WorkerKind> {
        let any = any.min(self.large.len() + self.small.len());
        // Workers of kind `Any` that find no large content take small ones.
        let any_with_small = any.saturating_sub(self.large.len());
        let small = small.min(self.small.len() - any_with_small);
        [vec![WorkerKind::Any; any], vec![WorkerKind::Small; small]].concat()
    }

    /// Whether no large content is left in the queue.
    pub(crate) fn has_no_large(&self) -> bool {
        self.large.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::model::digest::ContentDigest;
    use crate::model::path::FilePath;
    use crate::model::remote_file::RemoteFile;

    fn queue(sizes: &[u64]) -> Queue {
        let content = |size: &u64| {
            let path = FilePath::parse(&format!("file-{size}")).unwrap();
            Content {
                remote: RemoteFile {
                    path: path.clone(),
                    size: *size,
                    digest: ContentDigest::Sha256([0; 32]),
                },
                files: 1,
                place: path,
                other_places: Vec::new(),
            }
        };
        Queue::new(sizes.iter().map(content).collect(), 10)
    }

    fn taken(queue: &mut Queue, kind: WorkerKind) -> Vec<u64> {
        std::iter::from_fn(|| queue.next(kind))
            .map(|content| content.remote.size)
            .collect()
    }

    #[test]
    fn large_contents_are_taken_first_and_small_ones_concurrently() {
        let mut queue = queue(&[90, 20, 11, 10, 3, 1]);
        assert_eq!(
            queue.next(WorkerKind::Small).map(|content| content.remote.size),
            Some(10)
        );
        assert!(!queue.has_no_large());
        assert_eq!(taken(&mut queue, WorkerKind::Any), [90, 20, 11, 3, 1]);
        assert!(queue.has_no_large());
    }

    #[test]
    fn a_worker_for_small_contents_takes_no_large_one() {
        let mut queue = queue(&[90, 1]);
        assert_eq!(taken(&mut queue, WorkerKind::Small), [1]);
        assert_eq!(taken(&mut queue, WorkerKind::Any), [90]);
    }

    #[rstest]
    #[case::nothing(&[], 0, 0)]
    #[case::one_large(&[90], 1, 0)]
    #[case::one_small(&[1], 1, 0)]
    #[case::few_of_both(&[90, 20, 3, 1], 4, 0)]
    #[case::many_small(&[90, 9, 8, 7, 6, 5, 4, 3, 2, 1], 4, 5)]
    #[case::only_small(&[9, 8, 7, 6, 5, 4, 3, 2, 1], 4, 5)]
    #[case::many_large(&[99, 98, 97, 96, 95, 94, 1], 4, 1)]
    fn there_are_no_more_workers_than_contents(#[case] sizes: &[u64], #[case] any: usize, #[case] small: usize) {
        let workers = queue(sizes).workers(4, 5);
        let count = |kind| workers.iter().filter(|worker| **worker == kind).count();
        assert_eq!((count(WorkerKind::Any), count(WorkerKind::Small)), (any, small));
    }
}
