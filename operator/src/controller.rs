//! The watches, and the ModelCaches that a change triggers.

use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, Stream, StreamExt, TryStreamExt, future};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{PersistentVolumeClaim, Pod};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::core::DeserializeGuard;
use kube::runtime::controller::{Config, Controller};
use kube::runtime::reflector::{ObjectRef, Store, store};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Resource, ResourceExt};
use modelcache_crds::conditions::{ConditionType, Reason};
use modelcache_crds::{ModelCache, names};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::context::Context;
use crate::http::Phase;
use crate::metrics::{Metrics, Watched};
use crate::reconcile::observe::Informers;
use crate::reconcile::{AssumedStatuses, Reconciler, after_error, reconcile};
use crate::watch_index::object_key;

/// A Job, its pod and the status change together; one reconcile handles all three.
const RECONCILE_DEBOUNCE: Duration = Duration::from_millis(50);

type Guarded = DeserializeGuard<ModelCache>;

/// Runs the controller until shutdown; running reconciles finish first.
pub async fn run(context: Arc<Context>, shutdown: CancellationToken) {
    let client = context.client.clone();
    let namespace = context.settings.watch_namespace.clone();
    let namespace = namespace.as_deref();
    let metrics = &context.metrics;
    let ours = watcher::Config::default().labels(&format!("{}={}", names::recommended::MANAGED_BY, names::MANAGED_BY));
    let all = watcher::Config::default();

    let (caches, cache_writer) = store();
    let (classes, class_writer) = store();
    let (informers, indexes) = Informers::new(caches.clone(), classes);
    let reconciler = Arc::new(Reconciler {
        context: Arc::clone(&context),
        informers,
        assumed: AssumedStatuses::default(),
    });

    let forget = Arc::clone(&reconciler);
    let cache_stream = watch::<Guarded>(scoped(&client, namespace), all.clone(), Watched::ModelCaches, metrics)
        .reflect(cache_writer)
        .inspect_ok(move |event| indexes.claim_uses.apply(event))
        .inspect_ok(move |event| {
            if let watcher::Event::Delete(cache) = event {
                forget.assumed.forget(&cache.uid().unwrap_or_default());
                forget.context.errors.succeeded(&object_key(cache));
            }
        })
        .applied_objects()
        .predicate_filter(
            |cache: &Guarded| Some(trigger_hash(cache)),
            kube::runtime::PredicateConfig::default(),
        );
    let job_stream = watch::<Job>(scoped(&client, namespace), ours.clone(), Watched::Jobs, metrics)
        .inspect_ok(move |event| indexes.jobs.apply(event))
        .touched_objects();
    let pod_stream = watch::<Pod>(scoped(&client, namespace), ours.clone(), Watched::Pods, metrics)
        .inspect_ok(move |event| indexes.pods.apply(event))
        .touched_objects();
    let claim_stream = watch::<PersistentVolumeClaim>(scoped(&client, namespace), ours, Watched::Claims, metrics)
        .inspect_ok(move |event| indexes.claims.apply(event))
        .touched_objects();
    let class_stream = watch::<StorageClass>(Api::all(client.clone()), all, Watched::StorageClasses, metrics)
        .reflect(class_writer)
        .touched_objects();

    let for_classes = caches.clone();
    let for_capacity = caches.clone();
    let for_metrics = caches.clone();
    context.metrics.count_caches_by(move || ready_reasons(&for_metrics));
    let capacity_changes = context
        .view
        .changes()
        .flat_map(move |()| futures::stream::iter(waiting_for(&for_capacity, &[ConditionType::CapacityAvailable])));
    let controller = Controller::for_stream(cache_stream, caches)
        .with_config(
            Config::default()
                .concurrency(context.settings.concurrency)
                .debounce(RECONCILE_DEBOUNCE),
        )
        .watches_stream(job_stream, |job| cache_of(&job))
        .watches_stream(pod_stream, |pod| cache_of(&pod))
        .watches_stream(claim_stream, |claim| cache_of(&claim))
        .watches_stream(class_stream, move |_| {
            waiting_for(&for_classes, &[ConditionType::StorageReady])
        })
        .reconcile_on(capacity_changes)
        .graceful_shutdown_on(shutdown.cancelled_owned())
        .run(
            reconcile,
            |object, error, reconciler| after_error(&object, error, &reconciler),
            Arc::clone(&reconciler),
        );

    let results = controller.for_each(|result| {
        match result {
            Ok((object, action)) => debug!(%object, ?action, "reconciled"),
            // Errors are logged where they are handled; this one is a ModelCache deleted meanwhile.
            Err(error) => debug!(error = &error as &dyn std::error::Error, "not reconciled"),
        }
        future::ready(())
    });
    let ready = report_ready(&reconciler).then(|()| future::pending::<()>());
    // Not joined: at shutdown the watches can end before their first list.
    tokio::select! {
        () = results => {}
        () = ready => {}
    }
}

async fn report_ready(reconciler: &Reconciler) {
    if reconciler.informers.synced().await.is_ok() {
        reconciler.context.view.synced().await;
        reconciler.context.health.set_phase(Phase::Leading);
        info!(caches = reconciler.informers.caches.len(), "watches are synced");
    }
}

fn scoped<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// Watches forever with backoff, and drops metadata that nothing reads.
fn watch<K>(
    api: Api<K>,
    config: watcher::Config,
    watched: Watched,
    metrics: &Arc<Metrics>,
) -> impl Stream<Item = watcher::Result<watcher::Event<K>>> + Send + 'static
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let metrics = Arc::clone(metrics);
    watcher(api, config)
        .modify(|object| {
            object.managed_fields_mut().clear();
            object
                .annotations_mut()
                .remove("kubectl.kubernetes.io/last-applied-configuration");
        })
        .inspect_err(move |error| {
            metrics.watch_failed(watched);
            warn!(
                error = error as &dyn std::error::Error,
                ?watched,
                "watch failed and restarts"
            );
        })
        .default_backoff()
        // Logged and backed off above: passed on, one failing watch would make the controller pause all others.
        .filter(|event| future::ready(event.is_ok()))
}

/// Hash of the parts of a ModelCache that trigger a reconcile.
///
/// The status counts only by the results of Jobs: once they are written, the next reconcile deletes the Job.
fn trigger_hash(cache: &Guarded) -> u64 {
    let mut hasher = DefaultHasher::new();
    let meta = cache.meta();
    meta.generation.hash(&mut hasher);
    meta.labels.hash(&mut hasher);
    meta.annotations.hash(&mut hasher);
    meta.deletion_timestamp.is_some().hash(&mut hasher);
    if let Ok(cache) = &cache.0 {
        let status = cache.status.as_ref();
        let resolved = status.and_then(|status| status.resolved.as_ref());
        resolved
            .map(|resolved| (&resolved.source_hash, &resolved.digest))
            .hash(&mut hasher);
        status
            .and_then(|status| status.published_digest.as_ref())
            .hash(&mut hasher);
        // Somebody removed the status: the operator writes it again.
        status.is_none().hash(&mut hasher);
    }
    hasher.finish()
}

/// The ModelCache of a child object.
fn cache_of(child: &impl ResourceExt) -> Option<ObjectRef<Guarded>> {
    let name = child.annotations().get(names::ANNOTATION_CACHE)?;
    Some(ObjectRef::new(name).within(&child.namespace()?))
}

/// The ModelCaches whose `Ready` one of these conditions holds back.
fn waiting_for(caches: &Store<Guarded>, kinds: &[ConditionType]) -> Vec<ObjectRef<Guarded>> {
    caches
        .state()
        .iter()
        .filter(|guard| {
            let reason = guard.0.as_ref().ok().and_then(ready_reason);
            Reason::ALL
                .iter()
                .filter(|known| Some(known.as_str()) == reason)
                .any(|known| known.conditions().iter().any(|kind| kinds.contains(kind)))
        })
        .map(|guard| ObjectRef::from_obj(guard.as_ref()))
        .collect()
}

fn ready_reasons(caches: &Store<Guarded>) -> Vec<String> {
    caches
        .state()
        .iter()
        .filter_map(|guard| guard.0.as_ref().ok().and_then(ready_reason).map(str::to_owned))
        .collect()
}

fn ready_reason(cache: &ModelCache) -> Option<&str> {
    cache
        .status
        .as_ref()?
        .conditions
        .iter()
        .find(|condition| condition.type_ == ConditionType::Ready.as_str())
        .map(|condition| condition.reason.as_str())
}

#[cfg(test)]
mod tests;
