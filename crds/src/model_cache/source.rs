//! `spec.source` and `spec.mirrors`: where a model is downloaded from. Each kind of source has a file; it is registered as a
//! member of [`Source`] and in its validation rules.

// `KubeSchema` expands each struct into a public copy inside a function.
#![allow(unreachable_pub)]

mod http;
mod hugging_face;
mod mirror;
mod model_scope;
mod oci;
mod ollama;
mod persistent_volume_claim;
mod s3;
mod secret;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::http::HttpSource;
pub use self::hugging_face::HuggingFaceSource;
pub use self::mirror::Mirror;
pub use self::model_scope::ModelScopeSource;
pub use self::oci::OciSource;
pub use self::ollama::OllamaSource;
pub use self::persistent_volume_claim::ClaimSource;
pub use self::s3::{S3Addressing, S3Source};
pub use self::secret::{SecretKeyReference, SecretReference};
use crate::source_defaults;

/// Source of the model. Exactly one member must be set.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.huggingFace), has(self.modelScope), has(self.oci), has(self.ollama), has(self.s3), has(self.http), has(self.persistentVolumeClaim)].filter(x, x).size() == 1")
    .message("set exactly one source, for example source.huggingFace: {repo: org/name}"))]
#[x_kube(validation = Rule::new("has(self.huggingFace) == has(oldSelf.huggingFace) && has(self.modelScope) == has(oldSelf.modelScope) && has(self.oci) == has(oldSelf.oci) && has(self.ollama) == has(oldSelf.ollama) && has(self.s3) == has(oldSelf.s3) && has(self.http) == has(oldSelf.http) && has(self.persistentVolumeClaim) == has(oldSelf.persistentVolumeClaim)")
    .message("the kind of source is immutable: create another ModelCache for the other source, or list it in mirrors if it holds the same files"))]
pub struct Source {
    /// A model on the Hugging Face Hub, or on a server with a compatible API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hugging_face: Option<HuggingFaceSource>,

    /// A model on ModelScope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_scope: Option<ModelScopeSource>,

    /// An artifact in an OCI registry, as pushed by ModelPack, KitOps or ORAS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<OciSource>,

    /// A model in the Ollama registry. It is published in layout `Ollama`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ollama: Option<OllamaSource>,

    /// Objects in a bucket of Amazon S3, or of an S3-compatible store. Each is verified against the SHA-256 checksum
    /// that the store holds for it, or against a `SHA256SUMS` object below the prefix.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Source>,

    /// Files on an HTTP server, with their digests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSource>,

    /// A folder on another PersistentVolumeClaim in this namespace, mounted read-only. Files are verified against the
    /// manifest that a ModelCache published there, else against a `SHA256SUMS` file in the folder, else against digests
    /// computed while listing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<ClaimSource>,
}

fn default_tag() -> String {
    source_defaults::DEFAULT_TAG.to_owned()
}
