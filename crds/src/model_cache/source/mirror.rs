//! `spec.mirrors`.

// `KubeSchema` expands each struct into a public copy inside a function.
#![allow(unreachable_pub)]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

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
