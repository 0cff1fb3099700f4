//! The one way files become visible. It cannot be called halfway, and a crash at any point leaves either the old
//! state or the new one, both proven.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use modelcache_crds::names::CURRENT;
use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::blocks::forget_unpublished;
use super::links::{leads, says, set_link, set_note};
use super::manifest::manifest_path;
use super::{PublishedPath, REVISIONS, Store, StoredFile, StoredManifest};
use crate::disk::files::{
    create_folders, make_read_only, make_searchable, remove_tree, size_of_plain_file, sync_folder, write_whole,
};
use crate::model::error::StorageError;

pub(super) fn publish(store: &Store, manifest: &StoredManifest) -> Result<PublishedPath, StorageError> {
    put_in_place(store, manifest)?;
    point_current(store, &manifest.id)?;
    clean(store);
    Ok(PublishedPath(format!("{REVISIONS}/{}", manifest.id)))
}

/// Has a complete revision under its final name, and nothing else: `current` goes on naming what it names, and what
/// another fetch has under way stays.
pub(super) fn put_in_place(store: &Store, manifest: &StoredManifest) -> Result<(), StorageError> {
    let staging = store.staging(&manifest.id);
    let revision = store.revision(&manifest.id);
    if staging.exists() {
        require_files(&staging, manifest)?;
        lay_out(&staging, manifest)?;
        settle(&staging, manifest)?;
        // The manifest first: a folder below `revisions` always has one.
        write_manifest(store, manifest)?;
        move_into_place(store, &staging, &revision)?;
    } else {
        require_files(&revision, manifest)?;
        require_layout(&revision, manifest)?;
        write_manifest(store, manifest)?;
        // It may have been moved there by a run that was killed before the name was durable.
        sync_folder(&store.root().join(REVISIONS))?;
    }
    Ok(())
}

/// Refuses a folder in which a file is missing or has another size.
fn require_files(folder: &Path, manifest: &StoredManifest) -> Result<(), StorageError> {
    for file in &manifest.files {
        let path = folder.join(file.place().as_str());
        if size_of_plain_file(&path) != Some(file.size) {
            let missing = io::Error::new(io::ErrorKind::NotFound, "it is not there with its size; fetch again");
            return Err(StorageError::at("publish", &path)(missing));
        }
    }
    Ok(())
}

/// Refuses a folder that lacks something beside its files.
fn require_layout(folder: &Path, manifest: &StoredManifest) -> Result<(), StorageError> {
    let links = manifest.links.iter().filter(|link| !leads(folder, link));
    let notes = manifest.notes.iter().filter(|note| !says(folder, note));
    let wrong = links.map(|link| &link.path).chain(notes.map(|note| &note.path)).next();
    wrong.map_or(Ok(()), |path| {
        let missing = io::Error::new(io::ErrorKind::NotFound, "it is not as its layout wants it; fetch again");
        Err(StorageError::at("publish", &folder.join(path.as_str()))(missing))
    })
}

/// Writes what stands beside the files. Names are made durable when the folder is settled.
fn lay_out(folder: &Path, manifest: &StoredManifest) -> Result<(), StorageError> {
    manifest.links.iter().try_for_each(|link| set_link(folder, link))?;
    manifest.notes.iter().try_for_each(|note| set_note(folder, note))
}

/// Removes what is not of the manifest, opens the rest to readers and makes every name durable.
fn settle(folder: &Path, manifest: &StoredManifest) -> Result<(), StorageError> {
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
    if fs::read(&path).is_ok_and(|there| there == text) {
        return path.parent().map_or(Ok(()), sync_folder);
    }
    write_whole(&path, &text)
}

/// Moves a complete revision under its final name. A damaged revision of the same name is exchanged for it.
fn move_into_place(store: &Store, staging: &Path, revision: &Path) -> Result<(), StorageError> {
    if revision.exists() {
        // Not exchanged from `staging`, whose content counts as proven: a crash right after the exchange would
        // leave the damaged revision there.
        let swap = store.own("swap");
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

/// Exchanges a damaged revision for a fresh one on a file system that cannot do it at once. The fresh one goes back to
/// `staging` first, where it is found again after a crash; `swap` is thrown away then.
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

/// Lets `current` name a revision, by replacing the link as a whole.
fn point_current(store: &Store, id: &str) -> Result<(), StorageError> {
    let link = store.root().join(CURRENT);
    let target = Path::new(REVISIONS).join(id);
    if fs::read_link(&link).is_ok_and(|there| there == target) {
        return sync_folder(store.root());
    }
    let temporary = store.own("current");
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

/// Removes what earlier fetches left under way. The revision is published: a failure here must not hide that.
fn clean(store: &Store) {
    for folder in [store.partials(), store.own("staging")] {
        if let Err(error) = remove_tree(&folder).and_then(|()| create_folders(&folder)) {
            tracing::warn!(error = %error, "cannot remove what earlier fetches left; it takes up room");
        }
    }
    if let Err(error) = forget_unpublished(store.root()) {
        tracing::warn!(error = %error, "cannot remove the checksums of what is not published any more");
    }
}
