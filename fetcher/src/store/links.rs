//! Links and notes that a layout has in addition to the files.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{Link, Note};
use crate::disk::files::{make_way, size_of_plain_file};
use crate::model::error::StorageError;

/// Whether the folder has this link with this target.
pub(crate) fn has_link(folder: &Path, link: &Link) -> bool {
    fs::read_link(folder.join(link.path.as_str())).is_ok_and(|target| target == Path::new(&link.target))
}

/// Whether the folder has this note with this text.
pub(crate) fn has_note(folder: &Path, note: &Note) -> bool {
    let path = folder.join(note.path.as_str());
    size_of_plain_file(&path) == Some(note.text.len() as u64)
        && fs::read(&path).is_ok_and(|text| text == note.text.as_bytes())
}

/// Creates a link. The caller syncs the folder.
pub(super) fn set_link(folder: &Path, link: &Link) -> Result<(), StorageError> {
    if has_link(folder, link) {
        return Ok(());
    }
    let path = folder.join(link.path.as_str());
    make_way(&path)?;
    symlink(&link.target, &path).map_err(StorageError::at("link", &path))
}

/// Writes a note. The caller syncs the folder.
pub(super) fn set_note(folder: &Path, note: &Note) -> Result<(), StorageError> {
    let path = folder.join(note.path.as_str());
    make_way(&path)?;
    File::create(&path)
        .and_then(|mut file| {
            file.write_all(note.text.as_bytes())?;
            file.sync_all()
        })
        .map_err(StorageError::at("write", &path))
}
