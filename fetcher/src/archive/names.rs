//! Decides the path of each archive entry: below one folder, and unique. Pure.

use std::collections::HashMap;

use super::error::Fault;
use crate::model::path::FilePath;

/// Maximum number of files in the archives of a model.
const MAX_FILES: usize = 100_000;

/// Maximum number of links that are followed to a file.
const MAX_LINK_CHAIN: usize = 16;

/// The path of an entry; `None` for the root folder.
pub(super) fn destination(path: &str) -> Result<Option<FilePath>, Fault> {
    let mut path = path;
    while let Some(rest) = path.strip_prefix("./") {
        path = rest;
    }
    let path = path.strip_suffix('/').unwrap_or(path);
    if path.is_empty() || path == "." {
        return Ok(None);
    }
    Ok(Some(FilePath::parse(path)?))
}

/// The target of a symbolic link, relative to the root of the archive.
pub(super) fn target(link: &FilePath, target: &str) -> Result<FilePath, Fault> {
    let out = || Fault::LinkOut(target.to_owned());
    if target.starts_with('/') {
        return Err(out());
    }
    let mut folder: Vec<&str> = link.as_str().split('/').collect();
    folder.pop();
    for segment in target.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                folder.pop().ok_or_else(out)?;
            }
            segment => folder.push(segment),
        }
    }
    FilePath::parse(&folder.join("/")).map_err(|_| Fault::LinkNowhere(target.to_owned()))
}

/// The paths that are in use, of files and of their folders. Case is ignored, as on some volumes.
#[derive(Debug, Default)]
pub(super) struct Names {
    files: HashMap<String, String>,
    folders: HashMap<String, String>,
}

impl Names {
    /// Adds the path of a file; fails if it conflicts with another.
    pub(super) fn take(&mut self, path: &FilePath) -> Result<(), Fault> {
        let path = path.as_str();
        let key = path.to_lowercase();
        if let Some(other) = self.files.get(&key) {
            return Err(if other == path {
                Fault::Duplicate(path.to_owned())
            } else {
                Fault::CaseOnly(other.clone())
            });
        }
        if self.folders.contains_key(&key) {
            return Err(Fault::FileAsFolder(path.to_owned()));
        }
        self.take_folder(path.rsplit_once('/').map_or("", |(folder, _)| folder))?;
        if self.files.len() == MAX_FILES {
            return Err(Fault::TooMany(MAX_FILES));
        }
        self.files.insert(key, path.to_owned());
        Ok(())
    }

    /// Adds a folder and the folders above it, which may have been added before.
    pub(super) fn take_folder(&mut self, path: &str) -> Result<(), Fault> {
        let mut folder = path;
        while !folder.is_empty() {
            let key = folder.to_lowercase();
            if let Some(file) = self.files.get(&key) {
                return Err(Fault::FileAsFolder(file.clone()));
            }
            match self.folders.get(&key) {
                // So are the folders above it.
                Some(other) if other == folder => return Ok(()),
                Some(other) => return Err(Fault::CaseOnly(other.clone())),
                None => {
                    self.folders.insert(key, folder.to_owned());
                }
            }
            folder = folder.rsplit_once('/').map_or("", |(above, _)| above);
        }
        Ok(())
    }
}

/// The file that a link leads to, directly or through other links.
pub(super) fn follow<'a, T>(
    files: &'a HashMap<FilePath, T>,
    links: &HashMap<FilePath, FilePath>,
    link: &FilePath,
) -> Result<(&'a FilePath, &'a T), Fault> {
    let mut path = link;
    for _ in 0..MAX_LINK_CHAIN {
        match links.get(path) {
            Some(next) => path = next,
            None => break,
        }
    }
    let nowhere = || Fault::LinkNowhere(links.get(link).unwrap_or(link).to_string());
    files.get_key_value(path).ok_or_else(nowhere)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("a", Some("a"))]
    #[case("./a/b", Some("a/b"))]
    #[case("././a/", Some("a"))]
    #[case("./", None)]
    #[case(".", None)]
    fn where_an_entry_goes(#[case] path: &str, #[case] expected: Option<&str>) {
        let path = destination(path).unwrap();
        assert_eq!(path.as_ref().map(FilePath::as_str), expected);
    }

    #[rstest]
    #[case("/etc/passwd")]
    #[case("../a")]
    #[case("a/../../b")]
    #[case("a//b")]
    #[case(".modelcache/lock")]
    #[case("./.modelcache/lock")]
    #[case("a\\b")]
    #[case("C:/a")]
    fn an_entry_that_goes_nowhere(#[case] path: &str) {
        assert!(matches!(destination(path), Err(Fault::Path(_))), "{path}");
    }

    #[rstest]
    #[case("sub/link", "b", Ok("sub/b"))]
    #[case("sub/link", "../a", Ok("a"))]
    #[case("sub/link", "./x/../b", Ok("sub/b"))]
    #[case("sub/link", "../../a", Err("out"))]
    #[case("link", "/etc/passwd", Err("out"))]
    #[case("link", ".", Err("nowhere"))]
    fn what_a_link_names(#[case] link: &str, #[case] text: &str, #[case] expected: Result<&str, &str>) {
        let link = FilePath::parse(link).unwrap();
        let result = match target(&link, text) {
            Ok(path) => Ok(path.to_string()),
            Err(Fault::LinkOut(_)) => Err("out"),
            Err(_) => Err("nowhere"),
        };
        assert_eq!(result.as_ref().map(String::as_str).map_err(|error| *error), expected);
    }

    #[rstest]
    #[case(&["a", "b/a", "b/c"], None)]
    #[case(&["a", "a"], Some("the model has a already, in"))]
    #[case(&["a", "A"], Some("the model has a already, which differs only in case"))]
    #[case(&["d/a", "D/b"], Some("the model has d already, which differs only in case"))]
    #[case(&["a", "a/b"], Some("a is a file"))]
    #[case(&["a/b", "a"], Some("a is a file"))]
    #[case(&["x/a/b", "X/A"], Some("is a file"))]
    fn places_are_taken_once(#[case] paths: &[&str], #[case] refused: Option<&str>) {
        let mut names = Names::default();
        let taken: Result<(), Fault> = paths
            .iter()
            .try_for_each(|path| names.take(&FilePath::parse(path).unwrap()));
        match (taken, refused) {
            (Ok(()), None) => {}
            (Err(fault), Some(why)) => assert!(fault.to_string().contains(why), "{fault}"),
            (taken, _) => panic!("{taken:?}"),
        }
    }

    #[test]
    fn links_are_followed_to_a_file_and_no_further_than_that() {
        let path = |text: &str| FilePath::parse(text).unwrap();
        let files = HashMap::from([(path("a"), 7)]);
        let links = HashMap::from([
            (path("b"), path("a")),
            (path("c"), path("b")),
            (path("loop"), path("pool")),
            (path("pool"), path("loop")),
            (path("none"), path("nothing")),
        ]);
        assert_eq!(follow(&files, &links, &path("c")).unwrap(), (&path("a"), &7));
        for link in ["loop", "none"] {
            assert!(matches!(
                follow(&files, &links, &path(link)),
                Err(Fault::LinkNowhere(_))
            ));
        }
    }
}
