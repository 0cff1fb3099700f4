//! `source.modelScope`.

// `KubeSchema` expands each struct into a public copy inside a function.
#![allow(unreachable_pub)]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::SecretKeyReference;
use crate::source_defaults;

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

fn default_model_scope_revision() -> String {
    source_defaults::DEFAULT_MODEL_SCOPE_REVISION.to_owned()
}
