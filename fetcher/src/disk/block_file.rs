//! Reads and writes blocks of a partial file.
//!
//! Blocks bypass the page cache where the file system supports it. That avoids a second copy of every byte, and the page
//! cache, which is charged to the container's memory.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::memory::{ALIGNMENT, Memory};

/// A partial file, open for buffered and direct I/O.
#[derive(Debug)]
pub(crate) struct Disk {
    file: File,
    /// The same file, opened with `O_DIRECT`.
    direct: Option<File>,
    /// The file system accepts `O_DIRECT` on open, but fails direct reads or writes.
    direct_failed: AtomicBool,
}

impl Disk {
    /// Opens or creates a file; `bypass` asks for direct I/O where the file system supports it.
    pub(crate) fn open(path: &Path, bypass: bool) -> io::Result<Self> {
        let open = |flags: OFlags| {
            OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .custom_flags(i32::try_from((flags | OFlags::NOFOLLOW).bits()).unwrap_or_default())
                .open(path)
        };
        Ok(Self {
            file: open(OFlags::empty())?,
            direct: bypass.then(|| open(OFlags::DIRECT).ok()).flatten(),
            direct_failed: AtomicBool::new(false),
        })
    }

    /// The buffered file, for everything other than block reads and writes.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Writes a block.
    pub(crate) fn write(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        match self
            .direct(bytes, offset)
            .map(|direct| direct.write_all_at(bytes, offset))
        {
            Some(done) if !self.is_unsupported(&done) => done,
            _ => self.file.write_all_at(bytes, offset),
        }
    }

    /// Reads a block.
    pub(crate) fn read(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        match self
            .direct(bytes, offset)
            .map(|direct| direct.read_exact_at(bytes, offset))
        {
            Some(done) if !self.is_unsupported(&done) => done,
            _ => self.file.read_exact_at(bytes, offset),
        }
    }

    /// Reads `length` bytes through a small buffer and passes each part to `take`, in order.
    pub(crate) fn read_in_parts(
        &self,
        memory: &mut Memory,
        mut offset: u64,
        length: u64,
        mut take: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        let end = offset + length;
        while offset < end {
            let left = usize::try_from(end - offset).unwrap_or(usize::MAX);
            let part = memory.first(left.min(memory.capacity()));
            self.read(part, offset)?;
            take(part);
            offset += part.len() as u64;
        }
        Ok(())
    }

    /// The direct file, if buffer, length and offset are aligned for it.
    fn direct(&self, bytes: &[u8], offset: u64) -> Option<&File> {
        let is_aligned = bytes.as_ptr().align_offset(ALIGNMENT) == 0
            && bytes.len().is_multiple_of(ALIGNMENT)
            && offset.is_multiple_of(ALIGNMENT as u64);
        self.direct
            .as_ref()
            .filter(|_| is_aligned && !self.direct_failed.load(Ordering::Relaxed))
    }

    /// Whether direct I/O failed as unsupported, or for its alignment. If so, later calls do not try it again.
    fn is_unsupported(&self, done: &io::Result<()>) -> bool {
        let errno = done.as_ref().err().and_then(io::Error::raw_os_error);
        let is_unsupported = [Errno::INVAL, Errno::NOTSUP]
            .iter()
            .any(|unsupported| errno == Some(unsupported.raw_os_error()));
        if is_unsupported {
            self.direct_failed.store(true, Ordering::Relaxed);
        }
        is_unsupported
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_read_back_as_written_whether_or_not_they_may_bypass_the_page_cache() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(&folder.path().join("file"), true).unwrap();
        let mut memory = Memory::new(2 * ALIGNMENT);
        for (byte, length, offset) in [
            (1, 2 * ALIGNMENT, 0),
            (2, 100, 2 * ALIGNMENT as u64),
            (3, ALIGNMENT, 4096),
        ] {
            memory.first(length).fill(byte);
            disk.write(memory.first(length), offset).unwrap();
        }
        let whole = std::fs::read(folder.path().join("file")).unwrap();
        let expected = [vec![1; ALIGNMENT], vec![3; ALIGNMENT], vec![2; 100]].concat();
        assert!(whole == expected);
        disk.read(memory.first(ALIGNMENT), 4096).unwrap();
        assert_eq!(memory.first(ALIGNMENT), [3; ALIGNMENT]);
        disk.read(memory.first(100), 8192).unwrap();
        assert_eq!(memory.first(100), [2; 100]);
    }

    #[test]
    fn what_is_read_in_parts_is_all_of_it_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(&folder.path().join("file"), true).unwrap();
        let whole: Vec<u8> = (0..=250).cycle().take(3 * ALIGNMENT + 5).collect();
        disk.write(&whole, 0).unwrap();
        let mut memory = Memory::new(ALIGNMENT);
        for (offset, length) in [(0, whole.len()), (ALIGNMENT, 2 * ALIGNMENT), (ALIGNMENT, 0)] {
            let mut read = Vec::new();
            disk.read_in_parts(&mut memory, offset as u64, length as u64, |part| {
                read.extend_from_slice(part);
            })
            .unwrap();
            assert!(read == whole[offset..offset + length]);
        }
        let beyond = disk.read_in_parts(&mut memory, 0, whole.len() as u64 + 1, |_| {});
        assert_eq!(beyond.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_file_system_that_refuses_direct_access_is_asked_once() {
        let folder = tempfile::tempdir().unwrap();
        let disk = Disk::open(&folder.path().join("file"), true).unwrap();
        assert!(disk.is_unsupported(&Err(Errno::INVAL.into())));
        assert!(!disk.is_unsupported(&Err(Errno::NOSPC.into())));
        assert!(disk.direct(Memory::new(ALIGNMENT).first(ALIGNMENT), 0).is_none());
    }
}
