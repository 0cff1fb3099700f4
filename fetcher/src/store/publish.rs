//! Publication, the only step that makes files visible. A crash at any point leaves the old or the new revision, both
//! verified.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use modelcache_crds::names::CURRENT;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::blocks::remove_unpublished;
use super::links::{has_link, has_note, set_link, set_note};
use super::manifest::manifest_path;
use super::{PublishedPath, REVISIONS, Store, StoredFile, StoredManifest};
use crate::disk::files::{
    create_folders, make_read_only, make_searchable, remove_tree, size_of_plain_file, sync_folder, write_whole,
};
use crate::model::error::StorageError;

/// Publishes a staged or published revision, and lets `current` name it.
pub(super) fn publish(store: &Store, manifest: &StoredManifest) -> Result<PublishedPath, StorageError> {
    move_to_revisions(store, manifest)?;
    point_current(store, &manifest.id)?;
    clean(store);
    Ok(PublishedPath(format!("{REVISIONS}/{}", manifest.id)))
}

/// Moves a complete revision to its final name. `current` and the partial files of other fetches stay.
pub(super) fn move_to_revisions(store: &Store, manifest: &StoredManifest) -> Result<(), StorageError> {
    let staging = store.staging(&manifest.id);
    let revision = store.revision(&manifest.id);
    if staging.exists() {
        require_files(&staging, manifest)?;
        write_layout(&staging, manifest)?;
        finish_folder(&staging, manifest)?;
        // Before the move: a folder below `revisions` always has a manifest.
        write_manifest(store, manifest)?;
        replace_revision(store, &staging, &revision)?;
    } else {
        require_files(&revision, manifest)?;
        require_layout(&revision, manifest)?;
        write_manifest(store, manifest)?;
        // A killed run may have moved it there without making its name durable.
        sync_folder(&store.root().join(REVISIONS))?;
    }
    Ok(())
}

/// Fails if a file is missing or has another size.
fn require_files(folder: &Path, manifest: &StoredManifest) -> Result<(), StorageError> {
    for file in &manifest.files {
        let path = folder.join(file.place().as_str());
        if size_of_plain_file(&path) != Some(file.size) {
            let missing = io::Error::new(
                io::ErrorKind::NotFound,
                "it is missing or has another size; fetch again",
            );
            return Err(StorageError::at("publish", &path)(missing));
        }
    }
    Ok(())
}

/// Fails if a link or note of the layout is missing or differs.
fn require_layout(folder: &Path, manifest: &StoredManifest) -> Result<(), StorageError> {
    let links = manifest.links.iter().filter(|link| !has_link(folder, link));
    let notes = manifest.notes.iter().filter(|note| !has_note(folder, note));
    let wrong = links.map(|link| &link.path).chain(notes.map(|note| &note.path)).next();
    wrong.map_or(Ok(()), |path| {
        let missing = io::Error::new(io::ErrorKind::NotFound, "it differs from the layout; fetch again");
        Err(StorageError::at("publish", &folder.join(path.as_str()))(missing))
    })
}

/// Writes the links and notes of the layout. [`finish_folder`] makes their names durable.
fn write_layout(folder: &Path, manifest: &StoredManifest) -> Result<(), StorageError> {
    manifest.links.iter().try_for_each(|link| set_link(folder, link))?;
    manifest.notes.iter().try_for_each(|note| set_note(folder, note))
}

/// Removes entries that are not in the manifest, sets permissions, and makes every name durable.
fn finish_folder(folder: &Path, manifest: &StoredManifest) -> Result<(), StorageError> {
    let files = manifest.files.iter().map(StoredFile::place);
    let files = files.chain(manifest.notes.iter().map(|note| &note.path));
    let files: BTreeSet<PathBuf> = files.map(|path| folder.join(path.as_str())).collect();
    let links = manifest.links.iter().map(|link| folder.join(link.path.as_str()));
    let links: BTreeSet<PathBuf> = links.collect();
    let mut pending = vec![folder.to_owned()];
    while let Some(current) = pending.pop() {
        for entry in fs::read_dir(&current).map_err(StorageError::at("read", &current))? {
            let entry = entry.map_err(StorageError::at("read", &current))?;
            let path = entry.path();
            if entry.file_type().map_err(StorageError::at("read", &path))?.is_dir() {
                pending.push(path);
            } else if files.contains(&path) {
                make_read_only(&path)?;
            } else if !links.contains(&path) {
                fs::remove_file(&path).map_err(StorageError::at("remove", &path))?;
            }
        }
        make_searchable(&current)?;
        sync_folder(&current)?;
    }
    Ok(())
}

fn write_manifest(store: &Store, manifest: &StoredManifest) -> Result<(), StorageError> {
    let path = manifest_path(store.root(), &manifest.id);
    let text = serde_json::to_vec_pretty(manifest).map_err(|error| StorageError::at("write", &path)(error.into()))?;
    if fs::read(&path).is_ok_and(|existing| existing == text) {
        return path.parent().map_or(Ok(()), sync_folder);
    }
    write_whole(&path, &text)
}

/// Moves a complete revision to its final name, or exchanges it with a damaged revision of the same name.
fn replace_revision(store: &Store, staging: &Path, revision: &Path) -> Result<(), StorageError> {
    if revision.exists() {
        // Not exchanged from `staging`, whose files count as verified: a crash right after the exchange would leave
        // the damaged revision there.
        let swap = store.internal("swap");
        create_folders(&swap)?;
        let fresh = swap.join("fresh");
        fs::rename(staging, &fresh).map_err(StorageError::at("rename", staging))?;
        match renameat_with(CWD, &fresh, CWD, revision, RenameFlags::EXCHANGE) {
            Ok(()) => {}
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                exchange_in_steps(&swap, &fresh, staging, revision)?;
            }
            Err(error) => return Err(StorageError::at("exchange", revision)(error.into())),
        }
        sync_folder(&store.root().join(REVISIONS))?;
        return remove_tree(&swap);
    }
    fs::rename(staging, revision).map_err(StorageError::at("rename", staging))?;
    sync_folder(&store.root().join(REVISIONS))?;
    staging.parent().map_or(Ok(()), sync_folder)
}

/// Replaces a damaged revision on a file system without an atomic exchange.
///
/// The fresh revision goes back to `staging` first. After a crash it is found there, and `swap` is removed.
pub(super) fn exchange_in_steps(
    swap: &Path,
    fresh: &Path,
    staging: &Path,
    revision: &Path,
) -> Result<(), StorageError> {
    fs::rename(fresh, staging).map_err(StorageError::at("rename", fresh))?;
    staging.parent().map_or(Ok(()), sync_folder)?;
    fs::rename(revision, swap.join("old")).map_err(StorageError::at("rename", revision))?;
    fs::rename(staging, revision).map_err(StorageError::at("rename", staging))
}

/// Lets `current` name a revision, by renaming a new link over the old one.
fn point_current(store: &Store, id: &str) -> Result<(), StorageError> {
    let link = store.root().join(CURRENT);
    let target = Path::new(REVISIONS).join(id);
    if fs::read_link(&link).is_ok_and(|existing| existing == target) {
        return sync_folder(store.root());
    }
    let temporary = store.internal("current");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(StorageError::at("remove", &temporary)(error));
        }
        _ => {}
    }
    symlink(&target, &temporary).map_err(StorageError::at("link", &temporary))?;
    fs::rename(&temporary, &link).map_err(StorageError::at("rename", &temporary))?;
    sync_folder(store.root())
}

/// Removes partial and staged files of earlier fetches. Errors are only logged: the revision is published.
fn clean(store: &Store) {
    for folder in [store.partials(), store.internal("staging")] {
        if let Err(error) = remove_tree(&folder).and_then(|()| create_folders(&folder)) {
            tracing::warn!(error = %error, "failed to remove files of earlier fetches; they take up space");
        }
    }
    if let Err(error) = remove_unpublished(store.root()) {
        tracing::warn!(error = %error, "failed to remove block checksums of files that are no longer published");
    }
}
