//! Where a model comes from.

// `KubeSchema` repeats each struct, public, inside a function of its own.
#![allow(unreachable_pub)]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

/// A place that holds the model. Exactly one member is set.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("[has(self.huggingFace)].filter(x, x).size() == 1")
    .message("set exactly one source, for example source.huggingFace: {repo: org/name}"))]
pub struct Source {
    /// A model of the Hugging Face Hub, or of a server that speaks its protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hugging_face: Option<HuggingFaceSource>,
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

/// A further place that holds the same files.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Mirror {
    /// Base URL of a server that speaks the hub's protocol, or the URL of a SHA256SUMS beside the files.
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[^\s@?#]+$"))]
    pub url: String,
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

fn default_revision() -> String {
    "main".to_owned()
}

fn default_token_key() -> String {
    "token".to_owned()
}
