//! `status`: the observed state. Only the operator writes it, as a whole, at the end of every reconcile.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::{FailureClass, OriginReport};

/// Observed state of a ModelCache.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ModelCacheStatus {
    /// Generation of the spec that this status was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// Model at its source, without the revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,

    /// Conditions of the ModelCache. docs/conditions.md lists each type and reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// Immutable revision and files that the source was resolved to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<Resolved>,

    /// Digest of the canonical manifest of the files that are verified and published on the claim. Equals
    /// `resolved.digest` once the resolved revision is published.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_digest: Option<String>,

    /// Name of the PersistentVolumeClaim for pods to mount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_name: Option<String>,

    /// UID of that claim. If the claim is recreated under the same name, the model is published again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_uid: Option<String>,

    /// Path of the published folder within the claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,

    /// Names under which clients find the model. Set only for layout `HuggingFaceCache`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub_cache: Option<HubCacheStatus>,

    /// Progress of the download. Updated at most every ten seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,

    /// Statistics of each origin of the last fetch: the source first, then its mirrors. At most 8. Written when a fetch
    /// ends.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<OriginReport>,

    /// Result of the capacity check. Set only if `spec.requirements` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<CapacityStatus>,

    /// Failed attempts of the current step since its last success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Attempts>,
}

/// Immutable revision and files that a source was resolved to.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Resolved {
    /// Immutable revision, for example a commit of a Hugging Face repository.
    pub revision: String,

    /// SHA-256 digest of the canonical manifest, which lists path, size and digest of every selected file.
    pub digest: String,

    /// Number of selected files.
    pub files: i64,

    /// Total size of the selected files in bytes.
    pub bytes: i64,

    /// Total size of the selected files in human-readable form, for example `86.7 MiB`.
    pub size: String,

    /// Additional bytes needed on the claim to unpack archives. Unset if no file is an archive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpacking_bytes: Option<i64>,

    /// Time at which the source was resolved.
    pub resolved_time: Time,

    /// Hash of the part of the spec that determines the result. If it differs, the source is resolved again.
    pub source_hash: String,
}

/// Names under which clients of the Hugging Face Hub find a published model.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HubCacheStatus {
    /// Revision to request: that of the spec.
    pub reference: String,

    /// Commit that the revision refers to.
    pub revision: String,
}

/// Progress of a download.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Bytes on the claim, including those of earlier attempts.
    pub bytes_fetched: i64,

    /// Bytes hashed so far.
    pub bytes_verified: i64,

    /// Total size of the selected files in bytes.
    pub bytes_total: i64,

    /// `bytesFetched` as a percentage of `bytesTotal`, rounded down.
    pub percent: i32,

    /// `percent` in human-readable form, for example `42%`.
    pub summary: String,

    /// Download rate in bytes per second, averaged over the last seconds.
    pub bytes_per_second: i64,

    /// `bytesPerSecond` in human-readable form, for example `112 MiB/s`. Unset if the rate is zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<String>,

    /// Estimated seconds until the download completes at this rate. Unset if the rate is zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<i64>,

    /// Time at which the progress was read from the fetcher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_time: Option<Time>,
}

/// Result of the capacity check.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CapacityStatus {
    /// Number of schedulable nodes that `spec.placement` allows.
    pub nodes_considered: i32,

    /// Number of those nodes that have all of `spec.requirements` free.
    pub nodes_fit: i32,

    /// Resources that are short on every considered node.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shortfalls: Vec<Shortfall>,
}

/// Resource of which no considered node has enough.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Shortfall {
    /// Name of the resource: `memory`, or an extended resource.
    pub resource: String,

    /// Required amount.
    pub needed: Quantity,

    /// Largest amount that is free on one node.
    pub best: Quantity,

    /// Node with the largest free amount. Unset if no node was considered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// Failed attempts of the current step.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Attempts {
    /// Number of failed attempts since the last success of the step.
    pub count: i32,

    /// Most recent failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<LastFailure>,

    /// Time of the next attempt. Unset after a permanent failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_time: Option<Time>,

    /// Hash of everything the result of the failed step depends on. If it differs, the count restarts at zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<String>,

    /// Name of the Job whose failure was counted last, so that no failure is counted twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_job: Option<String>,
}

/// A failed attempt.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LastFailure {
    /// Failure class. Each class corresponds to an exit code of the fetcher.
    pub class: FailureClass,

    /// What failed, and what to do about it.
    pub message: String,

    /// Path of the affected file, if the failure concerns one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,

    /// Byte offset in that file, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,

    /// Time of the failure.
    pub time: Time,
}
