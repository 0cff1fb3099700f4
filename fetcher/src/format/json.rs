//! JSON that may be hostile, read as a stream: it is deserialized as it comes, and no string of it is longer than one
//! that can be held. Where it is wrong is told as a byte of its file, not as a line and a column of it.

use std::io::{self, BufRead, BufReader, Read};

use serde_json::error::Category;

use super::{Refusal, at, wrong};

/// Bytes of the longest string. Names of tensors have some hundred; metadata holds a picture or a training's settings.
const LONGEST: u64 = 8 << 20;

/// Bytes read at once.
const BUFFER: usize = 64 << 10;

/// A stream of JSON, which fails at a string that is too long. The deserializer reads it byte by byte, so its place is
/// that of the stream.
pub(super) struct Json<R> {
    inner: BufReader<R>,
    /// The next byte, counted from the start of the file.
    place: u64,
    /// Line breaks so far, and where the line under way and the one before it begin.
    breaks: usize,
    line: u64,
    line_before: u64,
    /// Where the last string begins.
    string: u64,
    /// Bytes of the string under way.
    length: Option<u64>,
    escaped: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("a string of it is longer than {} MiB", LONGEST >> 20)]
struct TooLong;

impl<R: Read> Json<R> {
    /// Reads JSON that begins at a byte of its file.
    pub(super) fn new(inner: R, start: u64) -> Self {
        Self {
            inner: BufReader::with_capacity(BUFFER, inner),
            place: start,
            breaks: 0,
            line: start,
            line_before: start,
            string: start,
            length: None,
            escaped: false,
        }
    }

    /// The next byte, which stays there.
    pub(super) fn peek(&mut self) -> io::Result<Option<u8>> {
        Ok(self.inner.fill_buf()?.first().copied())
    }

    /// Where the last string begins.
    pub(super) fn last_string(&self) -> u64 {
        self.string
    }

    /// What an error means that the deserializer gave; `what` it has read.
    pub(super) fn refusal(&self, error: serde_json::Error, what: &str) -> Refusal {
        if error.is_io() {
            let error = io::Error::from(error);
            return match error.get_ref().and_then(|inner| inner.downcast_ref::<TooLong>()) {
                Some(TooLong) => at(self.string, format!("{what}: {TooLong}")),
                None => Refusal::Unreadable(error),
            };
        }
        let cause = match error.classify() {
            Category::Eof => format!("{what} ends in the middle: {error}"),
            _ => format!("{what} cannot be read: {error}"),
        };
        // The byte that was read last is the one it failed at, or the one after it.
        let line = match error.line().checked_sub(1) {
            Some(breaks) if breaks == self.breaks => self.line,
            Some(breaks) if breaks + 1 == self.breaks => self.line_before,
            _ => return wrong(cause),
        };
        // Columns are counted from one; a column of none is the line break before it.
        at((line + error.column() as u64).saturating_sub(1), cause)
    }

    fn pass(&mut self, byte: u8) -> Result<(), TooLong> {
        match (self.length, byte) {
            (None, b'"') => (self.length, self.string) = (Some(0), self.place),
            (None, _) => {}
            (Some(_), b'"') if !self.escaped => self.length = None,
            (Some(length), _) => {
                if length >= LONGEST {
                    return Err(TooLong);
                }
                self.escaped = byte == b'\\' && !self.escaped;
                self.length = Some(length + 1);
            }
        }
        self.place += 1;
        if byte == b'\n' {
            self.breaks += 1;
            (self.line_before, self.line) = (self.line, self.place);
        }
        Ok(())
    }
}

impl<R: Read> Read for Json<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        for byte in &buffer[..read] {
            self.pass(*byte)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
        Ok(read)
    }
}
