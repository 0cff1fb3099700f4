//! The entries of a tar, read as it streams by. What a header may ask for is bounded, so that no archive decides how
//! much memory it takes; what is not a file, a folder or a link is refused.

use std::io::{self, Read};

use tar::{EntryType, Header, PaxExtensions};

use super::error::{Fault, Located};

const BLOCK: u64 = 512;

/// A block of nothing: two of them are the end.
const EMPTY: [u8; 512] = [0; 512];

/// A header that holds a path or a size needs no more.
const LONGEST_HEADER: u64 = 64 << 10;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// With so many bytes.
    File(u64),
    Folder,
    /// To another entry, named from where the link is.
    Symlink(String),
    /// To another entry, named from the archive's root.
    HardLink(String),
}

/// An entry as it stands in the archive: nothing of it is to be trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) kind: Kind,
    /// Where its header begins.
    pub(super) offset: u64,
}

/// A tar.
pub(super) struct Tar<R> {
    reader: R,
    /// Bytes read.
    offset: u64,
    /// Bytes of the present file that were not read yet.
    left: u64,
    /// Bytes that may be read in all.
    limit: u64,
}

/// What headers before an entry's own say of it.
#[derive(Default)]
struct Extensions {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    is_sparse: bool,
}

impl<R: Read> Tar<R> {
    /// A tar that unpacks to no more than so many bytes.
    pub(super) fn new(reader: R, limit: u64) -> Self {
        Self {
            reader,
            offset: 0,
            left: 0,
            limit,
        }
    }

    /// The next entry; `None` after the last. What was not read of the file before is passed over.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, Located> {
        self.skip(self.left)?;
        self.left = 0;
        self.skip(self.offset.next_multiple_of(BLOCK) - self.offset)?;
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

    /// Reads bytes of the present file; none at its end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Located> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.read_some(&mut buffer[..most])?;
        if read == 0 && most > 0 {
            return Err(self.fault(Fault::Cut, None));
        }
        self.left -= read as u64;
        Ok(read)
    }

    /// A fault where the archive was read to.
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
            // As old as tar: a file whose path ends in a slash is a folder.
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
            _ => return Err(at(Fault::Kind("of an unknown kind"))),
        };
        if let Kind::File(size) = kind {
            self.left = size;
        }
        Ok(Entry { path, kind, offset })
    }

    /// The next header; `None` where the archive ends.
    fn header(&mut self) -> Result<Option<Header>, Located> {
        let mut block = EMPTY;
        self.fill(&mut block)?;
        if block == EMPTY {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        // The checksum is counted as if it were blanks itself.
        let others = block
            .iter()
            .enumerate()
            .filter(|(place, _)| !(148..156).contains(place));
        let sum = 8 * u32::from(b' ') + others.map(|(_, byte)| u32::from(*byte)).sum::<u32>();
        match header.cksum() {
            Ok(expected) if expected == sum => Ok(Some(header)),
            _ => {
                self.offset -= BLOCK;
                Err(self.fault(Fault::Header, None))
            }
        }
    }

    /// The text of a header that says something of the next one.
    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, Located> {
        let length = header.entry_size().map_err(|_| self.fault(Fault::Header, None))?;
        if length > LONGEST_HEADER {
            return Err(self.fault(Fault::LongHeader(length), None));
        }
        let mut text = vec![0; usize::try_from(length).unwrap_or_default()];
        self.fill(&mut text)?;
        self.skip(length.next_multiple_of(BLOCK) - length)?;
        Ok(text)
    }

    fn fill(&mut self, mut buffer: &mut [u8]) -> Result<(), Located> {
        while !buffer.is_empty() {
            let read = self.read_some(buffer)?;
            if read == 0 {
                return Err(self.fault(Fault::Cut, None));
            }
            buffer = &mut buffer[read..];
        }
        Ok(())
    }

    fn skip(&mut self, mut bytes: u64) -> Result<(), Located> {
        let mut buffer = [0; 4096];
        while bytes > 0 {
            let most = usize::try_from(bytes).unwrap_or(usize::MAX).min(buffer.len());
            self.fill(&mut buffer[..most])?;
            bytes -= most as u64;
        }
        Ok(())
    }

    /// Reads to the end, for only there it is known whether what it was compressed with is whole.
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
    fn add(&mut self, kind: EntryType, text: &[u8]) -> Result<(), Fault> {
        // Ends with a zero byte, in what GNU's tar writes.
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
            let names = matches!(key, b"path" | b"linkpath" | b"size") || key.starts_with(b"GNU.sparse");
            if kind.is_pax_global_extensions() && names {
                return Err(Fault::GlobalHeader);
            }
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.link = Some(value.to_vec()),
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|size| size.parse().ok());
                    self.size = Some(size.ok_or(Fault::Header)?);
                }
                _ if names => self.is_sparse = true,
                _ => {}
            }
        }
        Ok(())
    }
}
