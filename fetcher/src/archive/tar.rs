//! Reads the entries of a tar as a stream.
//!
//! The length of headers is bounded, so that an archive cannot exhaust memory. Entries other than files, folders and
//! links are refused.

use std::io::{self, Read};

use tar::{EntryType, Header, PaxExtensions};

use super::error::{Fault, Located};

const BLOCK_BYTES: u64 = 512;

/// A block of zeros; two of them end a tar.
const ZERO_BLOCK: [u8; 512] = [0; 512];

/// Maximum length of an extension header; a path or a size needs less.
const MAX_EXTENSION_BYTES: u64 = 64 << 10;

/// The kind of an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file with its size in bytes.
    File(u64),
    Folder,
    /// A link with its target, relative to the folder of the link.
    Symlink(String),
    /// A link with its target, relative to the root of the archive.
    HardLink(String),
}

/// An entry exactly as the archive has it: untrusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) kind: Kind,
    /// Offset of its header in the tar, in bytes.
    pub(super) offset: u64,
}

/// A reader of a tar.
pub(super) struct Tar<R> {
    reader: R,
    /// Bytes read so far.
    offset: u64,
    /// Unread bytes of the current file.
    left: u64,
    /// Maximum number of bytes to read.
    limit: u64,
}

/// Values from extension headers, which precede the header of their entry.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    is_sparse: bool,
}

impl<R: Read> Tar<R> {
    /// A reader that fails after `limit` bytes.
    pub(super) fn new(reader: R, limit: u64) -> Self {
        Self {
            reader,
            offset: 0,
            left: 0,
            limit,
        }
    }

    /// The next entry; `None` after the last. Skips unread bytes of the current file.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, Located> {
        self.skip(self.left)?;
        self.left = 0;
        self.skip(self.offset.next_multiple_of(BLOCK_BYTES) - self.offset)?;
        let offset = self.offset;
        let mut extensions = Extensions::default();
        loop {
            let Some(header) = self.header()? else {
                self.drain()?;
                return Ok(None);
            };
            let kind = header.entry_type();
            let is_extension = kind.is_gnu_longname()
                || kind.is_gnu_longlink()
                || kind.is_pax_local_extensions()
                || kind.is_pax_global_extensions();
            if !is_extension {
                return self.entry(&header, extensions, offset).map(Some);
            }
            let text = self.extension(&header)?;
            let fault = extensions.add(kind, &text).err();
            if let Some(fault) = fault {
                return Err(self.fault(fault, None));
            }
        }
    }

    /// Reads bytes of the current file; 0 at its end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Located> {
        let length = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.read_some(&mut buffer[..length])?;
        if read == 0 && length > 0 {
            return Err(self.fault(Fault::Truncated, None));
        }
        self.left -= read as u64;
        Ok(read)
    }

    /// A fault at the current offset.
    pub(super) fn fault(&self, fault: Fault, entry: Option<&str>) -> Located {
        Located {
            fault,
            offset: self.offset,
            entry: entry.map(str::to_owned),
        }
    }

    fn entry(&mut self, header: &Header, extensions: Extensions, offset: u64) -> Result<Entry, Located> {
        let path = extensions.path.unwrap_or_else(|| header.path_bytes().into_owned());
        let shown = String::from_utf8_lossy(&path).into_owned();
        let at = |fault| Located {
            fault,
            offset,
            entry: Some(shown.clone()),
        };
        let path = String::from_utf8(path).map_err(|_| at(Fault::NotUtf8))?;
        if extensions.is_sparse {
            return Err(at(Fault::Sparse));
        }
        let link = || {
            let link = extensions.link.clone();
            let link = link.or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned));
            String::from_utf8(link.unwrap_or_default()).map_err(|_| at(Fault::NotUtf8))
        };
        let kind = match header.entry_type() {
            // Oldest convention of tar: a file whose path ends in a slash is a folder.
            EntryType::Regular if path.ends_with('/') => Kind::Folder,
            EntryType::Regular | EntryType::Continuous => {
                let size = extensions.size.map_or_else(|| header.entry_size(), Ok);
                Kind::File(size.map_err(|_| at(Fault::Header))?)
            }
            EntryType::Directory => Kind::Folder,
            EntryType::Symlink => Kind::Symlink(link()?),
            EntryType::Link => Kind::HardLink(link()?),
            EntryType::GNUSparse => return Err(at(Fault::Sparse)),
            EntryType::Char | EntryType::Block => return Err(at(Fault::Kind("a device"))),
            EntryType::Fifo => return Err(at(Fault::Kind("a pipe"))),
            _ => return Err(at(Fault::Kind("an entry of unknown type"))),
        };
        if let Kind::File(size) = kind {
            self.left = size;
        }
        Ok(Entry { path, kind, offset })
    }

    /// The next header; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<Header>, Located> {
        let mut block = ZERO_BLOCK;
        self.fill(&mut block)?;
        if block == ZERO_BLOCK {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        // The checksum field counts as spaces.
        let others = block
            .iter()
            .enumerate()
            .filter(|(place, _)| !(148..156).contains(place));
        let sum = 8 * u32::from(b' ') + others.map(|(_, byte)| u32::from(*byte)).sum::<u32>();
        match header.cksum() {
            Ok(expected) if expected == sum => Ok(Some(header)),
            _ => {
                // The offset of the fault is that of the header.
                self.offset -= BLOCK_BYTES;
                Err(self.fault(Fault::Header, None))
            }
        }
    }

    /// The text of an extension header.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, Located> {
        let length = header.entry_size().map_err(|_| self.fault(Fault::Header, None))?;
        if length > MAX_EXTENSION_BYTES {
            return Err(self.fault(Fault::LongHeader(length), None));
        }
        let mut text = vec![0; usize::try_from(length).unwrap_or_default()];
        self.fill(&mut text)?;
        self.skip(length.next_multiple_of(BLOCK_BYTES) - length)?;
        Ok(text)
    }

    fn fill(&mut self, mut buffer: &mut [u8]) -> Result<(), Located> {
        while !buffer.is_empty() {
            let read = self.read_some(buffer)?;
            if read == 0 {
                return Err(self.fault(Fault::Truncated, None));
            }
            buffer = &mut buffer[read..];
        }
        Ok(())
    }

    fn skip(&mut self, mut bytes: u64) -> Result<(), Located> {
        let mut buffer = [0; 4096];
        while bytes > 0 {
            let length = usize::try_from(bytes).unwrap_or(usize::MAX).min(buffer.len());
            self.fill(&mut buffer[..length])?;
            bytes -= length as u64;
        }
        Ok(())
    }

    /// Reads to the end, so that the decompressor checks its own end mark and checksum.
    fn drain(&mut self) -> Result<(), Located> {
        let mut buffer = [0; 4096];
        while self.read_some(&mut buffer)? > 0 {}
        Ok(())
    }

    fn read_some(&mut self, buffer: &mut [u8]) -> Result<usize, Located> {
        loop {
            match self.reader.read(buffer) {
                Ok(read) => {
                    self.offset += read as u64;
                    if self.offset > self.limit {
                        return Err(self.fault(Fault::Bomb(self.limit), None));
                    }
                    return Ok(read);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.fault(Fault::Unreadable(error), None)),
            }
        }
    }
}

impl Extensions {
    /// Reads the values of one extension header.
    fn add(&mut self, kind: EntryType, text: &[u8]) -> Result<(), Fault> {
        // GNU tar ends names with a zero byte.
        let name = || text.split(|byte| *byte == 0).next().unwrap_or_default().to_vec();
        if kind.is_gnu_longname() {
            self.path = Some(name());
            return Ok(());
        }
        if kind.is_gnu_longlink() {
            self.link = Some(name());
            return Ok(());
        }
        for record in PaxExtensions::new(text) {
            let record = record.map_err(|_| Fault::Header)?;
            let (key, value) = (record.key_bytes(), record.value_bytes());
            let affects_files = matches!(key, b"path" | b"linkpath" | b"size") || key.starts_with(b"GNU.sparse");
            if kind.is_pax_global_extensions() && affects_files {
                return Err(Fault::GlobalHeader);
            }
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|size| size.parse().ok());
                    self.size = Some(size.ok_or(Fault::Header)?);
                }
                _ if affects_files => self.is_sparse = true,
                _ => {}
            }
        }
        Ok(())
    }
}
