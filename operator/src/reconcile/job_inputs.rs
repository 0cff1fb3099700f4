//! Hashes of what each Job is built from.
//!
//! Other inputs make another Job with its own attempts: a corrected spec, a corrected image of the fetcher and a changed
//! retry annotation start over at once. A result in status stays.

use modelcache_crds::model_cache::{Files, HubCacheStatus, Placement, Resolved};
use modelcache_crds::names;
use serde::Serialize;

use crate::context::FetcherImage;
use crate::reconcile::source::{Access, ClaimLayout};
use crate::reconcile::validate::{Transfer, ValidatedCache};

/// What the listing depends on; not the credentials, because others list the same revision.
#[derive(Serialize)]
struct SourceInputs<'a> {
    address: String,
    options: Vec<String>,
    files: &'a Files,
}

/// What both Jobs' pods depend on besides the source.
#[derive(Serialize)]
struct PodInputs<'a> {
    cache_uid: &'a str,
    access: Access,
    placement: &'a Placement,
    retry: Option<&'a str>,
    image: &'a FetcherImage,
}

#[derive(Serialize)]
struct PlanInputs<'a> {
    source: SourceInputs<'a>,
    pod: PodInputs<'a>,
}

#[derive(Serialize)]
struct FetchInputs<'a> {
    source: SourceInputs<'a>,
    revision: &'a str,
    digest: &'a str,
    claim: &'a str,
    sub_path: Option<&'a str>,
    transfer: &'a Transfer,
    hub_cache: Option<HubCacheStatus>,
    pod: PodInputs<'a>,
}

impl ValidatedCache {
    /// Hash of what the listing depends on.
    #[must_use]
    pub fn source_hash(&self) -> String {
        names::inputs_hash(&self.source_inputs())
    }

    /// Hash of what a plan Job is built from.
    #[must_use]
    pub fn plan_inputs(&self, image: &FetcherImage) -> String {
        names::inputs_hash(&PlanInputs {
            source: self.source_inputs(),
            pod: self.pod_inputs(image),
        })
    }

    /// Hash of what a fetch Job is built from.
    #[must_use]
    pub fn fetch_inputs(&self, resolved: &Resolved, image: &FetcherImage) -> String {
        names::inputs_hash(&FetchInputs {
            source: self.source_inputs(),
            revision: &resolved.revision,
            digest: &resolved.digest,
            claim: self.claim.name(),
            sub_path: self.claim.sub_path(),
            transfer: &self.transfer,
            hub_cache: self.hub_cache(resolved),
            pod: self.pod_inputs(image),
        })
    }

    /// The revision that the hub's clients ask for, with its commit.
    ///
    /// `None` when the layout is not theirs.
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

    fn source_inputs(&self) -> SourceInputs<'_> {
        let source = self.source.kind();
        SourceInputs {
            address: source.address(),
            options: source.options(),
            files: &self.files,
        }
    }

    fn pod_inputs<'a>(&'a self, image: &'a FetcherImage) -> PodInputs<'a> {
        PodInputs {
            cache_uid: &self.uid,
            access: self.source.kind().access(),
            placement: &self.placement,
            retry: self.retry.as_deref(),
            image,
        }
    }
}

#[cfg(test)]
mod tests;
