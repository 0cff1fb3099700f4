//! Builds the operator's objects from valid values; nothing here can fail.

mod claim;
mod fetch_job;
mod plan_job;
mod pod;

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::Resource;
use modelcache_crds::ModelCache;
use modelcache_crds::names::{self, recommended};

use crate::reconcile::facts::Step;
use crate::reconcile::validate::ValidatedCache;

pub(crate) use claim::claim;
pub(crate) use fetch_job::fetch_job;
pub(crate) use plan_job::plan_job;

/// Labels of every child.
fn labels(cache: &ValidatedCache, component: &str) -> BTreeMap<String, String> {
    [
        (recommended::NAME, names::PRODUCT.to_owned()),
        (recommended::INSTANCE, names::label_value(&cache.name)),
        (recommended::COMPONENT, component.to_owned()),
        (recommended::PART_OF, names::PRODUCT.to_owned()),
        (recommended::MANAGED_BY, names::MANAGED_BY.to_owned()),
        (names::LABEL_CACHE, names::label_value(&cache.name)),
        (names::LABEL_CACHE_UID, cache.uid.clone()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

/// The ModelCache's whole name, which leads watches from a child to it; a label holds 63 characters only.
fn annotations(cache: &ValidatedCache) -> BTreeMap<String, String> {
    BTreeMap::from([(names::ANNOTATION_CACHE.to_owned(), cache.name.clone())])
}

/// The owner reference to the ModelCache.
///
/// It does not block foreground deletion, which would need permission to set finalizers.
fn owner(cache: &ValidatedCache, controller: bool) -> OwnerReference {
    OwnerReference {
        api_version: ModelCache::api_version(&()).into_owned(),
        kind: ModelCache::kind(&()).into_owned(),
        name: cache.name.clone(),
        uid: cache.uid.clone(),
        controller: Some(controller),
        block_owner_deletion: Some(false),
    }
}

/// One attempt at one step.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attempt<'a> {
    /// Hash of the Job's inputs.
    pub(crate) inputs: &'a str,
    /// Its number, from 1.
    pub(crate) number: i32,
}

fn job_metadata(cache: &ValidatedCache, step: Step, attempt: Attempt<'_>) -> ObjectMeta {
    ObjectMeta {
        name: Some(names::job_name(
            &cache.name,
            step.as_str(),
            attempt.inputs,
            attempt.number,
        )),
        namespace: Some(cache.namespace.clone()),
        labels: Some(job_labels(cache, step, attempt)),
        annotations: Some(annotations(cache)),
        owner_references: Some(vec![owner(cache, true)]),
        ..ObjectMeta::default()
    }
}

fn job_labels(cache: &ValidatedCache, step: Step, attempt: Attempt<'_>) -> BTreeMap<String, String> {
    let mut labels = labels(cache, "fetcher");
    labels.insert(names::LABEL_STEP.to_owned(), step.as_str().to_owned());
    labels.insert(names::LABEL_INPUTS.to_owned(), attempt.inputs.to_owned());
    labels.insert(names::LABEL_ATTEMPT.to_owned(), attempt.number.to_string());
    labels
}

#[cfg(test)]
mod tests;
