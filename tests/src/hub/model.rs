//! Models of a hub: commits of files, each with the digests that listings show.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use sha1::Sha1;
use sha2::{Digest, Sha256};

use super::access::Access;

/// Names of files that are large files (LFS) of any size, from the hub's default `.gitattributes`.
const LARGE_FILE_ENDINGS: [&str; 6] = [".safetensors", ".bin", ".gguf", ".pt", ".onnx", ".h5"];
/// Files above this size are large files, whatever their name.
const LARGE_FILE_BYTES: u64 = 10 * 1024 * 1024;

/// Why a change to a model failed.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// A file could not be read.
    #[error("failed to read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Cause.
        #[source]
        source: io::Error,
    },
    /// The model is not served.
    #[error("no model {0} is served")]
    NoModel(String),
    /// The model has no such commit.
    #[error("{model} has no commit {commit}")]
    NoCommit {
        /// The model.
        model: String,
        /// The commit.
        commit: String,
    },
}

/// Source of the bytes of a file.
#[derive(Clone, Debug)]
pub enum Content {
    /// In memory.
    Memory(Bytes),
    /// On disk, read for each request.
    File(PathBuf),
}

impl Content {
    fn open(&self) -> Result<Reader, RepositoryError> {
        match self {
            Self::Memory(bytes) => Ok(Reader::Memory(bytes.clone())),
            Self::File(path) => File::open(path)
                .map(|file| Reader::File(Arc::new(file)))
                .map_err(|source| RepositoryError::Read {
                    path: path.clone(),
                    source,
                }),
        }
    }
}

/// An open file.
#[derive(Clone, Debug)]
pub(crate) enum Reader {
    Memory(Bytes),
    File(Arc<File>),
}

impl Reader {
    pub(crate) async fn read(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        match self {
            Self::Memory(bytes) => {
                let start = usize::try_from(offset).map_err(io::Error::other)?;
                Ok(bytes.slice(start..start + length))
            }
            Self::File(file) => {
                let file = Arc::clone(file);
                tokio::task::spawn_blocking(move || {
                    let mut buffer = vec![0; length];
                    file.read_exact_at(&mut buffer, offset)?;
                    Ok(Bytes::from(buffer))
                })
                .await
                .map_err(io::Error::other)?
            }
        }
    }
}

/// How a hub stores a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    /// In git: the hub serves it, and its digest is the sha1 of the blob.
    Git,
    /// In the large file store: the CDN serves it, and its digest is the sha256.
    Large,
}

#[derive(Debug)]
pub(crate) struct StoredFile {
    pub(crate) path: String,
    pub(crate) reader: Reader,
    pub(crate) size: u64,
    pub(crate) storage: Storage,
    /// Digest of the content.
    pub(crate) sha256: String,
    /// Digest of the blob in git: the content, or the pointer to it.
    pub(crate) git_sha1: String,
    pub(crate) pointer_size: usize,
}

impl StoredFile {
    /// The digest in the listing and in entity tags.
    pub(crate) fn listed_digest(&self) -> &str {
        match self.storage {
            Storage::Git => &self.git_sha1,
            Storage::Large => &self.sha256,
        }
    }

    fn new(path: String, content: &Content) -> Result<Self, RepositoryError> {
        let reader = content.open()?;
        let failed = |source| RepositoryError::Read {
            path: PathBuf::from(&path),
            source,
        };
        let (size, sha256, blob_sha1) = match &reader {
            Reader::Memory(bytes) => digest(&mut &bytes[..], bytes.len() as u64),
            Reader::File(file) => file
                .metadata()
                .and_then(|metadata| digest(&mut &**file, metadata.len())),
        }
        .map_err(failed)?;
        let large = size > LARGE_FILE_BYTES || LARGE_FILE_ENDINGS.iter().any(|ending| path.ends_with(ending));
        let pointer = format!("version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n");
        Ok(Self {
            reader,
            size,
            storage: if large { Storage::Large } else { Storage::Git },
            git_sha1: if large {
                git_object_sha1("blob", pointer.as_bytes())
            } else {
                blob_sha1
            },
            pointer_size: pointer.len(),
            sha256,
            path,
        })
    }
}

fn digest(reader: &mut dyn Read, length: u64) -> io::Result<(u64, String, String)> {
    let mut sha256 = Sha256::new();
    let mut sha1 = Sha1::new();
    sha1.update(format!("blob {length}\0"));
    let mut buffer = vec![0; 1 << 20];
    let mut size = 0;
    loop {
        let count = reader.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        sha256.update(&buffer[..count]);
        sha1.update(&buffer[..count]);
        size += count as u64;
    }
    if size != length {
        return Err(io::Error::other("the file changed while it was read"));
    }
    Ok((size, hex(&sha256.finalize()), hex(&sha1.finalize())))
}

/// The sha1 of a git object.
pub(crate) fn git_object_sha1(kind: &str, content: &[u8]) -> String {
    let mut sha1 = Sha1::new();
    sha1.update(format!("{kind} {}\0", content.len()));
    sha1.update(content);
    hex(&sha1.finalize())
}

pub(crate) fn sha256_hex(text: &str) -> String {
    hex(&Sha256::digest(text))
}

fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // A write to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[derive(Debug)]
pub(crate) struct Commit {
    pub(crate) id: String,
    pub(crate) files: BTreeMap<String, Arc<StoredFile>>,
}

impl Commit {
    /// Hashes every file and blocks meanwhile: call it outside of the async threads.
    pub(crate) fn new(model: &str, contents: BTreeMap<String, Content>) -> Result<Self, RepositoryError> {
        let mut files = BTreeMap::new();
        let mut manifest = format!("{model}\n");
        for (path, content) in contents {
            let file = StoredFile::new(path.clone(), &content)?;
            let _ = writeln!(manifest, "{} {} {path}", file.git_sha1, file.size);
            files.insert(path, Arc::new(file));
        }
        Ok(Self {
            id: git_object_sha1("commit", manifest.as_bytes()),
            files,
        })
    }
}

#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) id: String,
    pub(crate) access: Access,
    pub(crate) commits: BTreeMap<String, Arc<Commit>>,
    /// Branches and tags.
    pub(crate) references: BTreeMap<String, String>,
}

impl Model {
    pub(crate) fn new(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            access: Access::default(),
            commits: BTreeMap::new(),
            references: BTreeMap::new(),
        }
    }

    /// The commit that an id, a branch or a tag names.
    pub(crate) fn commit(&self, revision: &str) -> Option<Arc<Commit>> {
        let id = self.references.get(revision).map_or(revision, String::as_str);
        self.commits.get(id).cloned()
    }
}

/// Every file below a folder, by path, except for `.git`.
pub fn folder_contents(folder: &Path) -> Result<BTreeMap<String, Content>, RepositoryError> {
    let mut contents = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(current) = folders.pop() {
        let failed = |source| RepositoryError::Read {
            path: current.clone(),
            source,
        };
        for entry in std::fs::read_dir(&current).map_err(failed)? {
            let path = entry.map_err(failed)?.path();
            if path.is_dir() {
                if path.file_name().is_none_or(|name| name != ".git") {
                    folders.push(path);
                }
            } else if let Ok(relative) = path.strip_prefix(folder) {
                contents.insert(relative.to_string_lossy().into_owned(), Content::File(path));
            }
        }
    }
    Ok(contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_match_git_and_the_large_file_store() {
        let file = |path: &str, bytes: &'static [u8]| {
            StoredFile::new(path.to_owned(), &Content::Memory(Bytes::from_static(bytes))).unwrap()
        };
        assert_eq!(
            file("a.txt", b"Hello, World!").listed_digest(),
            "b45ef6fec89518d314f546fd6c3025367b721684"
        );
        assert_eq!(
            file("a.txt", b"").listed_digest(),
            "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
        );
        assert_eq!(
            file("a.bin", b"").listed_digest(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn the_commit_id_depends_on_the_files_only() {
        let commit = |text: &'static str| {
            let files = BTreeMap::from([("a".to_owned(), Content::Memory(Bytes::from_static(text.as_bytes())))]);
            Commit::new("m", files).unwrap().id
        };
        assert_eq!(commit("x"), commit("x"));
        assert_ne!(commit("x"), commit("y"));
        assert_eq!(commit("x").len(), 40);
    }
}
