//! What the file system of a volume can do, found by trying it once, before anything depends on it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{FallocateFlags, OFlags, fallocate};
use rustix::io::Errno;

use crate::model::error::StorageError;

/// What file systems want direct writes to begin at and to be a multiple of, whatever their block size.
const ALIGNMENT: usize = 4096;

/// What a file system can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// It reserves room for bytes to come; others get a sparse file.
    pub reserves: bool,
    /// Where it writes.
    pub writes: Writes,
    /// It opens files past the page cache.
    pub bypasses_cache: bool,
}

/// Where in a file a file system writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// At any place.
    Anywhere,
    /// From its beginning to its end only (object stores behind FUSE). One that was closed is cut back, and written on
    /// behind what is left.
    InOrder,
    /// The same, and one that was closed stays as it is.
    AtOnce,
}

impl Abilities {
    /// Whether it writes at any place of a file.
    pub(crate) fn writes_anywhere(self) -> bool {
        self.writes == Writes::Anywhere
    }

    /// Tries everything on a file of its own, which is gone afterwards.
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
        let reserves = fallocate(&file, FallocateFlags::empty(), 0, 4 * ALIGNMENT as u64).map_err(io::Error::from);
        let reserves = able(reserves)?;
        let bypasses_cache = able(OpenOptions::new().write(true).custom_flags(direct).open(path))?;
        // Of a file that is written in order there is one writer.
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

/// Writes a later place before an earlier one, and reads both back.
fn writes_anywhere(file: &File) -> io::Result<bool> {
    let places = [2 * ALIGNMENT as u64, 0];
    for place in places {
        if !able(file.write_all_at(&place.to_le_bytes(), place))? {
            return Ok(false);
        }
    }
    for place in places {
        let mut read = [0; 8];
        if !able(file.read_exact_at(&mut read, place))? || read != place.to_le_bytes() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes a file and closes it, cuts it back, writes it on, and reads it back.
fn continues_files(path: &Path) -> io::Result<bool> {
    const PAGE: [u8; ALIGNMENT] = [1; ALIGNMENT];
    const MORE: [u8; 8] = [2; 8];
    let continued = || -> io::Result<Vec<u8>> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        file.write_all_at(&PAGE, 0)?;
        file.write_all_at(&PAGE, ALIGNMENT as u64)?;
        file.sync_data()?;
        drop(file);
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        file.set_len(ALIGNMENT as u64)?;
        file.write_all_at(&MORE, ALIGNMENT as u64)?;
        file.sync_data()?;
        drop(file);
        fs::read(path)
    };
    match continued() {
        Ok(read) => Ok(read == [&PAGE[..], &MORE].concat()),
        refused => able(refused),
    }
}

/// Tells what a file system cannot do from what it failed at: a full or broken volume can do nothing, and that is
/// told as such.
fn able<T>(tried: io::Result<T>) -> io::Result<bool> {
    const REFUSALS: [Errno; 7] = [
        Errno::NOTSUP,
        Errno::NOSYS,
        Errno::INVAL,
        Errno::SPIPE,
        Errno::PERM,
        Errno::BADF,
        Errno::ACCESS,
    ];
    match tried {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => {
            let errno = error.raw_os_error();
            let refused = REFUSALS.iter().any(|refusal| errno == Some(refusal.raw_os_error()));
            if refused { Ok(false) } else { Err(error) }
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
        assert_eq!(able::<()>(Err(errno.into())).ok(), expected);
    }

    #[test]
    fn a_file_that_cannot_be_written_at_an_earlier_place_is_written_in_order() {
        let folder = tempfile::tempdir().unwrap();
        // Opened for appending, a file takes every byte at its end, wherever it is to go.
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .open(folder.path().join("appended"))
            .unwrap();
        assert!(!writes_anywhere(&file).unwrap());
    }
}
