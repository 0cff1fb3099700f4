//! The spec, parsed once: everything after this works on values that cannot be wrong.
//!
//! The API server's schema refuses most of what is wrong; what it cannot see ends as `InvalidSpec`.

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

/// Why a spec cannot be worked on. Always permanent: only another spec helps.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidSpec {
    /// No source, or one this operator does not know.
    #[error(
        "spec.source names no source that this operator knows: set exactly one member, for example source.huggingFace"
    )]
    NoSource,
    /// A layout that the kind of source does not have.
    #[error("storage.layout {layout} does not fit {source_field}: write {allowed}, or leave storage.layout out")]
    Layout {
        /// The layout asked for.
        layout: &'static str,
        /// The source's member of the spec.
        source_field: &'static str,
        /// The layout that fits.
        allowed: &'static str,
    },
    /// A quantity that is none.
    #[error("{field} is not a positive quantity: {value}: write for example {example}")]
    Quantity {
        /// Where it stands.
        field: &'static str,
        /// What stands there.
        value: String,
        /// What could stand there.
        example: &'static str,
    },
    /// The object has no name, namespace or uid: it does not come from an API server.
    #[error("the object has no {0}")]
    Metadata(&'static str),
}

/// A ModelCache whose spec is parsed, with every default filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidatedCache {
    /// Its name.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// Its uid.
    pub uid: String,
    /// Where the model comes from.
    pub source: ModelSource,
    /// Which files.
    pub files: Files,
    /// Where they go.
    pub claim: ClaimPlan,
    /// How they are laid out.
    pub layout: ClaimLayout,
    /// Where fetchers may run.
    pub placement: Placement,
    /// What a node must have free for a consumer.
    pub needs: Option<Needs>,
    /// How the bytes are fetched.
    pub transfer: Transfer,
    /// Value of the annotation that asks to try again.
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
    /// Key of its claim, as watches index it.
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
