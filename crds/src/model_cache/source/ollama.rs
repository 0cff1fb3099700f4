//! `source.ollama`.

// `KubeSchema` expands each struct into a public copy inside a function.
#![allow(unreachable_pub)]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::default_tag;

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
