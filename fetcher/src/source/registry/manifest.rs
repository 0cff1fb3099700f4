//! Manifests of the OCI image specification and of Docker. Pure.

use std::collections::BTreeMap;

use modelcache_crds::report::FailureClass;
use serde::Deserialize;

use super::RawManifest;
use super::name::is_digest;
use crate::model::digest::ContentDigest;
use crate::model::error::SourceError;

/// `Accept` header of manifest requests.
pub(super) const MANIFEST_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";

/// A blob or manifest that a manifest refers to.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::source) struct Descriptor {
    #[serde(default)]
    pub(in crate::source) media_type: String,
    pub(in crate::source) digest: String,
    pub(in crate::source) size: u64,
    #[serde(default)]
    pub(in crate::source) annotations: BTreeMap<String, String>,
}

/// A manifest, or an index of several.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(in crate::source) struct Manifest {
    #[serde(default)]
    pub(in crate::source) config: Option<Descriptor>,
    #[serde(default)]
    pub(in crate::source) layers: Vec<Descriptor>,
    /// The manifests of an index.
    #[serde(default)]
    pub(in crate::source) manifests: Vec<Descriptor>,
}

impl Manifest {
    pub(in crate::source) fn parse(raw: &RawManifest, name: &str) -> Result<Self, SourceError> {
        serde_json::from_slice(&raw.bytes).map_err(|error| {
            let media_type = &raw.media_type;
            SourceError::new(
                FailureClass::InvalidListing,
                format!("the manifest of {name} ({media_type}) cannot be parsed: {error}"),
            )
        })
    }
}

impl Descriptor {
    /// The digest that its bytes must have; fails unless it is a sha256.
    pub(in crate::source) fn content_digest(&self) -> Result<ContentDigest, SourceError> {
        let digest = is_digest(&self.digest).then(|| self.digest.parse().ok()).flatten();
        digest.ok_or_else(|| {
            SourceError::new(
                FailureClass::InvalidListing,
                format!(
                    "the manifest names a blob by {:?}; only sha256 digests are supported",
                    self.digest
                ),
            )
        })
    }
}
