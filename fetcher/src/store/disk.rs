//! Writing so that it lasts: files and folders synced in the order that makes a crash harmless.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::OFlags;

use super::{Link, Note};
use crate::model::error::StorageError;

/// Makes a folder and those above it.
pub(crate) fn create_folders(path: &Path) -> Result<(), StorageError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o775)
        .create(path)
        .map_err(StorageError::at("create folder", path))
}

/// Opens a file for reading, but not through a link.
pub(crate) fn open_plain(path: &Path) -> io::Result<File> {
    // The flags are small positive constants.
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// The size of a regular file; `None` when nothing, a folder or a link is there.
pub(crate) fn size_of_plain_file(path: &Path) -> Option<u64> {
    let metadata = fs::symlink_metadata(path).ok()?;
    metadata.is_file().then_some(metadata.len())
}

/// Whether a link is there and leads where it should.
pub(crate) fn leads(folder: &Path, link: &Link) -> bool {
    fs::read_link(folder.join(link.path.as_str())).is_ok_and(|target| target == Path::new(&link.target))
}

/// Whether a note is there and says what it should.
pub(crate) fn says(folder: &Path, note: &Note) -> bool {
    let path = folder.join(note.path.as_str());
    size_of_plain_file(&path) == Some(note.text.len() as u64)
        && fs::read(&path).is_ok_and(|text| text == note.text.as_bytes())
}

/// Sets a link. Its name becomes durable with its folder.
pub(super) fn set_link(folder: &Path, link: &Link) -> Result<(), StorageError> {
    if leads(folder, link) {
        return Ok(());
    }
    let path = folder.join(link.path.as_str());
    make_way(&path)?;
    symlink(&link.target, &path).map_err(StorageError::at("link", &path))
}

/// Writes a note. Its name becomes durable with its folder.
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

/// Makes the folder of something new, and removes what has its name.
fn make_way(path: &Path) -> Result<(), StorageError> {
    if let Some(folder) = path.parent() {
        create_folders(folder)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StorageError::at("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Gives a proven file a second name, or a second copy where the file system has no such thing. The copy is made
/// under a temporary name: a name that counts as proven never holds half a file.
pub(crate) fn clone_file(from: &Path, to: &Path, temporary: &Path) -> Result<(), StorageError> {
    make_way(to)?;
    if fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    let mut source = open_plain(from).map_err(StorageError::at("open", from))?;
    let mut copy = File::create(temporary).map_err(StorageError::at("create", temporary))?;
    io::copy(&mut source, &mut copy)
        .and_then(|_| copy.sync_all())
        .map_err(StorageError::at("copy", to))?;
    fs::rename(temporary, to).map_err(StorageError::at("rename", temporary))
}

/// Makes the names in a folder durable.
pub(crate) fn sync_folder(path: &Path) -> Result<(), StorageError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(StorageError::at("sync folder", path))
}

/// Lets everyone read a published file and nobody change it. Not before it is published: a file under way must stay
/// open to the next run. One that has its mode already may be somebody else's.
pub(super) fn make_read_only(path: &Path) -> Result<(), StorageError> {
    let mode = fs::symlink_metadata(path)
        .map_err(StorageError::at("read", path))?
        .permissions()
        .mode();
    if mode & 0o7777 == 0o444 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(0o444)).map_err(StorageError::at("change the mode of", path))
}

/// Lets others read a published folder and find what is in it. Keeps the bit that hands its group down.
pub(super) fn make_searchable(path: &Path) -> Result<(), StorageError> {
    let mode = fs::metadata(path)
        .map_err(StorageError::at("read", path))?
        .permissions()
        .mode();
    fs::set_permissions(path, Permissions::from_mode(mode & 0o2000 | 0o755))
        .map_err(StorageError::at("change the mode of", path))
}

/// Replaces a small file as a whole, durably: its old or its new text is there at any moment.
pub(super) fn write_whole(path: &Path, text: &[u8]) -> Result<(), StorageError> {
    let temporary = path.with_extension("new");
    File::create(&temporary)
        .and_then(|mut file| {
            file.write_all(text)?;
            file.sync_all()
        })
        .map_err(StorageError::at("write", &temporary))?;
    fs::rename(&temporary, path).map_err(StorageError::at("rename", &temporary))?;
    path.parent().map_or(Ok(()), sync_folder)
}

/// Removes a folder and everything in it, if it is there.
pub(super) fn remove_tree(path: &Path) -> Result<(), StorageError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StorageError::at("remove", path)(error)),
        _ => Ok(()),
    }
}
