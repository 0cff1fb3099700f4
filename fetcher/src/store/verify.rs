//! Proves again what is on disk, by hashing it. Reads only, and needs no lock.

use std::collections::HashSet;
use std::fs::{self};
use std::io;
use std::path::{Path, PathBuf};

use tokio_util::sync::CancellationToken;

use super::{StoredFile, StoredManifest, leads, says};
use crate::disk::blocking::blocking;
use crate::disk::hash::hash_file;
use crate::model::error::{FetchError, StorageError};
use crate::model::path::FilePath;
use crate::observe::progress::Progress;

/// Something published that is not what its manifest says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file of the model, or what stands beside its files.
    pub file: FilePath,
    /// Where it is, below the revision's folder.
    pub place: FilePath,
    /// What is wrong with it.
    pub kind: DamageKind,
}

/// What is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// It is not there, or is no regular file.
    Missing,
    /// It has another length.
    WrongSize {
        /// Bytes it should have.
        expected: u64,
        /// Bytes it has.
        actual: u64,
    },
    /// Its bytes hash to something else.
    WrongDigest {
        /// What they should hash to.
        expected: String,
        /// What they hash to.
        actual: String,
    },
    /// It is no link that leads there.
    WrongLink {
        /// Where it should lead.
        expected: String,
    },
    /// It is no file with this text.
    WrongText {
        /// What it should say.
        expected: String,
    },
}

/// A published file of which nobody can say whether it is damaged.
#[derive(Debug)]
pub struct Unreadable {
    /// The file of the model.
    pub file: FilePath,
    /// Where it is, below the revision's folder.
    pub place: FilePath,
    /// Why.
    pub error: StorageError,
}

/// What was found in a published revision.
#[derive(Debug, Default)]
pub struct Findings {
    /// What is not as it should be.
    pub damages: Vec<Damage>,
    /// What could not be read.
    pub unreadable: Vec<Unreadable>,
}

impl Findings {
    /// Whether everything is as it should be.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damages.is_empty() && self.unreadable.is_empty()
    }
}

/// Hashes every file of a published revision again, looks at what stands beside them, and says what is damaged and what
/// cannot be read. Changes nothing.
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
            // Files may share their bytes, which are hashed and told of once.
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
                // One bad place on a disk says nothing of the other files.
                Err(FetchError::Storage(error)) => findings.unreadable.push(Unreadable {
                    error: error.of(&path),
                    file: path,
                    place,
                }),
                Err(error) => return Err(error),
            }
        }
        findings.damages.extend(damages_beside(&folder, &manifest));
        Ok(findings)
    })
    .await
}

/// What leads to the files and is not as it should be.
fn damages_beside(folder: &Path, manifest: &StoredManifest) -> Vec<Damage> {
    let damage = |path: &FilePath, kind| Damage {
        file: path.clone(),
        place: path.clone(),
        kind,
    };
    let links = manifest.links.iter().filter(|link| !leads(folder, link));
    let links = links.map(|link| {
        let expected = link.target.clone();
        damage(&link.path, DamageKind::WrongLink { expected })
    });
    let notes = manifest.notes.iter().filter(|note| !says(folder, note));
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
        // Whoever goes through it gets no answer, whatever their rights.
        symlink("loop", folder.join("loop")).unwrap();
        let names = ["loop/a", "flipped", "loop/b", "sound"];
        let manifest = manifest(names.iter().map(|name| stored(name, b"1234")).collect());
        let progress = Progress::default();
        let found = verify(root.path(), &manifest, &progress, CancellationToken::new())
            .await
            .unwrap();
        assert!(!found.is_sound());
        let unreadable: Vec<_> = found.unreadable.iter().map(|one| one.file.as_str()).collect();
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
