//! `source.http`.

// `KubeSchema` expands each struct into a public copy inside a function.
#![allow(unreachable_pub)]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

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
