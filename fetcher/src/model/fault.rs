//! What is wrong with the bytes of a file, beyond their digest.

use std::fmt;

use super::path::FilePath;

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The file; one that is missing, too.
    pub file: FilePath,
    /// Where in it, where that is known.
    pub offset: Option<u64>,
    /// Why.
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
