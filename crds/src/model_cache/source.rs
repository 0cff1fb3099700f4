//! `spec.source` and `spec.mirrors`: where a model is downloaded from.

// `KubeSchema` expands each struct into a public copy inside a function.
#![allow(unreachable_pub)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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

/// A model on the Hugging Face Hub.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.repo == oldSelf.repo")
    .message("source.huggingFace.repo is immutable: create another ModelCache for the other model"))]
#[x_kube(validation = Rule::new("!self.repo.contains('--') && !self.repo.contains('..') && !self.repo.endsWith('.git')")
    .message("source.huggingFace.repo must be name or org/name as the hub shows it, without '--' or '..', and must not end in '.git'"))]
pub struct HuggingFaceSource {
    /// Repository, `org/name` as in the URL of its page. Immutable.
    #[schemars(
        length(min = 1, max = 193),
        regex(pattern = r"^([A-Za-z0-9_][A-Za-z0-9_.-]{0,95}/)?[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}$")
    )]
    pub repo: String,

    /// Branch, tag or commit. Defaults to `main`. It is resolved to a commit once; changing this field resolves it
    /// again.
    #[serde(default = "default_revision")]
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_./-]*$"))]
    pub revision: String,

    /// Base URL of the hub. Defaults to `https://huggingface.co`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[^\s@?#]+$"))]
    pub endpoint: Option<String>,

    /// Secret key in this namespace that holds an access token. The token is sent only to the host of `endpoint`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<SecretKeyReference>,
}

/// A model on ModelScope.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.repo == oldSelf.repo")
    .message("source.modelScope.repo is immutable: create another ModelCache for the other model"))]
pub struct ModelScopeSource {
    /// Repository, `owner/name` as in the URL of its page. Immutable.
    #[schemars(
        length(min = 3, max = 257),
        regex(pattern = r"^[A-Za-z0-9_.-]{1,128}/[A-Za-z0-9_.-]{1,128}$")
    )]
    pub repo: String,

    /// Branch or tag. Defaults to `master`. It is resolved once; changing this field resolves it again.
    #[serde(default = "default_model_scope_revision")]
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_./-]*$"))]
    pub revision: String,

    /// Base URL of ModelScope. Defaults to `https://modelscope.cn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[^\s@?#]+$"))]
    pub endpoint: Option<String>,

    /// Secret key in this namespace that holds an access token. The token is sent only to the host of `endpoint`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<SecretKeyReference>,
}

/// An artifact in an OCI registry.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.repository == oldSelf.repository")
    .message("source.oci.repository is immutable: create another ModelCache for the other model"))]
pub struct OciSource {
    /// Registry host and repository, for example `ghcr.io/org/model`. Immutable.
    #[schemars(
        length(min = 3, max = 512),
        regex(pattern = r"^[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9]+([._-]+[A-Za-z0-9]+)*)+$")
    )]
    pub repository: String,

    /// Tag, or digest (`sha256:<hex>`). Defaults to `latest`. It is resolved once; changing this field resolves it
    /// again.
    #[serde(default = "default_tag")]
    #[schemars(regex(pattern = r"^([A-Za-z0-9_][A-Za-z0-9._-]{0,127}|sha256:[0-9a-f]{64})$"))]
    pub reference: String,

    /// Whether to use HTTP instead of HTTPS, for a registry inside the cluster network.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plain_http: bool,

    /// Secret of type `kubernetes.io/dockerconfigjson` in this namespace, as in a pod's `imagePullSecrets`. If unset,
    /// the registry is accessed anonymously.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_secret_ref: Option<SecretReference>,
}

/// A model in the Ollama registry.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.model == oldSelf.model")
    .message("source.ollama.model is immutable: create another ModelCache for the other model"))]
pub struct OllamaSource {
    /// Model without its tag, in the form that `ollama pull` accepts: `llama3.2`, `namespace/model` or
    /// `host/namespace/model`. Immutable.
    #[schemars(
        length(min = 1, max = 512),
        regex(
            pattern = r"^([A-Za-z0-9.-]+(:[0-9]+)?/)?([A-Za-z0-9][A-Za-z0-9._-]*/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"
        )
    )]
    pub model: String,

    /// Tag. Defaults to `latest`. It is resolved once; changing this field resolves it again.
    #[serde(default = "default_tag")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$"))]
    pub tag: String,

    /// Whether to use HTTP instead of HTTPS, for a registry inside the cluster network.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plain_http: bool,
}

/// Objects in a bucket.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.bucket == oldSelf.bucket")
    .message("source.s3.bucket is immutable: create another ModelCache for the other model"))]
pub struct S3Source {
    /// Name of the bucket. Immutable.
    #[schemars(length(min = 3, max = 63), regex(pattern = r"^[a-z0-9][a-z0-9._-]*[a-z0-9]$"))]
    pub bucket: String,

    /// Key prefix of the objects, up to a slash. If unset, the whole bucket. Changing this field lists the bucket
    /// again.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024), regex(pattern = r"^[^\x00-\x1f\x7f]*$"))]
    pub prefix: String,

    /// Base URL of an S3-compatible store. If unset, Amazon S3.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[^\s@?#]+$"))]
    pub endpoint: Option<String>,

    /// Region that requests are signed for. Defaults to `us-east-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9-]+$"))]
    pub region: Option<String>,

    /// Addressing style of the bucket. Defaults to `Path` if `endpoint` is set, else to `Virtual`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addressing: Option<S3Addressing>,

    /// Secret in this namespace with the keys `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, for temporary
    /// credentials, `AWS_SESSION_TOKEN`. If unset, the credentials of the service account are used, or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretReference>,

    /// Name of the service account of the fetcher pods, for workload identity (IRSA, EKS Pod Identity). If unset, the
    /// `default` service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub service_account_name: Option<String>,
}

/// Addressing style of a bucket: `Path` (`https://host/bucket/key`) or `Virtual` (`https://bucket.host/key`). Defaults
/// to `Path` if `endpoint` is set, else to `Virtual`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum S3Addressing {
    /// `https://host/bucket/key`.
    Path,
    /// `https://bucket.host/key`.
    Virtual,
}

/// Files on an HTTP server.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.url.contains('#sha256=') || self.url.matches('/SHA256SUMS([?].*)?$|[.]sha256([?].*)?$')")
    .message("source.http.url must be the URL of a file with #sha256=<hex digest> at its end, or the URL of a SHA256SUMS or .sha256 list"))]
pub struct HttpSource {
    /// URL of one file followed by its digest, `https://host/model.gguf#sha256=<hex>`; or URL of a list in the format
    /// of `sha256sum`, `https://host/folder/SHA256SUMS`, whose paths are relative to it. It is resolved once; changing
    /// this field resolves it again.
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[^\s@#]+(#sha256=[0-9a-f]{64})?$"))]
    pub url: String,
}

/// A folder on a PersistentVolumeClaim.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.claimName == oldSelf.claimName")
    .message("source.persistentVolumeClaim.claimName is immutable: create another ModelCache for the other claim"))]
pub struct ClaimSource {
    /// Name of the PersistentVolumeClaim. Immutable.
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,

    /// Path of the folder within the claim. If unset, the root of the claim. Changing this field lists the folder
    /// again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 1024),
        regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$")
    )]
    pub path: Option<String>,
}

/// An additional origin of the same files.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.endpoint) || self.url.startsWith('hf://') || self.url.startsWith('modelscope://')")
    .message("mirrors.endpoint must be left out unless url starts with hf:// or modelscope://: put the address of the mirror in url"))]
pub struct Mirror {
    /// Address of the mirror: base URL of a server with the API of the Hugging Face Hub, URL of a `SHA256SUMS` file
    /// next to the files, or a model on another hub, `modelscope://owner/name[@revision]` or
    /// `hf://org/name[@revision]`.
    #[schemars(
        length(max = 2048),
        regex(pattern = r"^(https?://[^\s@?#]+|(hf|modelscope)://[^\s?#]+)$")
    )]
    pub url: String,

    /// Base URL of the hub that an `hf://` or `modelscope://` URL refers to. If unset, the public hub.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[^\s@?#]+$"))]
    pub endpoint: Option<String>,
}

/// Reference to one key of a Secret in the same namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyReference {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Key within the Secret. Defaults to `token`.
    #[serde(default = "default_token_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// Reference to a Secret in the same namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecretReference {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

fn default_model_scope_revision() -> String {
    source_defaults::DEFAULT_MODEL_SCOPE_REVISION.to_owned()
}

fn default_tag() -> String {
    source_defaults::DEFAULT_TAG.to_owned()
}

fn default_revision() -> String {
    source_defaults::DEFAULT_HUGGING_FACE_REVISION.to_owned()
}

fn default_token_key() -> String {
    source_defaults::DEFAULT_TOKEN_KEY.to_owned()
}
