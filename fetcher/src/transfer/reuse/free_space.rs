//! Checks before the first byte that the disk has enough free space for the fetch.

use std::os::unix::fs::MetadataExt;

use super::Reuse;
use super::content::Content;
use crate::disk::free_space::{free, too_little};
use crate::model::error::StorageError;
use crate::store::Store;

/// Fails if the contents to fetch, and `extra_bytes` more, do not fit on the disk.
pub(crate) fn require(
    store: &Store,
    contents: &[Content],
    reuse: &Reuse,
    extra_bytes: u64,
) -> Result<(), StorageError> {
    let needed = needed(store, contents, reuse).saturating_add(extra_bytes);
    let free = free(store.root()).map_err(StorageError::at("read the free space of", store.root()))?;
    if needed > free {
        return Err(StorageError::at("reserve space in", store.root())(too_little(
            needed,
            Some(free),
        )));
    }
    Ok(())
}

/// Bytes that are neither on disk nor reserved.
fn needed(store: &Store, contents: &[Content], reuse: &Reuse) -> u64 {
    contents
        .iter()
        .filter(|content| !reuse.may_have(store, content))
        .map(|content| {
            let reserved =
                std::fs::metadata(store.partial(&content.remote.digest)).map_or(0, |metadata| metadata.blocks() * 512);
            content.remote.size.saturating_sub(reserved)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::disk::files::create_folders;
    use crate::model::digest::ContentDigest;
    use crate::model::path::FilePath;
    use crate::model::remote_file::RemoteFile;

    #[test]
    fn a_file_that_an_earlier_run_staged_needs_no_space() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let content = |path: &str, size, byte| {
            let remote = RemoteFile {
                path: FilePath::parse(path).unwrap(),
                size,
                digest: ContentDigest::Sha256([byte; 32]),
            };
            Content {
                files: 1,
                place: remote.path.clone(),
                other_places: Vec::new(),
                remote,
            }
        };
        let contents = [
            content("sub/staged", 1000, 1),
            content("cut", 400, 2),
            content("missing", 30, 3),
        ];
        let reuse = Reuse::scan(&store, "abc").unwrap();
        assert_eq!(needed(&store, &contents, &reuse), 1430);
        let staged = |content: &Content| store.staged("abc", &content.place);
        create_folders(staged(&contents[0]).parent().unwrap()).unwrap();
        std::fs::write(staged(&contents[0]), [0; 1000]).unwrap();
        std::fs::write(staged(&contents[1]), [0; 399]).unwrap();
        assert_eq!(
            needed(&store, &contents, &reuse),
            430,
            "a file of another length is not reused"
        );
    }

    #[test]
    fn the_error_of_a_full_disk_names_the_space_needed_and_free() {
        let error = too_little(5 << 30, Some(100 << 20));
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(
            error.to_string(),
            "no space left: needs 5.0Gi more, only 100.0Mi is free; enlarge the volume or free space on it"
        );
    }
}
