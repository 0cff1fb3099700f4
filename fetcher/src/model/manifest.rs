//! The canonical manifest: path, size and digest of every selected file.
//!
//! Its digest identifies the content, independent of the source or mirror.

use sha2::{Digest, Sha256};

use super::digest::hex;
use super::remote_file::RemoteFile;

/// Digest of the canonical manifest, `sha256:<hex>`.
///
/// The manifest has a line per file, `<digest> <size> <path>\n`, sorted by path in byte order. Paths contain no control
/// characters, so different manifests have different texts.
#[must_use]
pub fn manifest_digest(files: &[RemoteFile]) -> String {
    let mut sorted: Vec<&RemoteFile> = files.iter().collect();
    sorted.sort_by(|a, b| a.path.cmp(&b.path));
    let mut hasher = Sha256::new();
    for file in sorted {
        hasher.update(format!("{} {} {}\n", file.digest, file.size, file.path));
    }
    format!("sha256:{}", hex(&hasher.finalize()))
}
