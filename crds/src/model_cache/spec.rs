//! What a person asks for, beside the source.

// `KubeSchema` repeats each struct, public, inside a function of its own.
#![allow(unreachable_pub)]

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ResourceRequirements, Toleration};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::fetch_defaults::{
    MAX_CONNECTIONS, MAX_PARALLEL_FILES, MAX_STALL_TIMEOUT_SECS, MIN_CONNECTIONS, MIN_PARALLEL_FILES,
    MIN_STALL_TIMEOUT_SECS,
};

/// Which files to fetch, by the patterns of huggingface_hub (`fnmatch` on the whole path; `*` crosses `/`).
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Files {
    /// A file is fetched when any of these matches. Left out or empty: every file.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub include: Vec<String>,

    /// A file is left out when any of these matches. Left out, and `include` too: a documented default list
    /// (weights in formats that safetensors make superfluous, optimizer state); `[]` excludes nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub exclude: Option<Vec<String>>,

    /// What becomes of weights that are cut short or incomplete. Left out: `Enforce`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format_check: Option<FormatCheck>,
}

/// What becomes of weights that are cut short or incomplete. Left out: `Enforce`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatCheck {
    /// Publish nothing, and say what is wrong.
    Enforce,
    /// Publish them, and say in the fetcher's log what is wrong.
    Warn,
}

/// The claim that holds the model.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.existingClaim) || (!has(self.size) && !has(self.storageClassName) && !has(self.accessModes) && !has(self.reclaimPolicy))")
    .message("storage.existingClaim is used as it is: leave out size, storageClassName, accessModes and reclaimPolicy, or leave out existingClaim"))]
#[x_kube(validation = Rule::new("!has(self.size) || (isQuantity(string(self.size)) && quantity(string(self.size)).isGreaterThan(quantity('0')) && quantity(string(self.size)).isLessThan(quantity('1Ei')))")
    .message("storage.size must be a positive quantity below 1Ei, for example 40Gi"))]
pub struct Storage {
    /// Size of the claim. Left out: the files' size plus headroom. It may grow where the class allows expansion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Quantity>,

    /// StorageClass of the claim. Left out: the cluster's default class. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub storage_class_name: Option<String>,

    /// Access modes of the claim. Left out: `[ReadWriteOnce]`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4))]
    pub access_modes: Option<Vec<AccessMode>>,

    /// What becomes of the claim when this ModelCache is deleted. Left out: `Retain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reclaim_policy: Option<ReclaimPolicy>,

    /// How the published folder is laid out. Left out: `Ollama` for `source.ollama`, else `Directory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,

    /// A claim of this namespace to use instead of a new one. It is never deleted. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing_claim: Option<ExistingClaim>,
}

/// How the published folder is laid out. `Directory`: every file under its own path. `HuggingFaceCache`: as
/// huggingface_hub keeps a model, so that its clients find `org/name`, with `HF_HUB_CACHE` naming the folder and
/// `HF_HUB_OFFLINE=1`. `Ollama`: as Ollama keeps a model. Left out: `Ollama` for `source.ollama`, else `Directory`. A
/// changed value publishes the same bytes anew.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Every file under its own path.
    Directory,
    /// As the hub's clients keep a model.
    HuggingFaceCache,
    /// As Ollama keeps a model, for `OLLAMA_MODELS`.
    Ollama,
}

/// How a volume may be mounted.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessMode {
    /// By one node, for writing.
    ReadWriteOnce,
    /// By one pod, for writing.
    ReadWriteOncePod,
    /// By many nodes, for writing.
    ReadWriteMany,
}

/// What becomes of the claim when its ModelCache is deleted.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReclaimPolicy {
    /// The claim and the model stay.
    #[default]
    Retain,
    /// The claim is deleted too, once no pod uses it.
    Delete,
}

/// A claim that is there already.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ExistingClaim {
    /// Name of the PersistentVolumeClaim.
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,

    /// Folder in the claim to work in, so that several models can share it. Left out: the claim's root.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 1024),
        regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$")
    )]
    pub sub_path: Option<String>,
}

/// Where the fetcher may run.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Labels a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub node_selector: BTreeMap<String, String>,

    /// Taints the fetcher tolerates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub tolerations: Vec<Toleration>,
}

/// What a consumer of the model needs of one node.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.memory) || (isQuantity(string(self.memory)) && quantity(string(self.memory)).isGreaterThan(quantity('0')) && quantity(string(self.memory)).isLessThan(quantity('1Ei')))")
    .message("requirements.memory must be a positive quantity below 1Ei, for example 24Gi"))]
pub struct Requirements {
    /// Memory that must be free on one node: allocatable, less the requests of the pods there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,

    /// GPUs that must be free on the same node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuRequirement>,
}

/// GPUs, counted as the scheduler counts them.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GpuRequirement {
    /// How many.
    #[schemars(range(min = 1, max = 64))]
    pub count: i32,

    /// The extended resource that counts them. Left out: `nvidia.com/gpu`.
    #[serde(default = "default_gpu_resource")]
    #[schemars(
        length(min = 3, max = 253),
        regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$")
    )]
    pub resource_name: String,
}

/// How the bytes are fetched.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.maxBytesPerSecond) || (isQuantity(string(self.maxBytesPerSecond)) && quantity(string(self.maxBytesPerSecond)).isGreaterThan(quantity('1023')) && quantity(string(self.maxBytesPerSecond)).isLessThan(quantity('1Ei')))")
    .message("fetch.maxBytesPerSecond must be a quantity from 1Ki to below 1Ei, for example 50Mi"))]
pub struct Fetch {
    /// Connections at most, over all files. A fetch begins with 16 and tries more where they bring more. Left out: 44.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = MIN_CONNECTIONS, max = MAX_CONNECTIONS))]
    pub connections: Option<i32>,

    /// Files fetched at the same time at most. Left out: 4, 12 more of 1 MiB at most, and the next one when all that is
    /// left of one before is on its way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = MIN_PARALLEL_FILES, max = MAX_PARALLEL_FILES))]
    pub parallel_files: Option<i32>,

    /// Bytes per second that this fetch may take of the network, over all connections, for example `50Mi`. Left out:
    /// as many as come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes_per_second: Option<Quantity>,

    /// Seconds without a byte after which a connection is given up and its range is fetched anew. Left out: 15.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = MIN_STALL_TIMEOUT_SECS, max = MAX_STALL_TIMEOUT_SECS))]
    pub stall_timeout_seconds: Option<i32>,

    /// Compute resources of the fetcher's container. Left out: requests 100m and 128Mi, limit 256Mi of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
}

fn default_gpu_resource() -> String {
    "nvidia.com/gpu".to_owned()
}
