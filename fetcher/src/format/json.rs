//! JSON that may be hostile, read as a stream: it is deserialized as it comes, and no string of it is longer than one
//! that can be held.

use std::io::{self, BufReader, Read};

use serde_json::error::Category;

use super::{Refusal, at, wrong};

/// Bytes of the longest string. Names of tensors have some hundred; metadata holds a picture or a training's settings.
const LONGEST: u64 = 8 << 20;

/// Bytes read at once.
const BUFFER: usize = 64 << 10;

/// Passes bytes on, and fails at a string that is too long.
pub(super) struct ShortStrings<R> {
    inner: R,
    /// Bytes of the string under way.
    length: Option<u64>,
    escaped: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("a string of it is longer than {} MiB", LONGEST >> 20)]
struct TooLong;

/// A stream of JSON.
pub(super) fn stream<R: Read>(inner: R) -> BufReader<ShortStrings<R>> {
    BufReader::with_capacity(
        BUFFER,
        ShortStrings {
            inner,
            length: None,
            escaped: false,
        },
    )
}

impl<R: Read> Read for ShortStrings<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        for byte in &buffer[..read] {
            match (self.length, byte) {
                (None, b'"') => self.length = Some(0),
                (None, _) => {}
                (Some(_), b'"') if !self.escaped => self.length = None,
                (Some(length), _) => {
                    if length >= LONGEST {
                        return Err(io::Error::new(io::ErrorKind::InvalidData, TooLong));
                    }
                    self.escaped = *byte == b'\\' && !self.escaped;
                    self.length = Some(length + 1);
                }
            }
        }
        Ok(read)
    }
}

/// What an error means that the deserializer gave; `start` is where the JSON begins in its file.
pub(super) fn refusal(error: serde_json::Error, start: u64, what: &str) -> Refusal {
    if error.is_io() {
        let error = io::Error::from(error);
        return match error.get_ref().and_then(|inner| inner.downcast_ref::<TooLong>()) {
            Some(TooLong) => wrong(format!("{what}: {TooLong}")),
            None => Refusal::Unreadable(error),
        };
    }
    let cause = match error.classify() {
        Category::Eof => format!("{what} ends in the middle: {error}"),
        _ => format!("{what} cannot be read: {error}"),
    };
    // On the first line a column is an offset; further on it is in the text of the error.
    if error.line() == 1 {
        at(start + (error.column() as u64).saturating_sub(1), cause)
    } else {
        wrong(cause)
    }
}
