//! Estimates which bytes of a revision are on disk, from names, sizes and journals.
//!
//! Needs no lock and hashes nothing, so published files may turn out to be damaged.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::journal;
use super::journal::Key;
use super::{Layout, partial, published, staging};
use crate::disk::files::size_of_plain_file;
use crate::model::error::StorageError;
use crate::model::remote_file::RemoteFile;

/// The bytes of a revision that are on disk, and those that are missing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Present {
    /// Bytes on disk.
    pub(crate) bytes: u64,
    /// Bytes to fetch; files with the same content are fetched once.
    pub(crate) missing: u64,
    /// Bytes to fetch without reserved space.
    pub(crate) room: u64,
}

/// Looks for the files of a revision below a root, which need not exist.
pub(crate) fn present(
    root: &Path,
    revision: &str,
    files: &[RemoteFile],
    block_bytes: u64,
) -> Result<Present, StorageError> {
    let complete = complete(root, revision, files)?;
    let mut present = Present::default();
    let mut seen = HashSet::new();
    for file in files {
        let content = (file.digest, file.size);
        if complete.contains(&content) {
            present.bytes += file.size;
            continue;
        }
        if !seen.insert(content) {
            continue;
        }
        let (durable, reserved) = partial_bytes(root, file, block_bytes);
        present.bytes += durable;
        present.missing += file.size - durable;
        present.room += file.size.saturating_sub(reserved);
    }
    Ok(present)
}

type Content = (crate::model::digest::ContentDigest, u64);

/// Contents that are published, or staged for this revision.
fn complete(root: &Path, revision: &str, files: &[RemoteFile]) -> Result<HashSet<Content>, StorageError> {
    let mut complete = HashSet::new();
    for manifest in published(root)? {
        let folder = root.join(manifest.folder());
        for file in manifest.files {
            if size_of_plain_file(&folder.join(file.place().as_str())) == Some(file.size) {
                complete.insert((file.digest, file.size));
            }
        }
    }
    // Files that are staged for another layout are not found, but partial files are.
    let arrangement = Layout::AsListed.arrange(revision, files);
    let staging = staging(root, &arrangement.id);
    for file in files {
        if size_of_plain_file(&staging.join(file.path.as_str())) == Some(file.size) {
            complete.insert((file.digest, file.size));
        }
    }
    Ok(complete)
}

/// Durable bytes of a partial file, and its bytes of allocated space.
fn partial_bytes(root: &Path, file: &RemoteFile, block_bytes: u64) -> (u64, u64) {
    let path = partial(root, &file.digest);
    let Ok(metadata) = fs::metadata(&path) else {
        return (0, 0);
    };
    let key = Key {
        digest: file.digest,
        size: file.size,
        block_bytes,
    };
    // An unreadable journal counts as empty.
    let blocks = journal::peek(&super::journal(&path), key).unwrap_or_default();
    let durable = blocks
        .into_iter()
        .map(|block| block * block_bytes..file.size.min((block + 1) * block_bytes))
        .filter(|place| place.end <= metadata.len())
        .map(|place| place.end - place.start)
        .sum();
    (durable, metadata.blocks() * 512)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::files::create_folders;
    use crate::model::digest::ContentDigest;
    use crate::model::path::FilePath;
    use crate::store::Store;
    use crate::store::journal::Journal;

    const BLOCK: u64 = 4096;

    fn file(path: &str, size: u64, byte: u8) -> RemoteFile {
        RemoteFile {
            path: FilePath::parse(path).unwrap(),
            size,
            digest: ContentDigest::Sha256([byte; 32]),
        }
    }

    #[test]
    fn of_a_folder_that_is_not_there_everything_is_missing_but_twins_once() {
        let files = [file("a", 100, 1), file("b", 100, 1), file("c", 7, 2)];
        let found = present(Path::new("/not/there"), "abc", &files, BLOCK).unwrap();
        let expected = Present {
            bytes: 0,
            missing: 107,
            room: 107,
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_published_staged_or_journalled_need_not_be_fetched() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let old = [file("old", 50, 1)];
        let staged = store.staged(&store.arrange("old", &old).id, &old[0].path);
        create_folders(staged.parent().unwrap()).unwrap();
        fs::write(&staged, [0; 50]).unwrap();
        store.publish("old", &old, "hub").unwrap();

        let files = [
            file("renamed", 50, 1),
            file("staged", 30, 2),
            file("under way", 10 * BLOCK, 3),
            file("missing", 9, 4),
        ];
        let staged = store.staged(&store.arrange("new", &files).id, &files[1].path);
        create_folders(staged.parent().unwrap()).unwrap();
        fs::write(&staged, [0; 30]).unwrap();
        let partial = store.partial(&files[2].digest);
        fs::write(&partial, vec![0; 8192]).unwrap();
        let sparse = fs::OpenOptions::new().write(true).open(&partial).unwrap();
        sparse.set_len(8 * BLOCK).unwrap();
        let reserved = fs::metadata(&partial).unwrap().blocks() * 512;
        let key = Key {
            digest: files[2].digest,
            size: files[2].size,
            block_bytes: BLOCK,
        };
        let (mut journal, _) = Journal::open(&store.journal(&files[2].digest), key).unwrap();
        // The last one is beyond the end of the partial file.
        journal.append(&[(0, 1), (7, 1), (9, 1)], None).unwrap();

        let found = present(folder.path(), "new", &files, BLOCK).unwrap();
        let expected = Present {
            bytes: 50 + 30 + 2 * BLOCK,
            missing: 8 * BLOCK + 9,
            room: 10 * BLOCK - reserved + 9,
        };
        assert_eq!(found, expected);
    }
}
