//! A reader for untrusted JSON, which bounds the length of strings and reports errors by their offset in the file.

use std::io::{self, BufRead, BufReader, Read};

use serde_json::error::Category;

use super::{ParseError, at, whole_file};

/// Maximum length of a string. Names of tensors have about a hundred bytes; metadata may hold a picture.
const MAX_STRING_BYTES: u64 = 8 << 20;

/// Bytes that are read at a time.
const BUFFER_BYTES: usize = 64 << 10;

/// A stream of JSON that fails at a string that is too long.
///
/// The deserializer reads it byte by byte, so the offset of the stream is that of the deserializer.
pub(super) struct Json<R> {
    inner: BufReader<R>,
    /// Offset of the next byte in the file.
    offset: u64,
    /// Number of line breaks so far.
    line_breaks: usize,
    /// Offset of the current line.
    line: u64,
    /// Offset of the line before it.
    previous_line: u64,
    /// Offset of the last string.
    string: u64,
    /// Bytes of the current string so far; `None` outside strings.
    length: Option<u64>,
    escaped: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("a string in it is longer than {} MiB", MAX_STRING_BYTES >> 20)]
struct TooLong;

impl<R: Read> Json<R> {
    /// A reader of JSON that begins at this offset of the file.
    pub(super) fn new(inner: R, start: u64) -> Self {
        Self {
            inner: BufReader::with_capacity(BUFFER_BYTES, inner),
            offset: start,
            line_breaks: 0,
            line: start,
            previous_line: start,
            string: start,
            length: None,
            escaped: false,
        }
    }

    /// The next byte, without consuming it.
    pub(super) fn peek(&mut self) -> io::Result<Option<u8>> {
        Ok(self.inner.fill_buf()?.first().copied())
    }

    /// Offset of the last string.
    pub(super) fn last_string(&self) -> u64 {
        self.string
    }

    /// Converts an error of the deserializer; `what` names the JSON in the message.
    pub(super) fn parse_error(&self, error: serde_json::Error, what: &str) -> ParseError {
        if error.is_io() {
            let error = io::Error::from(error);
            return match error.get_ref().and_then(|inner| inner.downcast_ref::<TooLong>()) {
                Some(TooLong) => at(self.string, format!("{what}: {TooLong}")),
                None => ParseError::Unreadable(error),
            };
        }
        let cause = match error.classify() {
            Category::Eof => format!("{what} ends in the middle: {error}"),
            _ => format!("{what} is not valid JSON: {error}"),
        };
        // The deserializer fails at the last byte it read or at the one before, which may be on the previous line.
        let line = match error.line().checked_sub(1) {
            Some(breaks) if breaks == self.line_breaks => self.line,
            Some(breaks) if breaks + 1 == self.line_breaks => self.previous_line,
            _ => return whole_file(cause),
        };
        // Columns count from one; column zero is the line break before.
        at((line + error.column() as u64).saturating_sub(1), cause)
    }

    /// Tracks strings and lines.
    fn track(&mut self, byte: u8) -> Result<(), TooLong> {
        match (self.length, byte) {
            (None, b'"') => (self.length, self.string) = (Some(0), self.offset),
            (None, _) => {}
            (Some(_), b'"') if !self.escaped => self.length = None,
            (Some(length), _) => {
                if length >= MAX_STRING_BYTES {
                    return Err(TooLong);
                }
                self.escaped = byte == b'\\' && !self.escaped;
                self.length = Some(length + 1);
            }
        }
        self.offset += 1;
        if byte == b'\n' {
            self.line_breaks += 1;
            (self.previous_line, self.line) = (self.line, self.offset);
        }
        Ok(())
    }
}

impl<R: Read> Read for Json<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        for byte in &buffer[..read] {
            self.track(*byte)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
        Ok(read)
    }
}
