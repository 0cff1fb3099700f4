//! `source.huggingFace`.

// `KubeSchema` expands each struct into a public copy inside a function.
#![allow(unreachable_pub)]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::SecretKeyReference;
use crate::source_defaults;

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

fn default_revision() -> String {
    source_defaults::DEFAULT_HUGGING_FACE_REVISION.to_owned()
}
