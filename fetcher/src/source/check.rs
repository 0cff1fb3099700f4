//! Checks that a listing of any source is safe to write.

use std::collections::HashMap;

use modelcache_crds::report::FailureClass;

use crate::model::error::SourceError;
use crate::model::remote_file::RemoteFile;

/// Rejects a listing whose files cannot be written into one folder.
///
/// Such are: a path listed twice, paths that differ only in case (on some volumes one would overwrite the other), a file
/// whose path is another file's folder, one digest with two sizes, and more bytes than any volume holds.
pub fn check_listing(files: &[RemoteFile]) -> Result<(), SourceError> {
    let mut seen: HashMap<String, &str> = HashMap::with_capacity(files.len());
    for file in files {
        let path = file.path.as_str();
        if let Some(other) = seen.insert(path.to_lowercase(), path) {
            return Err(invalid(&if other == path {
                format!("{path} is listed twice")
            } else {
                format!("{other} and {path} differ only in case, and would be one file on some volumes; exclude one")
            }));
        }
    }
    for file in files {
        let path = file.path.as_str();
        let mut folder = path;
        while let Some((parent, _)) = folder.rsplit_once('/') {
            if let Some(other) = seen.get(&parent.to_lowercase()) {
                return Err(invalid(&format!(
                    "{other} is a file, but {path} needs a folder of that name; exclude one"
                )));
            }
            folder = parent;
        }
    }
    let mut sizes = HashMap::with_capacity(files.len());
    for file in files {
        // Partial files are named after their digest, so one digest must mean one file.
        if let Some((other, size)) = sizes.insert(file.digest, (&file.path, file.size))
            && size != file.size
        {
            return Err(invalid(&format!(
                "{other} of {size} bytes and {} of {} bytes are listed with the same digest; exclude one",
                file.path, file.size
            )));
        }
    }
    let total = files.iter().try_fold(0_u64, |sum, file| sum.checked_add(file.size));
    match total.map(i64::try_from) {
        Some(Ok(_)) => Ok(()),
        _ => Err(invalid("the sizes add up to more than any volume holds")),
    }
}

fn invalid(why: &str) -> SourceError {
    SourceError::new(FailureClass::InvalidListing, format!("invalid listing: {why}"))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::model::digest::ContentDigest;
    use crate::model::path::FilePath;

    fn file(path: &str, size: u64) -> RemoteFile {
        RemoteFile {
            path: FilePath::parse(path).unwrap(),
            size,
            digest: ContentDigest::GitSha1([0; 20]),
        }
    }

    #[test]
    fn one_digest_with_two_sizes_is_refused() {
        let error = check_listing(&[file("a", 1), file("b", 1), file("c", 2)]).unwrap_err();
        assert_eq!(error.class, FailureClass::InvalidListing);
        assert!(error.message.contains("b of 1 bytes and c of 2 bytes"), "{error}");
    }

    #[rstest]
    #[case::sound(&["a", "b/a", "b/c", "bc"], None)]
    #[case::twice(&["a", "a"], Some("a is listed twice"))]
    #[case::case_only(&["README.md", "readme.md"], Some("README.md and readme.md differ only in case"))]
    #[case::case_beyond_ascii(&["Ü", "ü"], Some("differ only in case"))]
    #[case::file_as_folder(&["a/b", "a"], Some("a is a file, but a/b needs a folder"))]
    #[case::file_as_folder_in_another_case(&["A", "a/b/c"], Some("A is a file, but a/b/c needs a folder"))]
    fn a_listing(#[case] paths: &[&str], #[case] refused: Option<&str>) {
        let files: Vec<_> = paths.iter().map(|path| file(path, 1)).collect();
        match (check_listing(&files), refused) {
            (Ok(()), None) => {}
            (Err(error), Some(why)) => {
                assert_eq!(error.class, FailureClass::InvalidListing);
                assert!(error.message.contains(why), "{error}");
            }
            (result, _) => panic!("{result:?}"),
        }
    }

    #[test]
    fn sizes_that_do_not_add_up_are_refused() {
        assert!(check_listing(&[file("a", u64::MAX), file("b", 1)]).is_err());
        assert!(check_listing(&[file("a", u64::MAX / 2 + 1)]).is_err());
    }
}
