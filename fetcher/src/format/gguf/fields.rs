//! Reads the fields of a GGUF header one after the other. Lengths are compared with the file size before reading.

use std::io::{BufReader, Read, Seek};

use crate::format::{ParseError, at};

/// Maximum length of a header. A vocabulary of a million words takes about twenty MiB.
const MAX_HEADER_BYTES: u64 = 256 << 20;

/// Maximum length of a key or name, from the format.
const MAX_NAME_BYTES: u64 = 65535;

/// Maximum depth of nested lists. Known writers nest none.
const MAX_LIST_DEPTH: u32 = 4;

/// The type of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    U16,
    U32,
    U64,
    I32,
    Text,
    List,
    /// Another type, with its size in bytes.
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

    /// Size in bytes; `None` for types of variable size.
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

/// A reader of a header.
pub(super) struct Fields<F> {
    file: BufReader<F>,
    offset: u64,
    size: u64,
    /// Lengths and counts have 32 bits, as in version 1.
    has_narrow_counts: bool,
}

impl<F: Read + Seek> Fields<F> {
    pub(super) fn new(file: F, size: u64) -> Self {
        Self {
            file: BufReader::with_capacity(64 << 10, file),
            offset: 0,
            size,
            has_narrow_counts: false,
        }
    }

    /// Switches to lengths and counts of 32 bits.
    pub(super) fn use_narrow_counts(&mut self) {
        self.has_narrow_counts = true;
    }

    /// Offset of the next field.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Advances the offset; fails if the file or the longest header ends before.
    fn advance(&mut self, bytes: u64) -> Result<(), ParseError> {
        let end = self.offset.saturating_add(bytes);
        if end > self.size {
            let size = self.size;
            return Err(at(
                size,
                format!("its header needs {end} bytes or more, but the file has only {size} bytes; it is truncated"),
            ));
        }
        if end > MAX_HEADER_BYTES {
            let max = MAX_HEADER_BYTES >> 20;
            return Err(at(
                self.offset,
                format!("its header is longer than {max} MiB; it is damaged"),
            ));
        }
        self.offset = end;
        Ok(())
    }

    pub(super) fn bytes<const N: usize>(&mut self) -> Result<[u8; N], ParseError> {
        self.advance(N as u64)?;
        let mut bytes = [0; N];
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, ParseError> {
        self.bytes().map(u16::from_le_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, ParseError> {
        self.bytes().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, ParseError> {
        self.bytes().map(u64::from_le_bytes)
    }

    /// A length or a count.
    pub(super) fn count(&mut self) -> Result<u64, ParseError> {
        if self.has_narrow_counts {
            self.u32().map(Into::into)
        } else {
            self.u64()
        }
    }

    pub(super) fn kind(&mut self) -> Result<Kind, ParseError> {
        let here = self.offset;
        let code = self.u32()?;
        Kind::of(code).ok_or_else(|| at(here, format!("a value is of type {code}, which does not exist")))
    }

    /// A key or a name; `what` names it in the error.
    pub(super) fn name(&mut self, what: &str) -> Result<Vec<u8>, ParseError> {
        let here = self.offset;
        let length = self.count()?;
        if length > MAX_NAME_BYTES {
            return Err(at(
                here,
                format!("{what} has a length of {length} bytes, more than {MAX_NAME_BYTES}; the file is damaged"),
            ));
        }
        self.advance(length)?;
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.file.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    pub(super) fn skip_value(&mut self, kind: Kind, depth: u32) -> Result<(), ParseError> {
        if let Some(bytes) = kind.bytes() {
            return self.skip(bytes);
        }
        if kind == Kind::Text {
            let length = self.count()?;
            return self.skip(length);
        }
        let here = self.offset;
        if depth >= MAX_LIST_DEPTH {
            return Err(at(here, "a list is nested too deeply; the file is damaged"));
        }
        let kind = self.kind()?;
        let count = self.count()?;
        if let Some(bytes) = kind.bytes() {
            return self.skip(bytes.saturating_mul(count));
        }
        // Each value has at least its length, so the bound on the header also bounds this loop.
        for _ in 0..count {
            self.skip_value(kind, depth + 1)?;
        }
        Ok(())
    }

    fn skip(&mut self, bytes: u64) -> Result<(), ParseError> {
        self.advance(bytes)?;
        // Fits: it is below the bound on the header.
        self.file.seek_relative(i64::try_from(bytes).unwrap_or_default())?;
        Ok(())
    }
}
