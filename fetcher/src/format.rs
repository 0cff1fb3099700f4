//! Whether weights are what their names say, found from their headers alone: a digest proves that the bytes are the
//! ones the source lists, not that they are a model. Files that were cut short before they were listed, shards that
//! are missing, indexes that name tensors which are in no shard.
//!
//! Parsers are pure and do not trust what they read: no length or count of a file's own makes them take memory.
//! Tensors are not read, and values are not looked at.

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

/// What is wrong in some bytes, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Malformed {
    /// From the start of the file; `None` where it is wrong as a whole.
    pub(crate) offset: Option<u64>,
    /// Why.
    pub(crate) cause: String,
}

/// Why a file gives no description.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// It is not of its format.
    Malformed(Malformed),
    /// It cannot be read.
    Unreadable(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Unreadable(error)
    }
}

/// A refusal at a place.
fn at(offset: u64, cause: impl Into<String>) -> Refusal {
    Refusal::Malformed(Malformed {
        offset: Some(offset),
        cause: cause.into(),
    })
}

/// A refusal of a file as a whole.
fn wrong(cause: impl Into<String>) -> Refusal {
    Refusal::Malformed(Malformed {
        offset: None,
        cause: cause.into(),
    })
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Findings {
    /// What must not be published.
    pub(crate) faults: Vec<Fault>,
    /// What a person may want to know.
    pub(crate) remarks: Vec<Fault>,
}

impl Findings {
    fn fault(&mut self, file: &FilePath, offset: Option<u64>, cause: impl Into<String>) {
        push(&mut self.faults, file, offset, cause.into());
    }

    fn remark(&mut self, file: &FilePath, cause: impl Into<String>) {
        push(&mut self.remarks, file, None, cause.into());
    }

    /// Sorts what a parser said of a file. A file that cannot be read is the volume's failure, not the file's.
    fn sort<T>(&mut self, file: &FilePath, result: Result<T, Refusal>) -> io::Result<Option<T>> {
        match result {
            Ok(description) => Ok(Some(description)),
            Err(Refusal::Unreadable(error)) => Err(error),
            Err(Refusal::Malformed(Malformed { offset, cause })) => {
                self.fault(file, offset, cause);
                Ok(None)
            }
        }
    }
}

/// More are of no use to anyone, and a hostile file must not fill the memory.
const MOST: usize = 100;

fn push(list: &mut Vec<Fault>, file: &FilePath, offset: Option<u64>, cause: String) {
    if list.len() < MOST {
        list.push(Fault {
            file: file.clone(),
            offset,
            cause,
        });
    }
}

/// The beginning of a name that a file gives, for messages.
fn shown(name: &str) -> String {
    const LONGEST: usize = 120;
    match name.char_indices().nth(LONGEST) {
        None => format!("{name:?}"),
        Some((end, _)) => format!("{:?}…", &name[..end]),
    }
}

#[cfg(test)]
mod tests;
