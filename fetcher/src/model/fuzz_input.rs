//! Splits the input of fuzz targets and checks the paths that they parse.

use std::path::{Component, Path};

use super::path::FilePath;

/// Splits input after its first line.
pub(crate) fn line(bytes: &[u8]) -> (&[u8], &[u8]) {
    match bytes.iter().position(|byte| *byte == b'\n') {
        None => (bytes, &[]),
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
    }
}

/// Asserts that a parsed path stays below the folder it is joined to.
pub(crate) fn require_below(path: &FilePath) {
    let mut components = Path::new(path.as_str()).components();
    assert!(components.all(|component| matches!(component, Component::Normal(_))));
    assert!(!path.as_str().starts_with(".modelcache/"));
}
