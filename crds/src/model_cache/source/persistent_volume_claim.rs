//! `source.persistentVolumeClaim`.

// `KubeSchema` expands each struct into a public copy inside a function.
#![allow(unreachable_pub)]

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

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
