//! Reads what a decision depends on from the watches' indexes.
//!
//! The one API request is for a claim that the operator did not create and so does not watch. The fetcher's progress
//! comes from its pod.

use std::sync::Arc;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::Store;
use kube::{Api, ResourceExt};
use modelcache_crds::report::ProgressReport;
use modelcache_crds::{ModelCache, names};
use tracing::debug;

use crate::context::Context;
use crate::error::Error;
use crate::reconcile::facts::{
    ClaimFacts, ClaimUse, ClassFacts, FetcherPod, JobFacts, Observation, PodPhase, Step, conflicting_cache,
};
use crate::reconcile::validate::{ClaimPlan, ValidatedCache};
use crate::watch_index::{IndexReader, IndexWriter, Indexed, WatchEnded, index};

/// The watched objects, except the nodes and pods of the capacity check.
#[derive(Clone)]
pub struct Informers {
    /// ModelCaches; an unreadable one has its metadata only.
    pub caches: Store<DeserializeGuard<ModelCache>>,
    /// ModelCaches by the key of their claim.
    pub claim_uses: IndexReader<ClaimUse>,
    /// The operator's Jobs, by ModelCache.
    pub jobs: IndexReader<JobFacts>,
    /// Pods of these Jobs, by ModelCache.
    pub pods: IndexReader<FetcherPod>,
    /// Claims that the operator created, by key.
    pub claims: IndexReader<ClaimFacts>,
    /// Every StorageClass.
    pub classes: Store<StorageClass>,
}

/// The writing sides of the indexes.
pub struct IndexWriters {
    /// Fed by the watch of ModelCaches.
    pub claim_uses: IndexWriter<DeserializeGuard<ModelCache>, ClaimUse>,
    /// Fed by the watch of Jobs.
    pub jobs: IndexWriter<Job, JobFacts>,
    /// Fed by the watch of pods.
    pub pods: IndexWriter<Pod, FetcherPod>,
    /// Fed by the watch of claims.
    pub claims: IndexWriter<PersistentVolumeClaim, ClaimFacts>,
}

impl Informers {
    /// Informers over these stores, with empty indexes.
    #[must_use]
    pub fn new(caches: Store<DeserializeGuard<ModelCache>>, classes: Store<StorageClass>) -> (Self, IndexWriters) {
        let (claim_uses, claim_use_writer) =
            index(|guard: &DeserializeGuard<ModelCache>| ClaimUse::index(guard.0.as_ref().ok()?));
        let (jobs, job_writer) = index(|job| of_cache(job, JobFacts::of(job)?));
        let (pods, pod_writer) = index(|pod| of_cache(pod, FetcherPod::of(pod)?));
        let (claims, claim_writer) = index(|claim| Some(Indexed::ungrouped(ClaimFacts::from(claim))));
        let readers = Self {
            caches,
            claim_uses,
            jobs,
            pods,
            claims,
            classes,
        };
        let writers = IndexWriters {
            claim_uses: claim_use_writer,
            jobs: job_writer,
            pods: pod_writer,
            claims: claim_writer,
        };
        (readers, writers)
    }

    /// Waits until everything has been listed once: an unlisted Job would look missing.
    pub async fn synced(&self) -> Result<(), Error> {
        // The same events fill the store of ModelCaches, before this index.
        listed("ModelCaches", &self.claim_uses).await?;
        listed("Jobs", &self.jobs).await?;
        listed("pods", &self.pods).await?;
        listed("claims", &self.claims).await?;
        let classes = self.classes.wait_until_ready().await;
        classes.map_err(|_| Error::WatchEnded("StorageClasses"))
    }
}

async fn listed<V>(what: &'static str, index: &IndexReader<V>) -> Result<(), Error> {
    let listed = index.wait_until_listed().await;
    listed.map_err(|WatchEnded| Error::WatchEnded(what))
}

/// A child's facts, by its ModelCache; `None` when its labels name none.
fn of_cache<V>(child: &impl ResourceExt, value: V) -> Option<Indexed<V>> {
    let uid = child.labels().get(names::LABEL_CACHE_UID)?;
    Some(Indexed {
        value,
        groups: vec![cache_group(&child.namespace()?, uid)],
    })
}

/// The index group of a ModelCache's children.
///
/// It includes the namespace, because anybody could write the label on a pod of another one.
fn cache_group(namespace: &str, uid: &str) -> String {
    format!("{namespace}/{uid}")
}

/// Reads everything that a decision on this ModelCache depends on.
pub async fn observe(context: &Context, informers: &Informers, cache: &ValidatedCache) -> Result<Observation, Error> {
    informers.synced().await?;
    context.view.synced().await;
    let group = cache_group(&cache.namespace, &cache.uid);
    let pods = copied(&informers.pods.group(&group));
    let claim_uses = informers.claim_uses.group(&cache.claim_key());
    let own_claim = cache.own_claim_key();
    Ok(Observation {
        jobs: copied(&informers.jobs.group(&group)),
        claim: observe_claim(context, informers, cache).await?,
        conflicting_cache: conflicting_cache(cache, claim_uses.iter().map(Arc::as_ref)),
        classes: informers
            .classes
            .state()
            .iter()
            .map(|class| ClassFacts::from(class.as_ref()))
            .collect(),
        capacity: context.view.capacity_for(&cache.uid, own_claim.as_deref()),
        progress: observe_progress(context, &pods).await,
        pods,
    })
}

fn copied<V: Clone>(facts: &[Arc<V>]) -> Vec<V> {
    facts.iter().map(|facts| V::clone(facts)).collect()
}

async fn observe_claim(
    context: &Context,
    informers: &Informers,
    cache: &ValidatedCache,
) -> Result<Option<ClaimFacts>, Error> {
    let name = cache.claim.name();
    if let ClaimPlan::Own(_) = cache.claim
        && let Some(claim) = informers.claims.get(&cache.claim_key())
    {
        return Ok(Some(ClaimFacts::clone(&claim)));
    }
    let claims = Api::<PersistentVolumeClaim>::namespaced(context.client.clone(), &cache.namespace);
    let claim = claims.get_opt(name).await.map_err(|source| Error::Observe {
        what: "the PersistentVolumeClaim",
        source,
    })?;
    Ok(claim.as_ref().map(ClaimFacts::from))
}

/// A fetcher that does not respond is asked again at the next reconcile.
async fn observe_progress(context: &Context, pods: &[FetcherPod]) -> Option<ProgressReport> {
    let running = pods
        .iter()
        .filter(|pod| pod.step == Step::Fetch && pod.phase == PodPhase::Running)
        .max_by_key(|pod| pod.created)?;
    let ip: std::net::IpAddr = running.ip.as_ref()?.parse().ok()?;
    let port = u16::try_from(names::FETCHER_PORT).ok()?;
    let url = format!("http://{}/progress", std::net::SocketAddr::new(ip, port));
    match read_progress(context, &url).await {
        Ok(progress) => Some(progress),
        Err(error) => {
            debug!(
                error = &error as &dyn std::error::Error,
                pod = running.name,
                "failed to read the fetcher's progress"
            );
            None
        }
    }
}

async fn read_progress(context: &Context, url: &str) -> Result<ProgressReport, reqwest::Error> {
    let answer = context.progress_client.get(url).send().await?.error_for_status()?;
    answer.json().await
}

#[cfg(test)]
mod tests;
