//! The `ModelCache` API: group `modelcache.dev`, version `v1alpha1`.

// `KubeSchema` expands each struct into a public copy inside a function.
#![allow(unreachable_pub)]

pub mod source;
pub mod spec;
pub mod status;

pub use source::{
    ClaimSource, HttpSource, HuggingFaceSource, Mirror, ModelScopeSource, OciSource, OllamaSource, S3Addressing,
    S3Source, SecretKeyReference, SecretReference, Source,
};
pub use spec::{
    AccessMode, ExistingClaim, Fetch, Files, FormatCheck, GpuRequirement, Layout, Placement, ReclaimPolicy,
    Requirements, Storage,
};
pub use status::{
    Attempts, CapacityStatus, HubCacheStatus, LastFailure, ModelCacheStatus, Progress, Resolved, Shortfall,
};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::fetch_defaults::MAX_MIRRORS;

/// Desired state of a ModelCache: one model, at one revision, on one PersistentVolumeClaim.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "modelcache.dev",
    version = "v1alpha1",
    kind = "ModelCache",
    plural = "modelcaches",
    singular = "modelcache",
    shortname = "mc",
    category = "modelcache",
    namespaced,
    status = "ModelCacheStatus",
    derive = "PartialEq",
    doc = "ModelCache downloads the files of one model, verifies them, and publishes them on a PersistentVolumeClaim that inference pods mount.",
    selectable = ".spec.source.huggingFace.repo",
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status","description":"Whether the model is verified and published."}"#,
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason","description":"Reason of the Ready condition: the current step, or what blocks it."}"#,
    printcolumn = r#"{"name":"Source","type":"string","jsonPath":".status.source","description":"Model, without its revision."}"#,
    printcolumn = r#"{"name":"Size","type":"string","jsonPath":".status.resolved.size","description":"Total size of the selected files."}"#,
    printcolumn = r#"{"name":"Progress","type":"string","jsonPath":".status.progress.summary","description":"Percentage of the bytes that are on the claim."}"#,
    printcolumn = r#"{"name":"Speed","type":"string","jsonPath":".status.progress.speed","description":"Current download rate."}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Revision","type":"string","jsonPath":".status.resolved.revision","priority":1,"description":"Immutable revision that the source was resolved to."}"#,
    printcolumn = r#"{"name":"Claim","type":"string","jsonPath":".status.claimName","priority":1,"description":"PersistentVolumeClaim to mount."}"#,
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].message","priority":1,"description":"Message of the Ready condition."}"#
)]
#[serde(rename_all = "camelCase")]
// On the spec rather than on `storage`: transition rules on `storage` do not run when `storage` is added or removed.
// Without CEL optionals: the API server cannot bound their cost.
#[x_kube(validation = Rule::new("(has(self.storage) && has(self.storage.storageClassName) ? self.storage.storageClassName : '(default)') == (has(oldSelf.storage) && has(oldSelf.storage.storageClassName) ? oldSelf.storage.storageClassName : '(default)')")
    .message("storage.storageClassName is immutable: create another ModelCache with the other class"))]
#[x_kube(validation = Rule::new("(has(self.storage) && has(self.storage.accessModes) ? self.storage.accessModes : []) == (has(oldSelf.storage) && has(oldSelf.storage.accessModes) ? oldSelf.storage.accessModes : [])")
    .message("storage.accessModes is immutable: create another ModelCache with the other modes"))]
#[x_kube(validation = Rule::new("(has(self.storage) && has(self.storage.existingClaim) && has(self.storage.existingClaim.claimName) ? self.storage.existingClaim.claimName : '') == (has(oldSelf.storage) && has(oldSelf.storage.existingClaim) && has(oldSelf.storage.existingClaim.claimName) ? oldSelf.storage.existingClaim.claimName : '') && (has(self.storage) && has(self.storage.existingClaim) && has(self.storage.existingClaim.subPath) ? self.storage.existingClaim.subPath : '') == (has(oldSelf.storage) && has(oldSelf.storage.existingClaim) && has(oldSelf.storage.existingClaim.subPath) ? oldSelf.storage.existingClaim.subPath : '')")
    .message("storage.existingClaim is immutable: create another ModelCache for the other claim"))]
#[x_kube(validation = Rule::new("!has(self.storage) || !has(self.storage.layout) || self.storage.layout != 'HuggingFaceCache' || has(self.source.huggingFace)")
    .message("storage.layout HuggingFaceCache is for source.huggingFace only: leave out layout for any other source"))]
#[x_kube(validation = Rule::new("!has(self.mirrors) || (self.mirrors.filter(m, has(m.endpoint) && m.url.startsWith('hf://')).size() <= (has(self.source.huggingFace) ? 0 : 1) && self.mirrors.filter(m, has(m.endpoint) && m.url.startsWith('modelscope://')).size() <= (has(self.source.modelScope) ? 0 : 1))")
    .message("mirrors.endpoint must be left out if the source is the same kind of hub, or if another mirror of that kind sets it"))]
#[x_kube(validation = Rule::new("!has(self.storage) || !has(self.storage.layout) || (self.storage.layout == 'Ollama') == has(self.source.ollama)")
    .message("storage.layout must be Ollama, or left out, for source.ollama, and must not be Ollama for any other source"))]
pub struct ModelCacheSpec {
    /// Source of the model. Exactly one member must be set. The kind of source and the model are immutable; the
    /// revision can change.
    pub source: Source,

    /// Additional origins of the same files. At most 8. A file is downloaded in parallel from every origin that lists
    /// it with the same digest and size. An origin that is slow or fails gets fewer requests; one that sends corrupt
    /// data gets no more. Credentials of the source are not sent to other hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_MIRRORS))]
    pub mirrors: Vec<Mirror>,

    /// Selection of the files to fetch. If unset, all files except those on the default exclude list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Files>,

    /// PersistentVolumeClaim that holds the model. If unset, a claim is created, with a size derived from the listing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,

    /// Scheduling constraints of the fetcher pods. They also decide where a `WaitForFirstConsumer` volume is
    /// provisioned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,

    /// Resources that a consumer of the model needs on one node. Checked before the download starts. If unset, nothing
    /// is checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requirements: Option<Requirements>,

    /// Download settings: concurrency, rate limit, stall timeout and compute resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetch: Option<Fetch>,
}

/// The CustomResourceDefinition that the chart installs.
///
/// Removes the `nullable` that the derive adds to optional fields: `has()` in a validation rule is true for a null.
#[must_use]
pub fn custom_resource_definition() -> CustomResourceDefinition {
    let mut definition = ModelCache::crd();
    for version in &mut definition.spec.versions {
        if let Some(schema) = version
            .schema
            .as_mut()
            .and_then(|schema| schema.open_api_v3_schema.as_mut())
        {
            forbid_null(schema);
        }
    }
    definition
}

fn forbid_null(schema: &mut JSONSchemaProps) {
    schema.nullable = None;
    for property in schema
        .properties
        .iter_mut()
        .flat_map(|properties| properties.values_mut())
    {
        forbid_null(property);
    }
    match &mut schema.items {
        Some(JSONSchemaPropsOrArray::Schema(item)) => forbid_null(item),
        Some(JSONSchemaPropsOrArray::Schemas(items)) => items.iter_mut().for_each(forbid_null),
        None => {}
    }
    if let Some(JSONSchemaPropsOrBool::Schema(values)) = &mut schema.additional_properties {
        forbid_null(values);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_field_of_the_schema_accepts_null() {
        let text = serde_json::to_string(&custom_resource_definition()).unwrap();
        assert!(!text.contains("\"nullable\""));
    }
}
