//! The fields of a GGUF header, read one after the other. What a header says of a length is held against the size of
//! the file before anything is read.

use std::io::{BufReader, Read, Seek};

use crate::format::{Refusal, at};

/// Bytes of the longest header. A vocabulary of a million words has some twenty MiB.
const LONGEST_HEADER: u64 = 256 << 20;

/// The longest key or name, as the format has it.
const LONGEST_NAME: u64 = 65535;

/// Lists in lists; no known writer makes any.
const DEEPEST: u32 = 4;

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    U16,
    U32,
    U64,
    I32,
    Text,
    List,
    /// Any other, of so many bytes.
    Other(u64),
}

impl Kind {
    fn of(code: u32) -> Option<Self> {
        Some(match code {
            0 | 1 | 7 => Self::Other(1),
            2 => Self::U16,
            3 => Self::Other(2),
            4 => Self::U32,
            5 => Self::I32,
            6 => Self::Other(4),
            8 => Self::Text,
            9 => Self::List,
            10 => Self::U64,
            11 | 12 => Self::Other(8),
            _ => return None,
        })
    }

    /// Bytes of one; `None` where each has its own.
    fn bytes(self) -> Option<u64> {
        match self {
            Self::U16 => Some(2),
            Self::U32 | Self::I32 => Some(4),
            Self::U64 => Some(8),
            Self::Other(bytes) => Some(bytes),
            Self::Text | Self::List => None,
        }
    }
}

/// A header under way.
pub(super) struct Fields<F> {
    file: BufReader<F>,
    offset: u64,
    size: u64,
    /// Lengths have 32 bits, as in version 1.
    narrow: bool,
}

impl<F: Read + Seek> Fields<F> {
    pub(super) fn new(file: F, size: u64) -> Self {
        Self {
            file: BufReader::with_capacity(64 << 10, file),
            offset: 0,
            size,
            narrow: false,
        }
    }

    pub(super) fn narrow(&mut self) {
        self.narrow = true;
    }

    /// How far the header was read.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Goes on by so many bytes, which must be there.
    fn advance(&mut self, bytes: u64) -> Result<(), Refusal> {
        let end = self.offset.saturating_add(bytes);
        if end > self.size {
            let size = self.size;
            return Err(at(
                size,
                format!("its header goes on to byte {end} or beyond, but it has only {size} bytes; it is cut short"),
            ));
        }
        if end > LONGEST_HEADER {
            let most = LONGEST_HEADER >> 20;
            return Err(at(
                self.offset,
                format!("its header is longer than {most} MiB; it is damaged"),
            ));
        }
        self.offset = end;
        Ok(())
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], Refusal> {
        self.advance(N as u64)?;
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, Refusal> {
        self.bytes().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Refusal> {
        self.bytes().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Refusal> {
        self.bytes().map(u64::from_le_bytes)
    }

    /// A length or a count.
    pub(super) fn count(&mut self) -> Result<u64, Refusal> {
        if self.narrow {
            self.u32().map(Into::into)
        } else {
            self.u64()
        }
    }

    pub(super) fn kind(&mut self) -> Result<Kind, Refusal> {
        let here = self.offset;
        let code = self.u32()?;
        Kind::of(code).ok_or_else(|| at(here, format!("a value is of type {code}, which does not exist")))
    }

    /// A key or a name; `what` it is, for the error.
    pub(super) fn name(&mut self, what: &str) -> Result<Vec<u8>, Refusal> {
        let here = self.offset;
        let length = self.count()?;
        if length > LONGEST_NAME {
            return Err(at(
                here,
                format!("{what} would be {length} bytes long, more than {LONGEST_NAME}; it is damaged"),
            ));
        }
        self.advance(length)?;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn skip_value(&mut self, kind: Kind, depth: u32) -> Result<(), Refusal> {
        if let Some(bytes) = kind.bytes() {
            return self.skip(bytes);
        }
        if kind == Kind::Text {
            let length = self.count()?;
            return self.skip(length);
        }
        let here = self.offset;
        if depth >= DEEPEST {
            return Err(at(here, "its values are lists of lists of lists; it is damaged"));
        }
        let kind = self.kind()?;
        let count = self.count()?;
        if let Some(bytes) = kind.bytes() {
            return self.skip(bytes.saturating_mul(count));
        }
        // Each takes at least its length: the bound on the header bounds this, too.
        for _ in 0..count {
            self.skip_value(kind, depth + 1)?;
        }
        Ok(())
    }

    fn skip(&mut self, bytes: u64) -> Result<(), Refusal> {
        self.advance(bytes)?;
        // Below the bound on the header.
        self.file.seek_relative(i64::try_from(bytes).unwrap_or_default())?;
        Ok(())
    }
}
