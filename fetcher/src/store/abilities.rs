//! Finds out what the file system of a volume supports, by trying it once at the start.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, OFlags, fallocate};
use rustix::io::Errno;

use crate::model::error::StorageError;

/// Alignment of offset and length of direct writes that every file system accepts.
const DIRECT_WRITE_ALIGNMENT_BYTES: usize = 4096;

/// What a file system supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// It reserves space for a file; otherwise partial files are sparse.
    pub reserves: bool,
    /// Where in a file it writes.
    pub writes: Writes,
    /// It opens files with `O_DIRECT`.
    pub bypasses_cache: bool,
}

/// Where in a file a file system writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// At any offset.
    Anywhere,
    /// From start to end only (object stores behind FUSE). A closed file can be truncated and appended to.
    InOrder,
    /// From start to end only, and a closed file cannot change.
    AtOnce,
}

impl Abilities {
    /// Whether the file system writes at any offset of a file.
    pub(crate) fn writes_anywhere(self) -> bool {
        self.writes == Writes::Anywhere
    }

    /// Tries everything on a temporary file.
    pub(super) fn probe(path: &Path) -> Result<Self, StorageError> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(path)
            .map_err(StorageError::at("open", path))?;
        let found = Self::found(path, file);
        let removed = fs::remove_file(path).map_err(StorageError::at("remove", path));
        let found = found.map_err(StorageError::at("write", path))?;
        removed?;
        Ok(found)
    }

    fn found(path: &Path, file: File) -> io::Result<Self> {
        let direct = i32::try_from(OFlags::DIRECT.bits()).unwrap_or_default();
        let is_anywhere = writes_anywhere(&file)?;
        let reserves = fallocate(
            &file,
            FallocateFlags::empty(),
            0,
            4 * DIRECT_WRITE_ALIGNMENT_BYTES as u64,
        )
        .map_err(io::Error::from);
        let reserves = is_supported(reserves)?;
        let bypasses_cache = is_supported(OpenOptions::new().write(true).custom_flags(direct).open(path))?;
        // File systems that write in order allow one writer of a file.
        drop(file);
        Ok(Self {
            reserves,
            writes: match is_anywhere {
                true => Writes::Anywhere,
                false if continues_files(path)? => Writes::InOrder,
                false => Writes::AtOnce,
            },
            bypasses_cache,
        })
    }
}

/// Writes at a later offset before an earlier one, and reads both back.
fn writes_anywhere(file: &File) -> io::Result<bool> {
    let offsets = [2 * DIRECT_WRITE_ALIGNMENT_BYTES as u64, 0];
    for offset in offsets {
        if !is_supported(file.write_all_at(&offset.to_le_bytes(), offset))? {
            return Ok(false);
        }
    }
    for offset in offsets {
        let mut read = [0; 8];
        if !is_supported(file.read_exact_at(&mut read, offset))? || read != offset.to_le_bytes() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes and closes a file, truncates it, appends to it, and reads it back.
fn continues_files(path: &Path) -> io::Result<bool> {
    const PAGE: [u8; DIRECT_WRITE_ALIGNMENT_BYTES] = [1; DIRECT_WRITE_ALIGNMENT_BYTES];
    const MORE: [u8; 8] = [2; 8];
    let continued = || -> io::Result<Vec<u8>> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        file.write_all_at(&PAGE, 0)?;
        file.write_all_at(&PAGE, DIRECT_WRITE_ALIGNMENT_BYTES as u64)?;
        file.sync_data()?;
        drop(file);
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        file.set_len(DIRECT_WRITE_ALIGNMENT_BYTES as u64)?;
        file.write_all_at(&MORE, DIRECT_WRITE_ALIGNMENT_BYTES as u64)?;
        file.sync_data()?;
        drop(file);
        fs::read(path)
    };
    match continued() {
        Ok(read) => Ok(read == [&PAGE[..], &MORE].concat()),
        failed => is_supported(failed),
    }
}

/// Whether a trial succeeded. Errors other than a lack of support are returned, such as those of a full volume.
fn is_supported<T>(trial: io::Result<T>) -> io::Result<bool> {
    const NOT_SUPPORTED: [Errno; 7] = [
        Errno::NOTSUP,
        Errno::NOSYS,
        Errno::INVAL,
        Errno::SPIPE,
        Errno::PERM,
        Errno::BADF,
        Errno::ACCESS,
    ];
    match trial {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => {
            let errno = error.raw_os_error();
            let is_refusal = NOT_SUPPORTED
                .iter()
                .any(|refusal| errno == Some(refusal.raw_os_error()));
            if is_refusal { Ok(false) } else { Err(error) }
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[test]
    fn a_local_file_system_writes_anywhere_and_the_probe_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("probe");
        let abilities = Abilities::probe(&path).unwrap();
        assert!(abilities.writes_anywhere());
        assert!(continues_files(&path).unwrap());
        fs::remove_file(&path).unwrap();
        assert!(Abilities::probe(&path).is_ok());
        assert!(!path.exists());
    }

    #[rstest]
    #[case::not_supported(Errno::NOTSUP, Some(false))]
    #[case::not_there(Errno::NOSYS, Some(false))]
    #[case::no_seeking(Errno::SPIPE, Some(false))]
    #[case::full(Errno::NOSPC, None)]
    #[case::broken(Errno::IO, None)]
    #[case::read_only(Errno::ROFS, None)]
    fn a_refusal_is_no_failure(#[case] errno: Errno, #[case] expected: Option<bool>) {
        assert_eq!(is_supported::<()>(Err(errno.into())).ok(), expected);
    }

    #[test]
    fn a_file_that_cannot_be_written_at_an_earlier_place_is_written_in_order() {
        let folder = tempfile::tempdir().unwrap();
        // A file opened for appending ignores the offset of a write.
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(folder.path().join("appended"))
            .unwrap();
        assert!(!writes_anywhere(&file).unwrap());
    }
}
