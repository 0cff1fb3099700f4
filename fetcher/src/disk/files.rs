//! Durable writes: files and folders are synced in an order that is safe across a crash.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::model::error::StorageError;

/// Creates a folder and its missing parents.
pub(crate) fn create_folders(path: &Path) -> Result<(), StorageError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o775)
        .create(path)
        .map_err(StorageError::at("create folder", path))
}

/// Opens a file for reading; fails on a symbolic link.
pub(crate) fn open_plain(path: &Path) -> io::Result<File> {
    // Infallible: the flags are small positive constants.
    let flags = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

/// The size of a regular file in bytes; `None` if the path is missing, a folder or a link.
pub(crate) fn size_of_plain_file(path: &Path) -> Option<u64> {
    let metadata = fs::symlink_metadata(path).ok()?;
    metadata.is_file().then_some(metadata.len())
}

/// Creates the parent folder of a path and removes any file at the path.
pub(crate) fn make_way(path: &Path) -> Result<(), StorageError> {
    if let Some(folder) = path.parent() {
        create_folders(folder)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StorageError::at("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Hard-links a verified file to a second path, or copies it where links are unsupported.
///
/// The copy is written to a temporary path first, so that the final path never holds a partial file.
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

/// Syncs a folder, so that the names in it are durable.
pub(crate) fn sync_folder(path: &Path) -> Result<(), StorageError> {
    File::open(path)
        .and_then(|folder| folder.sync_all())
        .map_err(StorageError::at("sync folder", path))
}

/// Makes a published file readable by everyone and writable by nobody.
///
/// Only for published files: the next run must be able to write to a partial one. A file that already has the mode is
/// left alone, since it may belong to another user.
pub(crate) fn make_read_only(path: &Path) -> Result<(), StorageError> {
    let mode = fs::symlink_metadata(path)
        .map_err(StorageError::at("read", path))?
        .permissions()
        .mode();
    if mode & 0o7777 == 0o444 {
        return Ok(());
    }
    fs::set_permissions(path, Permissions::from_mode(0o444)).map_err(StorageError::at("change the mode of", path))
}

/// Makes a published folder readable and searchable by everyone; keeps its setgid bit.
pub(crate) fn make_searchable(path: &Path) -> Result<(), StorageError> {
    let mode = fs::metadata(path)
        .map_err(StorageError::at("read", path))?
        .permissions()
        .mode();
    fs::set_permissions(path, Permissions::from_mode(mode & 0o2000 | 0o755))
        .map_err(StorageError::at("change the mode of", path))
}

/// Replaces a small file atomically and durably.
pub(crate) fn write_whole(path: &Path, text: &[u8]) -> Result<(), StorageError> {
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

/// Removes a folder and everything in it, if it exists.
pub(crate) fn remove_tree(path: &Path) -> Result<(), StorageError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(StorageError::at("remove", path)(error)),
        _ => Ok(()),
    }
}
