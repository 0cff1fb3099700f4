//! Contents that wait to be taken up, the largest first: what takes longest must not begin last. And not all small ones
//! last: each costs round trips, in which large ones bring many bytes.

use std::collections::VecDeque;

use crate::transfer::reuse::content::Content;

/// What a lane takes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WorkerKind {
    /// Anything, large ones first.
    Any,
    /// Small ones only.
    Small,
}

/// What waits.
#[derive(Debug)]
pub(crate) struct Queue {
    large: VecDeque<Content>,
    small: VecDeque<Content>,
}

impl Queue {
    /// Contents, the largest first; small ones have so many bytes at most.
    pub(crate) fn new(contents: Vec<Content>, small_bytes: u64) -> Self {
        let (large, small) = contents
            .into_iter()
            .partition(|content| content.remote.size > small_bytes);
        Self { large, small }
    }

    pub(crate) fn next(&mut self, takes: WorkerKind) -> Option<Content> {
        let large = match takes {
            WorkerKind::Any => self.large.pop_front(),
            WorkerKind::Small => None,
        };
        large.or_else(|| self.small.pop_front())
    }

    /// What the lanes take up, if there may be so many, and so many more for small contents: no more than there is work for.
    pub(crate) fn workers(&self, any: usize, small: usize) -> Vec<WorkerKind> {
        let any = any.min(self.large.len() + self.small.len());
        // Those that find nothing large are for small ones, too.
        let beside = any.saturating_sub(self.large.len());
        let small = small.min(self.small.len() - beside);
        [vec![WorkerKind::Any; any], vec![WorkerKind::Small; small]].concat()
    }

    /// Whether no large one waits.
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
                further: Vec::new(),
            }
        };
        Queue::new(sizes.iter().map(content).collect(), 10)
    }

    fn taken(queue: &mut Queue, takes: WorkerKind) -> Vec<u64> {
        std::iter::from_fn(|| queue.next(takes))
            .map(|content| content.remote.size)
            .collect()
    }

    #[test]
    fn large_ones_are_taken_first_and_small_ones_beside_them() {
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
    fn who_takes_small_ones_leaves_large_ones() {
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
    fn there_are_no_more_lanes_than_work(#[case] sizes: &[u64], #[case] any: usize, #[case] small: usize) {
        let lanes = queue(sizes).workers(4, 5);
        let count = |takes| lanes.iter().filter(|lane| **lane == takes).count();
        assert_eq!((count(WorkerKind::Any), count(WorkerKind::Small)), (any, small));
    }
}
