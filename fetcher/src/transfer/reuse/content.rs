//! What is to be fetched: contents, not files. Files with the same bytes are fetched once, and may stand in one place.

use std::collections::{HashMap, HashSet};

use crate::model::path::FilePath;
use crate::model::remote_file::RemoteFile;

/// Bytes to fetch, and where they go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// The file they are fetched as.
    pub(crate) remote: RemoteFile,
    /// How many files consist of them.
    pub(crate) files: u64,
    /// Where they go.
    pub(crate) place: FilePath,
    /// Where they go, too.
    pub(crate) further: Vec<FilePath>,
}

impl Content {
    /// Bytes of the files beyond the first, which cost nothing to fetch.
    pub(crate) fn duplicate_bytes(&self) -> u64 {
        self.remote.size * (self.files - 1)
    }

    /// Everywhere they go.
    pub(crate) fn places(&self) -> impl Iterator<Item = &FilePath> {
        std::iter::once(&self.place).chain(&self.further)
    }
}

/// The contents of some files, each with its place; the largest first: what takes longest must not begin last.
pub(crate) fn contents(files: &[RemoteFile], places: &[FilePath]) -> Vec<Content> {
    let mut contents: Vec<Content> = Vec::new();
    let mut known = HashMap::new();
    let mut taken = HashSet::new();
    for (file, place) in files.iter().zip(places) {
        let number = *known.entry((file.digest, file.size)).or_insert(contents.len());
        let is_new = taken.insert(place);
        match contents.get_mut(number) {
            Some(content) => {
                content.files += 1;
                if is_new {
                    content.further.push(place.clone());
                }
            }
            None => contents.push(Content {
                remote: file.clone(),
                files: 1,
                place: place.clone(),
                further: Vec::new(),
            }),
        }
    }
    contents.sort_by_key(|content| std::cmp::Reverse(content.remote.size));
    contents
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::digest::ContentDigest;

    #[test]
    fn files_with_the_same_bytes_are_fetched_once_and_large_ones_first() {
        let file = |path: &str, size, byte| RemoteFile {
            path: FilePath::parse(path).unwrap(),
            size,
            digest: ContentDigest::Sha256([byte; 32]),
        };
        let files = [file("a", 1, 1), file("b", 9, 2), file("c", 1, 1), file("d", 1, 3)];
        let told = |places: [&str; 4]| -> Vec<(u64, u64, String)> {
            let places = places.map(|place| FilePath::parse(place).unwrap());
            let names = |content: &Content| content.places().map(FilePath::as_str).collect::<Vec<_>>().join(" ");
            contents(&files, &places)
                .iter()
                .map(|content| (content.remote.size, content.files, names(content)))
                .collect()
        };
        let content = |size, files, places: &str| (size, files, places.to_owned());
        assert_eq!(
            told(["a", "b", "c", "d"]),
            [content(9, 1, "b"), content(1, 2, "a c"), content(1, 1, "d")]
        );
        assert_eq!(
            told(["x", "y", "x", "z"]),
            [content(9, 1, "y"), content(1, 2, "x"), content(1, 1, "z")]
        );
    }
}
