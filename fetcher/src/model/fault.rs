//! A fault in a file's format, which its digest does not show.

use std::fmt;

use super::path::FilePath;

/// A fault in the format of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file, which may be a missing one.
    pub file: FilePath,
    /// Offset in bytes, if known.
    pub offset: Option<u64>,
    /// What is wrong.
    pub cause: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.offset {
            None => write!(f, "{}: {}", self.file, self.cause),
            Some(offset) => write!(f, "{} at byte {offset}: {}", self.file, self.cause),
        }
    }
}
