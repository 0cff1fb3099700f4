//! What a person reads. Written by the operator only, whole, on every outcome.

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::report::{FailureClass, OriginReport};

/// What is known of a ModelCache.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ModelCacheStatus {
    /// Generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,

    /// The model at its source, without revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,

    /// State by condition; see docs/conditions.md for each type and reason.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,

    /// What the source was resolved to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved: Option<Resolved>,

    /// Canonical manifest digest of what is verified and published on the claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_digest: Option<String>,

    /// The claim a pod mounts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_name: Option<String>,

    /// Uid of that claim: one made anew under the same name holds nothing that was published on the old one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim_uid: Option<String>,

    /// Where the model's files are in the claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,

    /// What clients find the model by, where it is published in layout `HuggingFaceCache`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub_cache: Option<HubCacheStatus>,

    /// How far the fetch is. Rounded, and written every ten seconds at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,

    /// What each origin of the files was good for: the source first, then its mirrors. Written when a fetch ends; eight at
    /// most.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<OriginReport>,

    /// What the nodes offer, where `requirements` are given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capacity: Option<CapacityStatus>,

    /// Failed tries of the current step since its last success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempts: Option<Attempts>,
}

/// A source, resolved to an immutable revision.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Resolved {
    /// Immutable revision: a commit for Hugging Face.
    pub revision: String,

    /// sha256 of the canonical manifest (path, size and digest of every selected file).
    pub digest: String,

    /// Number of selected files.
    pub files: i64,

    /// Bytes of the selected files.
    pub bytes: i64,

    /// The same, for people.
    pub size: String,

    /// Bytes that are needed beside them, to unpack those that are archives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unpacking_bytes: Option<i64>,

    /// When it was resolved.
    pub resolved_time: Time,

    /// Hash of the part of the spec this was resolved from; another value means it must be resolved anew.
    pub source_hash: String,
}

/// What the hub's clients find a published model by.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct HubCacheStatus {
    /// The revision that clients ask for: the one of the spec.
    pub reference: String,

    /// The commit it leads to.
    pub revision: String,
}

/// How far a fetch is.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Bytes on disk, those of earlier attempts included.
    pub bytes_fetched: i64,

    /// Bytes hashed so far.
    pub bytes_verified: i64,

    /// Bytes of all selected files.
    pub bytes_total: i64,

    /// Whole percent of the bytes that are fetched.
    pub percent: i32,

    /// The same for people, for example `42%`.
    pub summary: String,

    /// Bytes per second over the last seconds.
    pub bytes_per_second: i64,

    /// The same for people, for example `112 MiB/s`; left out when nothing moves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub speed: Option<String>,

    /// Seconds until the last byte at this rate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<i64>,

    /// When this was read from the fetcher.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub updated_time: Option<Time>,
}

/// What the nodes offer.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CapacityStatus {
    /// Nodes that placement allows and that are schedulable.
    pub nodes_considered: i32,

    /// Of those, nodes with everything free that `requirements` ask for.
    pub nodes_fit: i32,

    /// What is short, one entry a resource.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shortfalls: Vec<Shortfall>,
}

/// A resource of which no considered node has enough.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Shortfall {
    /// `memory`, or the name of an extended resource.
    pub resource: String,

    /// What is asked for.
    pub needed: Quantity,

    /// The most that is free on one node.
    pub best: Quantity,

    /// That node; left out where none was considered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// Failed tries of the current step.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Attempts {
    /// How many failed since the step's last success.
    pub count: i32,

    /// The last of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<LastFailure>,

    /// When the next one starts; left out after a permanent failure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_time: Option<Time>,

    /// Hash of what the failed step's result depends on; with other inputs, failures are counted anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inputs: Option<String>,

    /// Name of the Job whose failure was counted last, so that none is counted twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_job: Option<String>,
}

/// Why an attempt failed.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct LastFailure {
    /// Failure class, as the fetcher's exit code.
    pub class: FailureClass,

    /// What happened and what to do.
    pub message: String,

    /// The file concerned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,

    /// Byte offset in the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset: Option<i64>,

    /// When it failed.
    pub time: Time,
}
