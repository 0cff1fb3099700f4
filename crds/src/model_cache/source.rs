//! Where a model comes from.

// `KubeSchema` repeats each struct, public, inside a function of its own.
#![allow(unreachable_pub)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::source_defaults;

/// A place that holds the model. Exactly one member is set.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.huggingFace), has(self.modelScope), has(self.oci), has(self.ollama), has(self.s3), has(self.http), has(self.persistentVolumeClaim)].filter(x, x).size() == 1")
    .message("set exactly one source, for example source.huggingFace: {repo: org/name}"))]
#[x_kube(validation = Rule::new("has(self.huggingFace) == has(oldSelf.huggingFace) && has(self.modelScope) == has(oldSelf.modelScope) && has(self.oci) == has(oldSelf.oci) && has(self.ollama) == has(oldSelf.ollama) && has(self.s3) == has(oldSelf.s3) && has(self.http) == has(oldSelf.http) && has(self.persistentVolumeClaim) == has(oldSelf.persistentVolumeClaim)")
    .message("the kind of source is immutable: create another ModelCache for the other source, name this one's source in its mirrors if it holds the same files"))]
pub struct Source {
    /// A model of the Hugging Face Hub, or of a server that speaks its protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hugging_face: Option<HuggingFaceSource>,

    /// A model of ModelScope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_scope: Option<ModelScopeSource>,

    /// An artifact of an OCI registry, as ModelPack, KitOps and ORAS write them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oci: Option<OciSource>,

    /// A model of Ollama's registry. It is published in the layout that Ollama keeps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ollama: Option<OllamaSource>,

    /// Objects of a bucket of S3, or of a store that speaks its protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3Source>,

    /// Files of an HTTP server, with their digests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpSource>,

    /// A folder of another claim in this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persistent_volume_claim: Option<ClaimSource>,
}

/// A model of the Hugging Face Hub.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.repo == oldSelf.repo")
    .message("source.huggingFace.repo is immutable: create another ModelCache for another model, and delete this one when nothing uses it"))]
#[x_kube(validation = Rule::new("!self.repo.contains('--') && !self.repo.contains('..') && !self.repo.endsWith('.git')")
    .message("source.huggingFace.repo must be name or org/name as the hub shows it: no '--', no '..', and not ending in '.git'"))]
pub struct HuggingFaceSource {
    /// The repository, `org/name` as in the hub's URL. Immutable.
    #[schemars(
        length(min = 1, max = 193),
        regex(pattern = r"^([A-Za-z0-9_][A-Za-z0-9_.-]{0,95}/)?[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}$")
    )]
    pub repo: String,

    /// Branch, tag or commit. It is resolved once to a commit; a changed value resolves anew.
    #[serde(default = "default_revision")]
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_./-]*$"))]
    pub revision: String,

    /// Base URL of the hub. Left out: `https://huggingface.co`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[^\s@?#]+$"))]
    pub endpoint: Option<String>,

    /// A key of a Secret in this namespace that holds an access token. It is sent to the endpoint's host only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<SecretKeyReference>,
}

/// A model of ModelScope.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.repo == oldSelf.repo")
    .message("source.modelScope.repo is immutable: create another ModelCache for another model, and delete this one when nothing uses it"))]
pub struct ModelScopeSource {
    /// The model, `owner/name` as in the URL of its page. Immutable.
    #[schemars(
        length(min = 3, max = 257),
        regex(pattern = r"^[A-Za-z0-9_.-]{1,128}/[A-Za-z0-9_.-]{1,128}$")
    )]
    pub repo: String,

    /// Branch or tag. A changed value resolves anew.
    #[serde(default = "default_model_scope_revision")]
    #[schemars(length(min = 1, max = 255), regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_./-]*$"))]
    pub revision: String,

    /// Base URL of ModelScope. Left out: `https://modelscope.cn`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[^\s@?#]+$"))]
    pub endpoint: Option<String>,

    /// A key of a Secret in this namespace that holds an access token. It is sent to the endpoint's host only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret_ref: Option<SecretKeyReference>,
}

/// An artifact of an OCI registry.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.repository == oldSelf.repository")
    .message("source.oci.repository is immutable: create another ModelCache for another model, and delete this one when nothing uses it"))]
pub struct OciSource {
    /// Registry and repository, `ghcr.io/org/model`. Immutable.
    #[schemars(
        length(min = 3, max = 512),
        regex(pattern = r"^[A-Za-z0-9.-]+(:[0-9]+)?(/[A-Za-z0-9]+([._-]+[A-Za-z0-9]+)*)+$")
    )]
    pub repository: String,

    /// Tag, or digest (`sha256:...`). A changed value resolves anew.
    #[serde(default = "default_tag")]
    #[schemars(regex(pattern = r"^([A-Za-z0-9_][A-Za-z0-9._-]{0,127}|sha256:[0-9a-f]{64})$"))]
    pub reference: String,

    /// Ask the registry without encryption: for one in the cluster's own network.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plain_http: bool,

    /// A Secret of type `kubernetes.io/dockerconfigjson` in this namespace, as for image pulls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_secret_ref: Option<SecretReference>,
}

/// A model of Ollama's registry.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.model == oldSelf.model")
    .message("source.ollama.model is immutable: create another ModelCache for another model, and delete this one when nothing uses it"))]
pub struct OllamaSource {
    /// The model without its tag, as `ollama pull` takes it: `llama3.2`, `namespace/model`, `host/namespace/model`.
    /// Immutable.
    #[schemars(
        length(min = 1, max = 512),
        regex(
            pattern = r"^([A-Za-z0-9.-]+(:[0-9]+)?/)?([A-Za-z0-9][A-Za-z0-9._-]*/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$"
        )
    )]
    pub model: String,

    /// Tag. A changed value resolves anew.
    #[serde(default = "default_tag")]
    #[schemars(regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$"))]
    pub tag: String,

    /// Ask the registry without encryption: for one in the cluster's own network.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub plain_http: bool,
}

/// Objects of a bucket. Each is proven by the sha256 that the store keeps of it, or by a `SHA256SUMS` beside them.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.bucket == oldSelf.bucket")
    .message("source.s3.bucket is immutable: create another ModelCache for another model, and delete this one when nothing uses it"))]
pub struct S3Source {
    /// The bucket. Immutable.
    #[schemars(length(min = 3, max = 63), regex(pattern = r"^[a-z0-9][a-z0-9._-]*[a-z0-9]$"))]
    pub bucket: String,

    /// What the keys of all objects begin with, up to a slash. Left out: the whole bucket. A changed value resolves anew.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024), regex(pattern = r"^[^\x00-\x1f\x7f]*$"))]
    pub prefix: String,

    /// Base URL of the store. Left out: AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[^\s@?#]+$"))]
    pub endpoint: Option<String>,

    /// Region that signatures are for. Left out: `us-east-1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9-]+$"))]
    pub region: Option<String>,

    /// Where the bucket stands in addresses. Left out: in the path where an endpoint is given, in the host name for AWS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub addressing: Option<S3Addressing>,

    /// A Secret in this namespace with the keys `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, for temporary ones,
    /// `AWS_SESSION_TOKEN`. Left out: those that the service account is given, or none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<SecretReference>,

    /// Service account of the fetcher's pods, where the cluster gives it a role in the cloud (IRSA, EKS Pod Identity).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub service_account_name: Option<String>,
}

/// Where a bucket stands in addresses.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum S3Addressing {
    /// In the path.
    Path,
    /// In the host name.
    Virtual,
}

/// Files of an HTTP server.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.url.contains('#sha256=') || self.url.matches('/SHA256SUMS([?].*)?$|[.]sha256([?].*)?$')")
    .message("source.http.url must be the URL of a file with #sha256= and its digest, or of a SHA256SUMS: without a digest nothing can be proven"))]
pub struct HttpSource {
    /// One file and its digest, `https://host/model.gguf#sha256=<hex>`; or a list that `sha256sum` wrote, whose files are
    /// beside it: `https://host/folder/SHA256SUMS`. A changed value resolves anew.
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[^\s@#]+(#sha256=[0-9a-f]{64})?$"))]
    pub url: String,
}

/// A folder of a claim, mounted read-only. It is proven by the manifest that lies there if a ModelCache filled it, by a
/// `SHA256SUMS` in it, and else by hashing its files to list them.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.claimName == oldSelf.claimName")
    .message("source.persistentVolumeClaim.claimName is immutable: create another ModelCache for another claim, and delete this one when nothing uses it"))]
pub struct ClaimSource {
    /// Name of the PersistentVolumeClaim. Immutable.
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,

    /// Folder in the claim. Left out: the claim's root. A changed value resolves anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 1024),
        regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$")
    )]
    pub path: Option<String>,
}

/// A further place that holds the same files.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.endpoint) || self.url.startsWith('hf://') || self.url.startsWith('modelscope://')")
    .message("mirrors.endpoint must be left out unless the mirror's url begins with hf:// or modelscope://: write into url where the mirror is"))]
pub struct Mirror {
    /// Base URL of a server that speaks the hub's protocol, or the URL of a SHA256SUMS beside the files, or the model on
    /// another hub: `modelscope://owner/name` or `hf://org/name`, either with `@revision`.
    #[schemars(
        length(max = 2048),
        regex(pattern = r"^(https?://[^\s@?#]+|(hf|modelscope)://[^\s?#]+)$")
    )]
    pub url: String,

    /// Base URL of that other hub. Left out: the public one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[^\s@?#]+$"))]
    pub endpoint: Option<String>,
}

/// One key of a Secret in the same namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct SecretKeyReference {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,

    /// Key in the Secret.
    #[serde(default = "default_token_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// A Secret in the same namespace.
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
