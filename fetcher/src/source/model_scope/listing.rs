//! Parses the responses of ModelScope's API, and the files in them. Pure.

use modelcache_crds::report::FailureClass;
use serde::Deserialize;

use super::ModelScopeAddress;
use crate::model::digest::ContentDigest;
use crate::model::error::SourceError;
use crate::model::path::FilePath;
use crate::model::remote_file::RemoteFile;

/// The envelope of every response. An error may have HTTP status 200.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Envelope {
    pub(super) code: Option<i64>,
    pub(super) success: Option<bool>,
    pub(super) message: Option<String>,
    pub(super) data: Option<Data>,
}

impl Envelope {
    /// Whether the envelope is not an error.
    pub(super) fn is_success(&self) -> bool {
        self.success != Some(false) && self.code.is_none_or(|code| code == 200 || code == 0)
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Data {
    /// Null in an empty folder.
    #[serde(default)]
    pub(super) files: Option<Vec<Entry>>,
}

/// One entry of a listing.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Entry {
    /// `blob` or `tree`.
    pub(super) r#type: String,
    pub(super) path: String,
    #[serde(default)]
    size: u64,
    sha256: Option<String>,
}

impl Entry {
    pub(super) fn is_folder(&self) -> bool {
        self.r#type == "tree"
    }

    /// The file of this entry; `None` for a folder.
    pub(super) fn remote_file(&self, address: &ModelScopeAddress) -> Result<Option<RemoteFile>, SourceError> {
        let invalid = |why: String| SourceError::new(FailureClass::InvalidListing, why);
        if self.r#type != "blob" {
            return Ok(None);
        }
        let path = FilePath::parse(&self.path).map_err(|error| {
            invalid(format!(
                "the listing of {address} contains the unsafe path {:?}: {error}",
                self.path
            ))
        })?;
        let hex = self.sha256.as_deref().unwrap_or_default();
        let digest = ContentDigest::sha256_from_hex(hex).map_err(|_| {
            invalid(format!(
                "the listing of {address} has no sha256 for {path}; without one its bytes cannot be verified"
            ))
        })?;
        Ok(Some(RemoteFile {
            path,
            size: self.size,
            digest,
        }))
    }
}

/// Reads any response of ModelScope, for the fuzz targets.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_anything(bytes: &[u8]) {
    if let Ok(Envelope { data: Some(data), .. }) = serde_json::from_slice(bytes)
        && let Ok(address) = "modelscope://org/name".parse::<ModelScopeAddress>()
    {
        for entry in data.files.iter().flatten() {
            let _ = entry.remote_file(&address);
        }
    }
}
