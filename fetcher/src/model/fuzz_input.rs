//! How fuzz targets split their input and what they require of a path.

use std::path::{Component, Path};

use super::path::FilePath;

/// The first line, and what follows it.
pub(crate) fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == b'\n') {
        None => (bytes, &[]),
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
    }
}

/// A path that is let through leads below the folder it is joined to.
pub(crate) fn require_below(path: &FilePath) {
    let mut components = Path::new(path.as_str()).components();
    assert!(components.all(|component| matches!(component, Component::Normal(_))));
    assert!(!path.as_str().starts_with(".modelcache/"));
}
