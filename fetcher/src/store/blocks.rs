//! Checksums of the blocks of verified content, with which a repair locates damaged blocks.
//!
//! They only locate damage: a repaired file is hashed as a whole before it is published. So CRC-32C is enough, which
//! every block has since it arrived. A file has one line that names the content, four bytes per block, and a checksum of
//! all that. A file that does not match its content is ignored.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::journal::Key;
use super::manifest::published;
use super::{INTERNAL, Store, content_name};
use crate::disk::files::create_folders;
use crate::model::digest::ContentDigest;
use crate::model::error::StorageError;

/// The folder of the checksums, below the internal folder.
const FOLDER: &str = "blocks";

/// Bytes of a checksum.
const CHECKSUM_BYTES: usize = 4;

impl Store {
    /// Writes the checksums of a content, without syncing: the file's own checksum detects a torn one.
    pub(crate) fn keep_block_checksums(&self, key: Key, checksums: &[u32]) -> Result<(), StorageError> {
        create_folders(&self.internal(FOLDER))?;
        let path = path(self.root(), &key.digest);
        let temporary = path.with_extension("new");
        fs::write(&temporary, encode(key, checksums)).map_err(StorageError::at("write", &temporary))?;
        fs::rename(&temporary, &path).map_err(StorageError::at("rename", &temporary))
    }

    /// The checksums of a content; `None` if they are missing or damaged.
    pub(crate) fn block_checksums(&self, key: Key) -> Option<Vec<u32>> {
        let path = path(self.root(), &key.digest);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "ignoring block checksums: the file cannot be read");
                return None;
            }
        };
        let checksums = decode(&bytes, key);
        if checksums.is_none() {
            tracing::warn!(path = %path.display(), "ignoring block checksums: the file is damaged or of other blocks");
        }
        checksums
    }
}

/// Removes the checksums of contents that are no longer published.
pub(super) fn remove_unpublished(root: &Path) -> Result<(), StorageError> {
    let folder = root.join(INTERNAL).join(FOLDER);
    let entries = match fs::read_dir(&folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(StorageError::at("read", &folder))?,
    };
    let known: HashSet<PathBuf> = published(root)?
        .iter()
        .flat_map(|manifest| &manifest.files)
        .map(|file| path(root, &file.digest))
        .collect();
    for entry in entries {
        let path = entry.map_err(StorageError::at("read", &folder))?.path();
        if !known.contains(&path) {
            fs::remove_file(&path).map_err(StorageError::at("remove", &path))?;
        }
    }
    Ok(())
}

fn path(root: &Path, digest: &ContentDigest) -> PathBuf {
    root.join(INTERNAL).join(FOLDER).join(content_name(digest))
}

/// The first line of the file, which names the content.
fn head(key: Key) -> String {
    format!("modelcache blocks 1 {} {} {}\n", key.digest, key.size, key.block_bytes)
}

fn encode(key: Key, checksums: &[u32]) -> Vec<u8> {
    let mut bytes = head(key).into_bytes();
    bytes.extend(checksums.iter().flat_map(|checksum| checksum.to_le_bytes()));
    let checksum = crc32c::crc32c(&bytes);
    bytes.extend(checksum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8], key: Key) -> Option<Vec<u32>> {
    let (sealed, seal) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
    if crc32c::crc32c(sealed) != u32::from_le_bytes(*seal) {
        return None;
    }
    let (checksums, rest) = sealed.strip_prefix(head(key).as_bytes())?.as_chunks::<CHECKSUM_BYTES>();
    let is_whole = rest.is_empty() && checksums.len() as u64 == key.blocks();
    is_whole.then(|| checksums.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect())
}

/// Decodes any bytes as the checksums of three blocks, and checks a round trip; for the fuzz targets.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn read_anything(bytes: &[u8]) {
    let key = |blocks: u64| Key {
        digest: ContentDigest::Sha256([7; 32]),
        size: blocks * 4096,
        block_bytes: 4096,
    };
    if let Some(checksums) = decode(bytes, key(3)) {
        assert!(checksums.len() == 3 && encode(key(3), &checksums) == bytes);
    }
    let (words, _) = bytes.as_chunks::<CHECKSUM_BYTES>();
    let checksums: Vec<u32> = words.iter().map(|word| u32::from_le_bytes(*word)).collect();
    let (key, other) = (key(checksums.len() as u64), key(checksums.len() as u64 + 1));
    let written = encode(key, &checksums);
    assert!(decode(&written, key) == Some(checksums) && decode(&written, other).is_none());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> Key {
        Key {
            digest: ContentDigest::Sha256([7; 32]),
            size: 10_000,
            block_bytes: 4096,
        }
    }

    #[test]
    fn what_is_kept_is_read_back_for_the_same_content_and_blocks_only() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(store.block_checksums(key()), None);
        store.keep_block_checksums(key(), &[1, 2, 3]).unwrap();
        assert_eq!(store.block_checksums(key()), Some(vec![1, 2, 3]));
        let other_blocks = Key {
            block_bytes: 8192,
            ..key()
        };
        assert_eq!(store.block_checksums(other_blocks), None);
        remove_unpublished(folder.path()).unwrap();
        assert_eq!(store.block_checksums(key()), None, "nothing is published");
    }

    proptest! {
        #[test]
        fn damaged_checksums_are_none(place in 0_usize..1000, bit in 0_u8..8, cut in proptest::option::of(0_usize..1000)) {
            let mut bytes = encode(key(), &[1, 2, 3]);
            let place = place % bytes.len();
            match cut {
                Some(cut) => bytes.truncate(cut % bytes.len()),
                None => bytes[place] ^= 1 << bit,
            }
            prop_assert_eq!(decode(&bytes, key()), None);
        }
    }
}
