//! What is to be fetched: contents, not files. Files with the same bytes are fetched once.

use std::collections::HashMap;

use crate::path::FilePath;
use crate::source::RemoteFile;

/// Bytes to fetch, and all files that consist of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// The file they are fetched as.
    pub(super) remote: RemoteFile,
    /// Every file with these bytes, the one above first.
    pub(super) paths: Vec<FilePath>,
}

impl Content {
    /// Bytes of the files beyond the first, which cost nothing to fetch.
    pub(super) fn duplicate_bytes(&self) -> u64 {
        self.remote.size * (self.paths.len() as u64 - 1)
    }
}

/// The contents of some files, the largest first: what takes longest must not begin last.
pub(super) fn contents(files: &[RemoteFile]) -> Vec<Content> {
    let mut contents: Vec<Content> = Vec::new();
    let mut places = HashMap::new();
    for file in files {
        let place = *places.entry((file.digest, file.size)).or_insert(contents.len());
        match contents.get_mut(place) {
            Some(content) => content.paths.push(file.path.clone()),
            None => contents.push(Content {
                remote: file.clone(),
                paths: vec![file.path.clone()],
            }),
        }
    }
    contents.sort_by_key(|content| std::cmp::Reverse(content.remote.size));
    contents
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::ContentDigest;

    #[test]
    fn files_with_the_same_bytes_are_fetched_once_and_large_ones_first() {
        let file = |path: &str, size, byte| RemoteFile {
            path: FilePath::parse(path).unwrap(),
            size,
            digest: ContentDigest::Sha256([byte; 32]),
        };
        let files = [file("a", 1, 1), file("b", 9, 2), file("c", 1, 1), file("d", 1, 3)];
        let told: Vec<(u64, Vec<String>)> = contents(&files)
            .iter()
            .map(|content| {
                (
                    content.remote.size,
                    content.paths.iter().map(ToString::to_string).collect(),
                )
            })
            .collect();
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(told, [(9, names(&["b"])), (1, names(&["a", "c"])), (1, names(&["d"]))]);
    }
}
