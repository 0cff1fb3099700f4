//! What there is, read from the informers' informers: the API server is asked for one thing only, a claim that the
//! operator did not make and so does not watch. And the fetcher is asked how far it is.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::{Lookup, ObjectRef, Store};
use kube::{Api, ResourceExt};
use modelcache_crds::report::ProgressReport;
use modelcache_crds::{ModelCache, names};
use tracing::debug;

use crate::context::Context;
use crate::error::Error;
use crate::reconcile::facts::{
    ClaimFacts, ClassFacts, FetcherPod, JobFacts, Observation, PodPhase, Step, conflicting_cache,
};
use crate::reconcile::validate::{ClaimPlan, ValidatedCache};

/// Everything the operator watches but nodes and pods as such.
#[derive(Clone)]
pub struct Informers {
    /// ModelCaches; one that cannot be read is there with its metadata only.
    pub caches: Store<DeserializeGuard<ModelCache>>,
    /// Jobs of ours.
    pub jobs: Store<Job>,
    /// Pods of these Jobs.
    pub pods: Store<Pod>,
    /// Claims that the operator made.
    pub claims: Store<PersistentVolumeClaim>,
    /// Every StorageClass.
    pub classes: Store<StorageClass>,
}

impl Informers {
    /// Waits until everything has been seen once: a Job that is not seen yet must not be taken for missing.
    pub async fn filled(&self) -> Result<(), Error> {
        wait("ModelCaches", &self.caches).await?;
        wait("Jobs", &self.jobs).await?;
        wait("pods", &self.pods).await?;
        wait("claims", &self.claims).await?;
        wait("StorageClasses", &self.classes).await
    }
}

async fn wait<K>(what: &'static str, store: &Store<K>) -> Result<(), Error>
where
    K: Lookup + Clone + 'static,
    K::DynamicType: Eq + std::hash::Hash + Clone,
{
    store.wait_until_ready().await.map_err(|_| Error::WatchEnded(what))
}

/// Reads all that a decision on this ModelCache looks at.
pub async fn observe(context: &Context, informers: &Informers, cache: &ValidatedCache) -> Result<Observation, Error> {
    informers.filled().await?;
    context.view.synced().await;
    let jobs = informers.jobs.state_filter(|job| is_of(cache, job));
    let pods = informers.pods.state_filter(|pod| is_of(cache, pod));
    let pods: Vec<FetcherPod> = pods.iter().filter_map(|pod| FetcherPod::of(pod)).collect();
    Ok(Observation {
        jobs: jobs.iter().filter_map(|job| JobFacts::of(job)).collect(),
        claim: observe_claim(context, informers, cache).await?,
        conflicting_cache: conflicting_cache(
            cache,
            informers
                .caches
                .state()
                .iter()
                .filter_map(|guard| guard.0.as_ref().ok()),
        ),
        classes: informers
            .classes
            .state()
            .iter()
            .map(|class| ClassFacts::from(class.as_ref()))
            .collect(),
        nodes: context.view.snapshot(),
        progress: observe_progress(context, &pods).await,
        pods,
    })
}

/// Labels alone could be written in any namespace, by whoever may create pods there.
fn is_of(cache: &ValidatedCache, child: &impl ResourceExt) -> bool {
    child.namespace().as_deref() == Some(&cache.namespace)
        && child.labels().get(names::LABEL_CACHE_UID) == Some(&cache.uid)
}

async fn observe_claim(
    context: &Context,
    informers: &Informers,
    cache: &ValidatedCache,
) -> Result<Option<ClaimFacts>, Error> {
    let name = cache.claim.name();
    if let ClaimPlan::Own(_) = cache.claim
        && let Some(claim) = informers.claims.get(&ObjectRef::new(name).within(&cache.namespace))
    {
        return Ok(Some(ClaimFacts::from(claim.as_ref())));
    }
    let claims = Api::<PersistentVolumeClaim>::namespaced(context.client.clone(), &cache.namespace);
    let claim = claims.get_opt(name).await.map_err(|source| Error::Observe {
        what: "the claim",
        source,
    })?;
    Ok(claim.as_ref().map(ClaimFacts::from))
}

/// A fetcher that does not answer is asked again at the next reconcile.
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
                "no progress to be had"
            );
            None
        }
    }
}

async fn read_progress(context: &Context, url: &str) -> Result<ProgressReport, reqwest::Error> {
    let answer = context.progress_client.get(url).send().await?.error_for_status()?;
    answer.json().await
}
