//! The regular files below a folder.
//!
//! Links to files below the same folder are followed. Links out of it, and anything that is neither file nor folder, are
//! errors: skipping them could silently leave a model incomplete.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use modelcache_crds::report::FailureClass;

use crate::model::error::SourceError;
use crate::model::path::FilePath;

/// A folder that file systems create at their root, readable by root only.
const LOST_AND_FOUND: &str = "lost+found";

/// A file with its canonical path, free of links.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: FilePath,
    pub(super) file: PathBuf,
}

/// The canonical path of a folder, free of links.
pub(super) fn root(folder: &Path) -> Result<PathBuf, SourceError> {
    let root = fs::canonicalize(folder).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => SourceError::new(
            FailureClass::RepositoryNotFound,
            format!("folder {} does not exist; check its path", folder.display()),
        ),
        _ => failed(folder, &error),
    })?;
    if root.is_dir() {
        return Ok(root);
    }
    Err(SourceError::new(
        FailureClass::RepositoryNotFound,
        format!(
            "{} is not a folder; name the folder that contains it, and select the file by an include pattern",
            folder.display()
        ),
    ))
}

/// All files below a folder, sorted by path.
pub(super) fn walk(root: &Path) -> Result<Vec<Entry>, SourceError> {
    let mut entries = Vec::new();
    let mut pending = vec![(root.to_owned(), String::new())];
    while let Some((folder, prefix)) = pending.pop() {
        for entry in fs::read_dir(&folder).map_err(|error| failed(&folder, &error))? {
            let entry = entry.map_err(|error| failed(&folder, &error))?;
            let place = entry.path();
            let name = entry.file_name().into_string().map_err(|name| {
                let shown = folder.join(name);
                invalid(format!("{} has a name that is not UTF-8; rename it", shown.display()))
            })?;
            if prefix.is_empty() && name == LOST_AND_FOUND {
                continue;
            }
            let path = format!("{prefix}{name}");
            let kind = entry.file_type().map_err(|error| failed(&place, &error))?;
            if kind.is_dir() {
                pending.push((place, format!("{path}/")));
            } else {
                entries.push(resolve(root, root, parse(root, &path)?)?);
            }
        }
    }
    entries.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(entries)
}

fn parse(root: &Path, path: &str) -> Result<FilePath, SourceError> {
    FilePath::parse(path).map_err(|error| {
        let shown = root.join(path);
        invalid(format!("{} has an unsafe path: {error}; rename it", shown.display()))
    })
}

/// Resolves a file below `folder` through links; fails if they leave `root`.
pub(super) fn resolve(root: &Path, folder: &Path, path: FilePath) -> Result<Entry, SourceError> {
    let named = folder.join(path.as_str());
    let file = fs::canonicalize(&named).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => invalid(format!("{} does not exist, or is a broken link", named.display())),
        _ => failed(&named, &error),
    })?;
    if !file.starts_with(root) {
        return Err(invalid(format!(
            "{} is a link out of the folder; replace it by a copy, or name the folder that contains both",
            named.display()
        )));
    }
    let metadata = fs::symlink_metadata(&file).map_err(|error| failed(&file, &error))?;
    if !metadata.is_file() {
        let what = if metadata.is_dir() {
            "a link to a folder"
        } else {
            "not a regular file"
        };
        return Err(invalid(format!("{} is {what}; remove it", named.display())));
    }
    Ok(Entry { path, file })
}

pub(super) fn invalid(why: String) -> SourceError {
    SourceError::new(FailureClass::InvalidListing, why)
}

/// The error for a failed read, with advice.
pub(super) fn failed(path: &Path, error: &io::Error) -> SourceError {
    let (class, advice) = match error.kind() {
        io::ErrorKind::PermissionDenied => (FailureClass::AccessDenied, "; make it readable for the fetcher's user"),
        _ => (FailureClass::SourceError, ""),
    };
    SourceError::new(class, format!("cannot read {}: {error}{advice}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rstest::rstest;

    use super::*;

    fn folder() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for path in ["model/sub/b", "model/a", "model/lost+found/x", "secret"] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"1").unwrap();
        }
        folder
    }

    fn walked(folder: &tempfile::TempDir) -> Result<Vec<String>, SourceError> {
        let entries = walk(&root(&folder.path().join("model"))?)?;
        Ok(entries.iter().map(|entry| entry.path.to_string()).collect())
    }

    #[test]
    fn files_are_found_through_links_of_the_same_folder_and_in_order() {
        let folder = folder();
        symlink("../a", folder.path().join("model/sub/a")).unwrap();
        assert_eq!(walked(&folder).unwrap(), ["a", "sub/a", "sub/b"]);
    }

    #[rstest]
    #[case::a_parent("../secret", "is a link out of the folder")]
    #[case::an_absolute_path("/etc/passwd", "is a link out of the folder")]
    #[case::nowhere("none", "is a broken link")]
    #[case::a_folder("sub", "a link to a folder")]
    #[case::a_device("/dev/null", "is a link out of the folder")]
    fn a_link_to(#[case] target: &str, #[case] why: &str) {
        let folder = folder();
        symlink(target, folder.path().join("model/link")).unwrap();
        let error = walked(&folder).unwrap_err();
        assert_eq!(error.class, FailureClass::InvalidListing);
        assert!(
            error.message.contains("model/link") && error.message.contains(why),
            "{error}"
        );
    }

    #[test]
    fn a_pipe_is_refused_and_not_waited_for() {
        let folder = folder();
        let pipe = folder.path().join("model/pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();
        assert!(walked(&folder).unwrap_err().message.contains("not a regular file"));
    }

    #[rstest]
    #[case("a\\b", "has an unsafe path")]
    #[case("new\nline", "has an unsafe path")]
    fn an_unsafe_name_is_refused(#[case] name: &str, #[case] why: &str) {
        let folder = folder();
        fs::write(folder.path().join("model").join(name), b"").unwrap();
        let error = walked(&folder).unwrap_err();
        assert!(error.message.contains(why), "{error}");
    }

    #[test]
    fn a_path_that_is_not_a_folder_is_refused() {
        let folder = folder();
        for (path, why) in [("none", "does not exist"), ("secret", "is not a folder")] {
            let error = root(&folder.path().join(path)).unwrap_err();
            assert_eq!(error.class, FailureClass::RepositoryNotFound);
            assert!(error.message.contains(why), "{error}");
        }
    }
}
