//! Checks the format of weights from their headers.
//!
//! A digest only proves that the bytes are the listed ones. This module finds files that were truncated before they were
//! listed, missing shards, and indexes that name tensors which no shard has.
//!
//! Parsers are pure and do not trust their input: no length or count in a file decides how much memory they allocate.
//! Tensors are not read, and most values are skipped.

mod check;
mod gguf;
mod index;
mod json;
mod safetensors;
mod shards;
mod spans;
mod tensors;

use std::io;

use crate::model::fault::Fault;
use crate::model::path::FilePath;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::check::check_anything;
pub(crate) use self::check::{Contents, Held, check};
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::gguf::read as read_gguf;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::index::read as read_index;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::safetensors::read as read_safetensors;
pub(crate) use self::shards::require_whole_sets;

/// A violation of a format, and its position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// Offset from the start of the file in bytes; `None` if the file is wrong as a whole.
    pub(crate) offset: Option<u64>,
    /// What is wrong.
    pub(crate) cause: String,
}

/// Why a header cannot be parsed.
#[derive(Debug)]
pub(crate) enum ParseError {
    /// The file violates its format.
    Malformed(Malformed),
    /// Reading the file failed.
    Unreadable(io::Error),
}

impl From<io::Error> for ParseError {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// An error at an offset of the file.
fn at(offset: u64, cause: impl Into<String>) -> ParseError {
    ParseError::Malformed(Malformed {
        offset: Some(offset),
        cause: cause.into(),
    })
}

/// An error of a file as a whole.
fn whole_file(cause: impl Into<String>) -> ParseError {
    ParseError::Malformed(Malformed {
        offset: None,
        cause: cause.into(),
    })
}

/// The result of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// Faults, which prevent publication.
    pub(crate) faults: Vec<Fault>,
    /// Remarks, which are only logged.
    pub(crate) remarks: Vec<Fault>,
}

impl Findings {
    fn fault(&mut self, file: &FilePath, offset: Option<u64>, cause: impl Into<String>) {
        push(&mut self.faults, file, offset, cause.into());
    }

    fn remark(&mut self, file: &FilePath, cause: impl Into<String>) {
        push(&mut self.remarks, file, None, cause.into());
    }

    /// Records a malformed file as a fault. A file that cannot be read is an error of the volume, not a fault.
    fn record<T>(&mut self, file: &FilePath, result: Result<T, ParseError>) -> io::Result<Option<T>> {
        match result {
            Ok(header) => Ok(Some(header)),
            Err(ParseError::Unreadable(error)) => Err(error),
            Err(ParseError::Malformed(Malformed { offset, cause })) => {
                self.fault(file, offset, cause);
                Ok(None)
            }
        }
    }
}

/// Maximum number of faults and of remarks, so that a hostile file cannot exhaust memory.
const MAX_FINDINGS: usize = 100;

fn push(list: &mut Vec<Fault>, file: &FilePath, offset: Option<u64>, cause: String) {
    if list.len() < MAX_FINDINGS {
        list.push(Fault {
            file: file.clone(),
            offset,
            cause,
        });
    }
}

/// A name from a file, quoted and shortened for messages.
fn quoted(name: &str) -> String {
    const MAX_CHARS: usize = 120;
    match name.char_indices().nth(MAX_CHARS) {
        None => format!("{name:?}"),
        Some((end, _)) => format!("{:?}…", &name[..end]),
    }
}

#[cfg(test)]
mod tests;
