//! `spec` except the source: files, storage, placement, requirements and download settings.

// `KubeSchema` expands each struct into a public copy inside a function.
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

/// Selection of the files to fetch.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Files {
    /// Patterns of files to fetch; a file needs to match one of them. Patterns have the syntax of huggingface_hub:
    /// `fnmatch` on the whole path, where `*` also matches `/`. If unset or empty, every file matches.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub include: Vec<String>,

    /// Patterns of files to skip, with the same syntax; they take precedence over `include`. If neither `include` nor
    /// `exclude` is set, a default list applies: weights that are also there as safetensors, weights for other
    /// runtimes, and training state. Set `[]` to skip nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64), inner(length(min = 1, max = 256)))]
    pub exclude: Option<Vec<String>>,

    /// What to do about weights that are truncated, damaged or lack a shard. Defaults to `Enforce`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format_check: Option<FormatCheck>,
}

/// What to do about weights that are truncated, damaged or lack a shard: `Enforce` publishes nothing and reports
/// `InvalidFormat`; `Warn` publishes them and logs a warning in the fetcher. Defaults to `Enforce`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatCheck {
    /// Publish nothing and report `InvalidFormat`.
    Enforce,
    /// Publish them and log a warning in the fetcher.
    Warn,
}

/// PersistentVolumeClaim that holds the model.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.existingClaim) || (!has(self.size) && !has(self.storageClassName) && !has(self.accessModes) && !has(self.reclaimPolicy))")
    .message("storage.existingClaim is used as it is: leave out size, storageClassName, accessModes and reclaimPolicy, or leave out existingClaim"))]
#[x_kube(validation = Rule::new("!has(self.size) || (isQuantity(string(self.size)) && quantity(string(self.size)).isGreaterThan(quantity('0')) && quantity(string(self.size)).isLessThan(quantity('1Ei')))")
    .message("storage.size must be a positive quantity below 1Ei, for example 40Gi"))]
pub struct Storage {
    /// Storage request of the claim, for example `40Gi`. If unset, the size of the files plus headroom. It can grow if
    /// the StorageClass allows expansion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Quantity>,

    /// StorageClass of the claim. If unset, the default StorageClass of the cluster. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub storage_class_name: Option<String>,

    /// Access modes of the claim. Defaults to `[ReadWriteOnce]`. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4))]
    pub access_modes: Option<Vec<AccessMode>>,

    /// What happens to the claim when this ModelCache is deleted. Defaults to `Retain`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reclaim_policy: Option<ReclaimPolicy>,

    /// Layout of the published folder. Defaults to `Ollama` for `source.ollama`, else to `Directory`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,

    /// Existing claim in this namespace to use instead of creating one. It is never deleted. Immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing_claim: Option<ExistingClaim>,
}

/// Layout of the published folder. `Directory`: each file under its own path. `HuggingFaceCache`: the cache of
/// huggingface_hub; its clients load `org/name` with `HF_HUB_CACHE` set to the folder and `HF_HUB_OFFLINE=1`. `Ollama`:
/// the model store of Ollama, for `OLLAMA_MODELS`. Defaults to `Ollama` for `source.ollama`, else to `Directory`.
/// Changing it publishes the files again without downloading them.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Each file under its own path.
    Directory,
    /// The cache of huggingface_hub, for `HF_HUB_CACHE`.
    HuggingFaceCache,
    /// The model store of Ollama, for `OLLAMA_MODELS`.
    Ollama,
}

/// Access mode of a volume, as in a PersistentVolumeClaim.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessMode {
    /// Read-write by one node.
    ReadWriteOnce,
    /// Read-write by one pod.
    ReadWriteOncePod,
    /// Read-write by many nodes.
    ReadWriteMany,
}

/// What happens to the claim when its ModelCache is deleted: `Retain` keeps the claim and the model; `Delete` deletes
/// the claim once no pod uses it. Defaults to `Retain`.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReclaimPolicy {
    /// The claim and the model are kept.
    #[default]
    Retain,
    /// The claim is deleted once no pod uses it.
    Delete,
}

/// Existing PersistentVolumeClaim to use instead of creating one.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ExistingClaim {
    /// Name of the PersistentVolumeClaim.
    #[schemars(length(min = 1, max = 253))]
    pub claim_name: String,

    /// Folder within the claim, so that several models can share the claim. If unset, the root of the claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 1024),
        regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$")
    )]
    pub sub_path: Option<String>,
}

/// Scheduling constraints of the fetcher pods.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Placement {
    /// Labels that a node must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub node_selector: BTreeMap<String, String>,

    /// Taints that the fetcher pods tolerate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub tolerations: Vec<Toleration>,
}

/// Resources that a consumer of the model needs on one node.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.memory) || (isQuantity(string(self.memory)) && quantity(string(self.memory)).isGreaterThan(quantity('0')) && quantity(string(self.memory)).isLessThan(quantity('1Ei')))")
    .message("requirements.memory must be a positive quantity below 1Ei, for example 24Gi"))]
pub struct Requirements {
    /// Memory that must be free on one node, for example `24Gi`. Free memory is the allocatable memory minus the
    /// requests of the pods on the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Quantity>,

    /// GPUs that must be free on the same node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu: Option<GpuRequirement>,
}

/// Number of GPUs, by their extended resource.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GpuRequirement {
    /// Number of GPUs, in the range 1 to 64.
    #[schemars(range(min = 1, max = 64))]
    pub count: i32,

    /// Extended resource that represents the GPUs. Defaults to `nvidia.com/gpu`.
    #[serde(default = "default_gpu_resource")]
    #[schemars(
        length(min = 3, max = 253),
        regex(pattern = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?/[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$")
    )]
    pub resource_name: String,
}

/// Download settings.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.maxBytesPerSecond) || (isQuantity(string(self.maxBytesPerSecond)) && quantity(string(self.maxBytesPerSecond)).isGreaterThan(quantity('1023')) && quantity(string(self.maxBytesPerSecond)).isLessThan(quantity('1Ei')))")
    .message("fetch.maxBytesPerSecond must be a quantity from 1Ki to below 1Ei, for example 50Mi"))]
pub struct Fetch {
    /// Maximum number of connections, across all files, in the range 1 to 64. A fetch starts with 16 and opens more
    /// while that increases throughput. Defaults to 44.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = MIN_CONNECTIONS, max = MAX_CONNECTIONS))]
    pub connections: Option<i32>,

    /// Maximum number of files downloaded in parallel, in the range 1 to 32. If unset, 4 files and 12 more files of up
    /// to 1 MiB, and the next file starts as soon as the last range of an earlier one is requested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = MIN_PARALLEL_FILES, max = MAX_PARALLEL_FILES))]
    pub parallel_files: Option<i32>,

    /// Maximum download rate in bytes per second, across all connections, for example `50Mi`. At least `1Ki`. If unset,
    /// the rate is not limited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes_per_second: Option<Quantity>,

    /// Seconds without data, in the range 1 to 3600, after which a connection is closed and the rest of its range is
    /// requested again. Defaults to 15.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = MIN_STALL_TIMEOUT_SECS, max = MAX_STALL_TIMEOUT_SECS))]
    pub stall_timeout_seconds: Option<i32>,

    /// Compute resources of the fetcher container. If unset, requests of 100m CPU and 128Mi memory, and a memory limit
    /// of 256Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
}

fn default_gpu_resource() -> String {
    "nvidia.com/gpu".to_owned()
}
