//! Verifies published files by hashing them again. Only reads, and needs no lock.

use std::collections::HashSet;
use std::fs::{self};
use std::io;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::{StoredFile, StoredManifest, has_link, has_note};
use crate::disk::blocking::blocking;
use crate::disk::hash::hash_file;
use crate::model::error::{FetchError, StorageError};
use crate::model::path::FilePath;
use crate::observe::progress::Progress;

/// A published file, link or note that differs from its manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Path of the file as listed, or of the link or note.
    pub file: FilePath,
    /// Path on disk, below the revision's folder.
    pub place: FilePath,
    /// The difference.
    pub kind: DamageKind,
}

/// A difference between a published file, link or note and its manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// It does not exist, or is not a regular file.
    Missing,
    /// It has another size.
    WrongSize {
        /// Size in the manifest, in bytes.
        expected: u64,
        /// Size on disk, in bytes.
        actual: u64,
    },
    /// Its bytes have another digest.
    WrongDigest {
        /// Digest in the manifest.
        expected: String,
        /// Digest of the bytes on disk.
        actual: String,
    },
    /// It is not a link with this target.
    WrongLink {
        /// Target in the manifest.
        expected: String,
    },
    /// It is not a file with this text.
    WrongText {
        /// Text in the manifest.
        expected: String,
    },
}

/// A published file that cannot be read, so that it is unknown whether it is damaged.
#[derive(Debug)]
pub struct Unreadable {
    /// Path of the file as listed.
    pub file: FilePath,
    /// Path on disk, below the revision's folder.
    pub place: FilePath,
    /// Why it cannot be read.
    pub error: StorageError,
}

/// The result of verifying a published revision.
#[derive(Debug, Default)]
pub struct Findings {
    /// Damaged files, links and notes.
    pub damages: Vec<Damage>,
    /// Unreadable files.
    pub unreadable: Vec<Unreadable>,
}

impl Findings {
    /// Whether nothing is damaged or unreadable.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damages.is_empty() && self.unreadable.is_empty()
    }
}

/// Hashes every file of a published revision and compares its links and notes. Changes nothing.
pub async fn verify(
    root: &Path,
    manifest: &StoredManifest,
    progress: &Progress,
    stop: CancellationToken,
) -> Result<Findings, FetchError> {
    let bytes = manifest.files.iter().map(|file| file.size).sum();
    progress.set_total(manifest.files.len() as u64, bytes);
    let folder = root.join(manifest.folder());
    let manifest = manifest.clone();
    let progress = progress.clone();
    blocking(move || {
        let mut findings = Findings::default();
        let mut hashed = HashSet::new();
        for file in &manifest.files {
            // Files with the same content may share their bytes, which are hashed and reported once.
            if !hashed.insert(file.place()) {
                progress.verified(file.size);
                progress.file_done();
                continue;
            }
            let (path, place) = (file.path.clone(), file.place().clone());
            match check(&folder, file, &progress, &stop) {
                Ok(None) => progress.file_done(),
                Ok(Some(kind)) => findings.damages.push(Damage {
                    file: path,
                    place,
                    kind,
                }),
                // A bad sector does not keep the other files from being verified.
                Err(FetchError::Storage(error)) => findings.unreadable.push(Unreadable {
                    error: error.of(&path),
                    file: path,
                    place,
                }),
                Err(error) => return Err(error),
            }
        }
        findings.damages.extend(layout_damages(&folder, &manifest));
        Ok(findings)
    })
    .await
}

/// Damaged links and notes of the layout.
fn layout_damages(folder: &Path, manifest: &StoredManifest) -> Vec<Damage> {
    let damage = |path: &FilePath, kind| Damage {
        file: path.clone(),
        place: path.clone(),
        kind,
    };
    let links = manifest.links.iter().filter(|link| !has_link(folder, link));
    let links = links.map(|link| {
        let expected = link.target.clone();
        damage(&link.path, DamageKind::WrongLink { expected })
    });
    let notes = manifest.notes.iter().filter(|note| !has_note(folder, note));
    let notes = notes.map(|note| {
        let expected = note.text.clone();
        damage(&note.path, DamageKind::WrongText { expected })
    });
    links.chain(notes).collect()
}

fn check(
    folder: &Path,
    file: &StoredFile,
    progress: &Progress,
    stop: &CancellationToken,
) -> Result<Option<DamageKind>, FetchError> {
    let path: PathBuf = folder.join(file.place().as_str());
    let actual = match fs::symlink_metadata(&path) {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(_) => return Ok(Some(DamageKind::Missing)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(Some(DamageKind::Missing));
        }
        Err(error) => return Err(StorageError::at("read", &path)(error).into()),
    };
    if actual != file.size {
        return Ok(Some(DamageKind::WrongSize {
            expected: file.size,
            actual,
        }));
    }
    let digest = hash_file(&path, &file.digest, file.size, progress, stop)?;
    Ok((digest != file.digest).then(|| DamageKind::WrongDigest {
        expected: file.digest.to_string(),
        actual: digest.to_string(),
    }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::model::digest::{ContentDigest, Hasher};
    use crate::store::{Link, Note};

    fn stored(path: &str, content: &[u8]) -> StoredFile {
        let mut hasher = Hasher::new(&ContentDigest::Sha256([0; 32]), content.len() as u64);
        hasher.update(content);
        StoredFile {
            path: FilePath::parse(path).unwrap(),
            place: None,
            size: content.len() as u64,
            digest: hasher.finish(),
            source: "hub".to_owned(),
        }
    }

    fn manifest(files: Vec<StoredFile>) -> StoredManifest {
        StoredManifest {
            id: "abc".to_owned(),
            revision: "abc".to_owned(),
            digest: String::new(),
            files,
            links: Vec::new(),
            notes: Vec::new(),
            archives: Vec::new(),
        }
    }

    #[tokio::test]
    async fn each_kind_of_damage_is_told_and_sound_files_are_not() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("revisions/abc");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("sound"), b"1234").unwrap();
        fs::write(folder.join("short"), b"123").unwrap();
        fs::write(folder.join("flipped"), b"1235").unwrap();
        symlink("sound", folder.join("link")).unwrap();
        let names = ["sound", "short", "flipped", "link", "missing"];
        let manifest = manifest(names.iter().map(|name| stored(name, b"1234")).collect());
        let progress = Progress::default();
        let found = verify(root.path(), &manifest, &progress, CancellationToken::new()).await;
        let Findings { damages, unreadable } = found.unwrap();
        assert!(unreadable.is_empty(), "{unreadable:?}");

        let kinds: Vec<_> = damages
            .iter()
            .map(|damage| (damage.file.as_str(), &damage.kind))
            .collect();
        assert!(
            matches!(
                kinds[..],
                [
                    ("short", DamageKind::WrongSize { expected: 4, actual: 3 }),
                    ("flipped", DamageKind::WrongDigest { .. }),
                    ("link", DamageKind::Missing),
                    ("missing", DamageKind::Missing),
                ]
            ),
            "{kinds:?}"
        );
        assert_eq!(progress.snapshot().files_done, 1);
    }

    #[tokio::test]
    async fn what_stands_beside_the_files_is_looked_at_and_shared_bytes_are_hashed_once() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("revisions/abc");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("blob"), b"1234").unwrap();
        fs::write(folder.join("ref"), b"abc").unwrap();
        fs::write(folder.join("ref-with-newline"), b"abc\n").unwrap();
        symlink("blob", folder.join("link")).unwrap();
        symlink("elsewhere", folder.join("astray")).unwrap();
        fs::write(folder.join("copy"), b"1234").unwrap();
        let path = |text: &str| FilePath::parse(text).unwrap();
        let at_blob = |name: &str| StoredFile {
            place: Some(path("blob")),
            ..stored(name, b"1234")
        };
        let link = |name: &str| Link {
            path: path(name),
            target: "blob".to_owned(),
        };
        let note = |name: &str| Note {
            path: path(name),
            text: "abc".to_owned(),
        };
        let manifest = StoredManifest {
            links: ["link", "astray", "copy", "no-link"].map(link).into(),
            notes: ["ref", "ref-with-newline", "no-ref"].map(note).into(),
            ..manifest(vec![at_blob("a"), at_blob("b")])
        };
        let progress = Progress::default();
        let found = verify(root.path(), &manifest, &progress, CancellationToken::new()).await;
        let Findings { damages, unreadable } = found.unwrap();
        assert!(unreadable.is_empty(), "{unreadable:?}");
        let names: Vec<_> = damages.iter().map(|damage| damage.place.as_str()).collect();
        assert_eq!(names, ["astray", "copy", "no-link", "ref-with-newline", "no-ref"]);
        let counted = progress.snapshot();
        assert_eq!((counted.files_done, counted.bytes_verified), (2, 8));
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_named_and_the_others_are_hashed() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("revisions/abc");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("sound"), b"1234").unwrap();
        fs::write(folder.join("flipped"), b"1235").unwrap();
        // A link loop fails for every user, root included.
        symlink("loop", folder.join("loop")).unwrap();
        let names = ["loop/a", "flipped", "loop/b", "sound"];
        let manifest = manifest(names.iter().map(|name| stored(name, b"1234")).collect());
        let progress = Progress::default();
        let found = verify(root.path(), &manifest, &progress, CancellationToken::new())
            .await
            .unwrap();
        assert!(!found.is_sound());
        let unreadable: Vec<_> = found.unreadable.iter().map(|entry| entry.file.as_str()).collect();
        assert_eq!(unreadable, ["loop/a", "loop/b"]);
        let damaged: Vec<_> = found.damages.iter().map(|damage| damage.file.as_str()).collect();
        assert_eq!(damaged, ["flipped"]);
        assert_eq!(progress.snapshot().files_done, 1);
    }

    #[tokio::test]
    async fn it_stops_when_asked_to() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("revisions/abc");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("a"), b"1234").unwrap();
        let stop = CancellationToken::new();
        stop.cancel();
        let result = verify(
            root.path(),
            &manifest(vec![stored("a", b"1234")]),
            &Progress::default(),
            stop,
        )
        .await;
        assert!(matches!(result, Err(FetchError::Interrupted)));
    }
}
