//! Parses the spec once; later steps work on valid values.
//!
//! The API server's schema refuses most invalid specs; the rest end as `InvalidSpec`.

mod claim_plan;
mod transfer;

use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use modelcache_crds::model_cache::{Files, Placement, Requirements};
use modelcache_crds::{ModelCache, names, quantity};
use thiserror::Error;

use crate::capacity::Needs;
use crate::reconcile::source::{ClaimLayout, ModelSource};
use crate::watch_index::key_of;

pub use claim_plan::{ClaimPlan, OwnClaim};
pub use transfer::Transfer;

/// Why a spec is invalid. Always permanent: only another spec helps.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidSpec {
    /// No source, several, or one that this operator does not know.
    #[error(
        "spec.source does not set exactly one source that this operator knows: set one member, for example source.huggingFace"
    )]
    NoSource,
    /// A layout that does not fit the source.
    #[error("storage.layout {layout} does not fit {source_field}: write {allowed}, or leave storage.layout out")]
    Layout {
        /// The layout in the spec.
        layout: &'static str,
        /// The source's field in the spec.
        source_field: &'static str,
        /// The layout that fits.
        allowed: &'static str,
    },
    /// A quantity that is not positive, or not a quantity.
    #[error("{field} is not a positive quantity: {value:?}: write for example {example}")]
    Quantity {
        /// Field of the spec.
        field: &'static str,
        /// Its value.
        value: String,
        /// A valid value.
        example: &'static str,
    },
    /// Name, namespace or uid is missing: the object does not come from an API server.
    #[error("the ModelCache has no metadata.{0}: create it through the API server")]
    Metadata(&'static str),
}

/// A ModelCache with its spec parsed and every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedCache {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
    /// The model's source.
    pub source: ModelSource,
    /// Selection of files.
    pub files: Files,
    /// The claim to publish on.
    pub claim: ClaimPlan,
    /// Layout of the published folder.
    pub layout: ClaimLayout,
    /// Placement of the fetchers.
    pub placement: Placement,
    /// Free resources that a consumer needs on one node.
    pub needs: Option<Needs>,
    /// Transfer settings.
    pub transfer: Transfer,
    /// Value of the retry annotation.
    pub retry: Option<String>,
}

/// Parses the spec.
pub fn validate(cache: &ModelCache) -> Result<ValidatedCache, InvalidSpec> {
    let name = cache.metadata.name.clone().ok_or(InvalidSpec::Metadata("name"))?;
    let source = ModelSource::parse(&cache.spec.source).ok_or(InvalidSpec::NoSource)?;
    let spec = cache.spec.clone();
    let storage = spec.storage.unwrap_or_default();
    Ok(ValidatedCache {
        namespace: cache.namespace().ok_or(InvalidSpec::Metadata("namespace"))?,
        uid: cache.uid().ok_or(InvalidSpec::Metadata("uid"))?,
        layout: source.kind().claim_layout(storage.layout)?,
        source,
        files: spec.files.unwrap_or_default(),
        claim: ClaimPlan::parse(&name, storage)?,
        placement: spec.placement.unwrap_or_default(),
        needs: spec.requirements.as_ref().map(needs).transpose()?.flatten(),
        transfer: Transfer::parse(spec.fetch.unwrap_or_default(), spec.mirrors)?,
        retry: cache.annotations().get(names::ANNOTATION_RETRY).cloned(),
        name,
    })
}

impl ValidatedCache {
    /// Key of its claim in the watches' indexes.
    #[must_use]
    pub fn claim_key(&self) -> String {
        key_of(&self.namespace, self.claim.name())
    }

    /// Key of its claim when no other ModelCache uses it.
    ///
    /// An existing claim can serve other models: their consumers hold memory as any pod does.
    #[must_use]
    pub fn own_claim_key(&self) -> Option<String> {
        match &self.claim {
            ClaimPlan::Own(_) => Some(self.claim_key()),
            ClaimPlan::Existing { .. } => None,
        }
    }
}

fn needs(requirements: &Requirements) -> Result<Option<Needs>, InvalidSpec> {
    let memory = requirements
        .memory
        .as_ref()
        .map(|memory| positive("requirements.memory", memory, "24Gi"))
        .transpose()?;
    let gpu = requirements
        .gpu
        .as_ref()
        .map(|gpu| (i64::from(gpu.count), gpu.resource_name.clone()));
    Ok((memory.is_some() || gpu.is_some()).then_some(Needs { memory, gpu }))
}

fn positive(field: &'static str, value: &Quantity, example: &'static str) -> Result<i64, InvalidSpec> {
    quantity::parse(value)
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| InvalidSpec::Quantity {
            field,
            value: value.0.clone(),
            example,
        })
}

#[cfg(test)]
mod tests;
