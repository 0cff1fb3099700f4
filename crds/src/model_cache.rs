//! `ModelCache`, group `modelcache.dev`, version `v1alpha1`: what a person writes and reads.

// `KubeSchema` repeats each struct, public, inside a function of its own.
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

/// One model, at one revision, on one PersistentVolumeClaim.
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
    doc = "A ModelCache makes the weights of one model available, verified, on a PersistentVolumeClaim that inference pods mount.",
    selectable = ".spec.source.huggingFace.repo",
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status","description":"True once every byte is proven and published."}"#,
    printcolumn = r#"{"name":"Status","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].reason","description":"What happens, or what holds it back."}"#,
    printcolumn = r#"{"name":"Source","type":"string","jsonPath":".status.source","description":"The model."}"#,
    printcolumn = r#"{"name":"Size","type":"string","jsonPath":".status.resolved.size","description":"Size of the selected files."}"#,
    printcolumn = r#"{"name":"Progress","type":"string","jsonPath":".status.progress.summary","description":"Share of the bytes that are fetched."}"#,
    printcolumn = r#"{"name":"Speed","type":"string","jsonPath":".status.progress.speed","description":"Current transfer rate."}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#,
    printcolumn = r#"{"name":"Revision","type":"string","jsonPath":".status.resolved.revision","priority":1,"description":"The immutable revision."}"#,
    printcolumn = r#"{"name":"Claim","type":"string","jsonPath":".status.claimName","priority":1,"description":"The claim a pod mounts."}"#,
    printcolumn = r#"{"name":"Message","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].message","priority":1}"#
)]
#[serde(rename_all = "camelCase")]
// Here and not on `storage`, whose own transition rules do not run when the whole of it is added or taken away.
// Not with CEL's optional syntax, whose cost the API server cannot bound.
#[x_kube(validation = Rule::new("(has(self.storage) && has(self.storage.storageClassName) ? self.storage.storageClassName : '(default)') == (has(oldSelf.storage) && has(oldSelf.storage.storageClassName) ? oldSelf.storage.storageClassName : '(default)')")
    .message("storage.storageClassName is immutable, as it is on the claim: create another ModelCache with the other class"))]
#[x_kube(validation = Rule::new("(has(self.storage) && has(self.storage.accessModes) ? self.storage.accessModes : []) == (has(oldSelf.storage) && has(oldSelf.storage.accessModes) ? oldSelf.storage.accessModes : [])")
    .message("storage.accessModes is immutable, as it is on the claim: create another ModelCache with the other modes"))]
#[x_kube(validation = Rule::new("(has(self.storage) && has(self.storage.existingClaim) && has(self.storage.existingClaim.claimName) ? self.storage.existingClaim.claimName : '') == (has(oldSelf.storage) && has(oldSelf.storage.existingClaim) && has(oldSelf.storage.existingClaim.claimName) ? oldSelf.storage.existingClaim.claimName : '') && (has(self.storage) && has(self.storage.existingClaim) && has(self.storage.existingClaim.subPath) ? self.storage.existingClaim.subPath : '') == (has(oldSelf.storage) && has(oldSelf.storage.existingClaim) && has(oldSelf.storage.existingClaim.subPath) ? oldSelf.storage.existingClaim.subPath : '')")
    .message("storage.existingClaim is immutable: create another ModelCache for the other claim"))]
#[x_kube(validation = Rule::new("!has(self.storage) || !has(self.storage.layout) || self.storage.layout != 'HuggingFaceCache' || has(self.source.huggingFace)")
    .message("storage.layout HuggingFaceCache is for source.huggingFace, whose clients look for its repo and commit: leave out layout for another source"))]
#[x_kube(validation = Rule::new("!has(self.mirrors) || (self.mirrors.filter(m, has(m.endpoint) && m.url.startsWith('hf://')).size() <= (has(self.source.huggingFace) ? 0 : 1) && self.mirrors.filter(m, has(m.endpoint) && m.url.startsWith('modelscope://')).size() <= (has(self.source.modelScope) ? 0 : 1))")
    .message("mirrors.endpoint must be left out where the source, or another mirror with endpoint, is of the same kind: of each kind one hub is asked"))]
#[x_kube(validation = Rule::new("!has(self.storage) || !has(self.storage.layout) || (self.storage.layout == 'Ollama') == has(self.source.ollama)")
    .message("storage.layout must be Ollama, or left out, for source.ollama, and for no other source"))]
pub struct ModelCacheSpec {
    /// Where the model comes from. Exactly one member is set.
    pub source: Source,

    /// Further places that hold the same files, at most 8. Files come from all places at once whose listing has the same
    /// digests and sizes; one that is slow or fails is asked less, and one that sends wrong bytes is not asked again. No
    /// token is sent to them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = MAX_MIRRORS))]
    pub mirrors: Vec<Mirror>,

    /// Which of the model's files to fetch. Left out: all but the default exclude list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Files>,

    /// The claim that holds the model. Left out: a new claim, sized from the listing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,

    /// Where the fetcher may run, and so where its volume may be made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub placement: Option<Placement>,

    /// What a consumer of this model needs of one node. Checked before a byte is fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requirements: Option<Requirements>,

    /// How the bytes are fetched.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fetch: Option<Fetch>,
}

/// The CustomResourceDefinition as it is shipped.
///
/// An optional field is left out, never null: what the derive writes as `nullable` would let a null through
/// that `has()` in a validation rule takes for a value.
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
    fn no_field_of_the_schema_takes_null() {
        let text = serde_json::to_string(&custom_resource_definition()).unwrap();
        assert!(!text.contains("\"nullable\""));
    }
}
