//! Contents: the unit of fetching. Files with the same bytes are fetched once, and may share one place.

use std::collections::{HashMap, HashSet};

use crate::model::path::FilePath;
use crate::model::remote_file::RemoteFile;

/// The bytes of one digest and size, and the places to put them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    /// The listed file that is fetched.
    pub(crate) remote: RemoteFile,
    /// Number of files with these bytes.
    pub(crate) files: u64,
    /// Place of the first file.
    pub(crate) place: FilePath,
    /// Places of the other files, where they differ.
    pub(crate) other_places: Vec<FilePath>,
}

impl Content {
    /// Bytes of all files but the first, which are not fetched.
    pub(crate) fn duplicate_bytes(&self) -> u64 {
        self.remote.size * (self.files - 1)
    }

    /// All places.
    pub(crate) fn places(&self) -> impl Iterator<Item = &FilePath> {
        std::iter::once(&self.place).chain(&self.other_places)
    }
}

/// The contents of files, each with its places. The largest come first, because what takes longest must not start last.
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
                    content.other_places.push(place.clone());
                }
            }
            None => contents.push(Content {
                remote: file.clone(),
                files: 1,
                place: place.clone(),
                other_places: Vec::new(),
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
        let found = |places: [&str; 4]| -> Vec<(u64, u64, String)> {
            let places = places.map(|place| FilePath::parse(place).unwrap());
            let names = |content: &Content| content.places().map(FilePath::as_str).collect::<Vec<_>>().join(" ");
            contents(&files, &places)
                .iter()
                .map(|content| (content.remote.size, content.files, names(content)))
                .collect()
        };
        let content = |size, files, places: &str| (size, files, places.to_owned());
        assert_eq!(
            found(["a", "b", "c", "d"]),
            [content(9, 1, "b"), content(1, 2, "a c"), content(1, 1, "d")]
        );
        assert_eq!(
            found(["x", "y", "x", "z"]),
            [content(9, 1, "y"), content(1, 2, "x"), content(1, 1, "z")]
        );
    }
}
