//! The spec, parsed once: everything after this works on values that cannot be wrong.
//!
//! The API server's schema refuses most of what is wrong; what it cannot see ends as `InvalidSpec`.

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::ResourceExt;
use modelcache_crds::model_cache::{
    AccessMode, Files, HubCacheStatus, Layout, Mirror, Placement, ReclaimPolicy, Requirements, Resolved, Storage,
};
use modelcache_crds::{ModelCache, names, quantity};
use serde::Serialize;
use thiserror::Error;

use crate::capacity::Needs;
use crate::context::FetcherImage;
use crate::reconcile::source::ModelSource;

/// Why a spec cannot be worked on. Always permanent: only another spec helps.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidSpec {
    /// No source, or one this operator does not know.
    #[error(
        "spec.source names no source that this operator knows: set exactly one member, for example source.huggingFace"
    )]
    NoSource,
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

/// The claim to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimPlan {
    /// One that we make.
    Own(OwnClaim),
    /// One that is there.
    Existing {
        /// Its name.
        name: String,
        /// Folder in it.
        sub_path: Option<String>,
    },
}

/// How the published folder is laid out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClaimLayout {
    /// As the source lists its files; for Ollama that is Ollama's own layout.
    #[default]
    AsListed,
    /// As the hub's clients keep a model.
    HubCache {
        /// The revision they are to find it by.
        reference: String,
    },
}

/// A claim that we make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnClaim {
    /// Its name.
    pub name: String,
    /// Its size in bytes; from the listing when not given.
    pub size: Option<i64>,
    /// Its class; the cluster's default when not given.
    pub storage_class: Option<String>,
    /// How it may be mounted.
    pub access_modes: Vec<AccessMode>,
    /// What becomes of it when the ModelCache is deleted.
    pub reclaim: ReclaimPolicy,
}

impl ClaimPlan {
    /// Name of the claim.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Own(own) => &own.name,
            Self::Existing { name, .. } => name,
        }
    }

    /// Folder in the claim, when not its root.
    #[must_use]
    pub fn sub_path(&self) -> Option<&str> {
        match self {
            Self::Own(_) => None,
            Self::Existing { sub_path, .. } => sub_path.as_deref(),
        }
    }
}

/// How the bytes are fetched; what is not given is the fetcher's default.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Transfer {
    /// Further places.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mirrors: Vec<Mirror>,
    /// Connections in all.
    pub connections: Option<i32>,
    /// Files at the same time.
    pub parallel_files: Option<i32>,
    /// Bytes per second, over all connections.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes_per_second: Option<i64>,
    /// Seconds without a byte before a connection is given up.
    pub stall_timeout_seconds: Option<i32>,
    /// Resources of the fetching container.
    pub resources: Option<ResourceRequirements>,
}

/// Parses the spec.
pub fn validate(cache: &ModelCache) -> Result<ValidatedCache, InvalidSpec> {
    let name = cache.metadata.name.clone().ok_or(InvalidSpec::Metadata("name"))?;
    let source = ModelSource::parse(&cache.spec.source).ok_or(InvalidSpec::NoSource)?;
    let fetch = cache.spec.fetch.clone().unwrap_or_default();
    Ok(ValidatedCache {
        namespace: cache.namespace().ok_or(InvalidSpec::Metadata("namespace"))?,
        uid: cache.uid().ok_or(InvalidSpec::Metadata("uid"))?,
        layout: claim_layout(&source, cache.spec.storage.as_ref()),
        source,
        files: cache.spec.files.clone().unwrap_or_default(),
        claim: claim_plan(&name, cache.spec.storage.as_ref())?,
        placement: cache.spec.placement.clone().unwrap_or_default(),
        needs: cache.spec.requirements.as_ref().map(needs).transpose()?.flatten(),
        transfer: Transfer {
            mirrors: cache.spec.mirrors.clone(),
            connections: fetch.connections,
            parallel_files: fetch.parallel_files,
            max_bytes_per_second: fetch
                .max_bytes_per_second
                .as_ref()
                .map(|rate| positive("fetch.maxBytesPerSecond", rate, "50Mi"))
                .transpose()?,
            stall_timeout_seconds: fetch.stall_timeout_seconds,
            resources: fetch.resources,
        },
        retry: cache.annotations().get(names::ANNOTATION_RETRY).cloned(),
        name,
    })
}

fn claim_plan(cache: &str, storage: Option<&Storage>) -> Result<ClaimPlan, InvalidSpec> {
    let storage = storage.cloned().unwrap_or_default();
    if let Some(existing) = storage.existing_claim {
        return Ok(ClaimPlan::Existing {
            name: existing.claim_name,
            sub_path: existing.sub_path,
        });
    }
    let size = storage
        .size
        .as_ref()
        .map(|size| positive("storage.size", size, "40Gi"))
        .transpose()?;
    Ok(ClaimPlan::Own(OwnClaim {
        name: names::claim_name(cache),
        size,
        storage_class: storage.storage_class_name,
        access_modes: storage.access_modes.unwrap_or_else(|| vec![AccessMode::ReadWriteOnce]),
        reclaim: storage.reclaim_policy.unwrap_or_default(),
    }))
}

/// The schema has refused a layout that does not go with the source.
fn claim_layout(source: &ModelSource, storage: Option<&Storage>) -> ClaimLayout {
    match (storage.and_then(|storage| storage.layout), source) {
        (Some(Layout::HuggingFaceCache), ModelSource::HuggingFace(source)) => ClaimLayout::HubCache {
            reference: source.revision.clone(),
        },
        _ => ClaimLayout::AsListed,
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

impl ValidatedCache {
    /// Hash of what the listing depends on; a token is not part of it, as another one lists the same commit.
    #[must_use]
    pub fn source_hash(&self) -> String {
        self.source.hash(&self.files)
    }

    /// Hash of all that goes into a plan Job.
    ///
    /// Other inputs make another Job with attempts of its own. So a corrected spec, a corrected image of the
    /// fetcher and a changed retry annotation all start over at once; a result that stands in status stays.
    #[must_use]
    pub fn plan_inputs(&self, image: &FetcherImage) -> String {
        names::inputs_hash(&(self.source_hash(), self.shared_inputs(image)))
    }

    /// Hash of all that goes into a fetch Job.
    #[must_use]
    pub fn fetch_inputs(&self, resolved: &Resolved, image: &FetcherImage) -> String {
        names::inputs_hash(&(
            self.source_hash(),
            &resolved.revision,
            &resolved.digest,
            self.claim.name(),
            self.claim.sub_path(),
            TransferInputs {
                transfer: &self.transfer,
                hub_cache: self.hub_cache(resolved),
            },
            self.shared_inputs(image),
        ))
    }

    /// What clients will find the model by, where it is published for them.
    #[must_use]
    pub fn hub_cache(&self, resolved: &Resolved) -> Option<HubCacheStatus> {
        match &self.layout {
            ClaimLayout::AsListed => None,
            ClaimLayout::HubCache { reference } => Some(HubCacheStatus {
                reference: reference.clone(),
                revision: resolved.revision.clone(),
            }),
        }
    }

    fn shared_inputs(&self, image: &FetcherImage) -> impl Serialize {
        (
            self.uid.clone(),
            self.source.access_inputs(),
            self.placement.clone(),
            self.retry.clone(),
            image.image.clone(),
            image.pull_policy.clone(),
            image.pull_secrets.clone(),
        )
    }
}

/// Without a layout it is what it was before there were any: a fetch under way stays the same.
#[derive(Serialize)]
struct TransferInputs<'a> {
    #[serde(flatten)]
    transfer: &'a Transfer,
    #[serde(skip_serializing_if = "Option::is_none")]
    hub_cache: Option<HubCacheStatus>,
}

#[cfg(test)]
mod tests;
