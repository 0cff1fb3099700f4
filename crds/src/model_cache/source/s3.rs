//! `source.s3`.

// `KubeSchema` expands each struct into a public copy inside a function.
#![allow(unreachable_pub)]

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SecretReference;

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
