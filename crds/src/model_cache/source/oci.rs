//! `source.oci`.

// `KubeSchema` expands each struct into a public copy inside a function.
#![allow(unreachable_pub)]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::{SecretReference, default_tag};

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
