//! One reconcile of one ModelCache: validate, observe, decide, build and apply, status.

mod apply;
mod assumed_status;
pub mod build;
pub mod decide;
pub mod facts;
pub mod failure_reason;
mod job_inputs;
pub mod observe;

mod refusal;
pub mod source;
mod status;
pub mod validate;

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::Resource;
use kube::core::DeserializeGuard;
use kube::runtime::controller::Action;
use modelcache_crds::{ModelCache, ModelCacheStatus};
use tracing::{Instrument, info_span, warn};

use crate::context::Context;
use crate::error::Error;
use crate::events;
use crate::metrics::Outcome;
use crate::watch_index::object_key;
use apply::Failure;
use decide::{Decision, Input};
use observe::Informers;
use validate::ValidatedCache;

pub use assumed_status::AssumedStatuses;

/// Limit for one reconcile; kube alone retries a request for minutes.
const RECONCILE_TIMEOUT: Duration = Duration::from_mins(1);

/// The state that all reconciles share.
pub struct Reconciler {
    /// Client, settings and metrics.
    pub context: Arc<Context>,
    /// The watched objects.
    pub informers: Informers,
    /// Statuses that the watch has not delivered yet.
    pub assumed: AssumedStatuses,
}

/// Reconciles one ModelCache.
pub async fn reconcile(
    object: Arc<DeserializeGuard<ModelCache>>,
    reconciler: Arc<Reconciler>,
) -> Result<Action, Error> {
    let context = &reconciler.context;
    let cache = match &object.0 {
        Ok(cache) => cache,
        Err(invalid) => {
            warn!(
                object = object_key(object.as_ref()),
                error = invalid.error,
                "skipped a ModelCache that does not match the schema"
            );
            context.metrics.skipped_unreadable();
            return Ok(Action::await_change());
        }
    };
    let key = object_key(cache);
    let span = info_span!(parent: None, "reconcile", object = key, generation = cache.metadata.generation);
    let running = context.health.reconcile_started();
    let started = Instant::now();
    let result = tokio::time::timeout(RECONCILE_TIMEOUT, step(&reconciler, cache).instrument(span))
        .await
        .unwrap_or(Err(Error::Timeout(RECONCILE_TIMEOUT)));
    drop(running);
    let outcome = if result.is_ok() { Outcome::Done } else { Outcome::Failed };
    context.metrics.reconciled(outcome, started.elapsed());
    match &result {
        Ok(_) => context.errors.succeeded(&key),
        Err(error) => context.metrics.failed(error.category()),
    }
    result
}

async fn step(reconciler: &Reconciler, cache: &ModelCache) -> Result<Action, Error> {
    // No finalizer, nothing to do: the garbage collector deletes the children.
    if cache.metadata.deletion_timestamp.is_some() {
        return Ok(Action::await_change());
    }
    let context = &reconciler.context;
    let previous = reconciler.assumed.latest(cache);
    // Status has whole seconds.
    let now = Timestamp::from_second(Timestamp::now().as_second()).unwrap_or_default();

    let (decision, applied) = match validate::validate(cache) {
        Err(invalid) => (decide::refuse(&invalid, &previous), Ok(())),
        Ok(valid) => {
            let observed = observe::observe(context, &reconciler.informers, &valid).await?;
            let decision = decide::decide(&Input {
                cache: &valid,
                status: &previous,
                observed: &observed,
                image: &context.settings.fetcher,
                now,
            });
            apply_decision(context, &valid, decision).await
        }
    };

    let source = source::ModelSource::parse(&cache.spec.source).map(|source| source.kind().name());
    let status = status::assemble(&decision, source, cache.metadata.generation, now);
    if status::is_worth_writing(&previous, &status, now) {
        write_status(reconciler, cache, &previous, status, &decision).await?;
    }
    applied.map_err(|failure| Error::Apply {
        what: failure.target.what(),
        source: failure.source,
    })?;
    Ok(Action::requeue(decision.requeue))
}

/// Applies a decision; a refusal of the API server becomes part of the conditions.
async fn apply_decision(
    context: &Context,
    cache: &ValidatedCache,
    mut decision: Decision,
) -> (Decision, Result<(), Failure>) {
    let image = &context.settings.fetcher;
    let (tolerated, applied) = apply::apply(&context.client, cache, image, &decision.actions).await;
    for failure in tolerated.iter().chain(applied.as_ref().err()) {
        refusal::explain(&mut decision, failure.target, &failure.source);
    }
    (decision, applied)
}

async fn write_status(
    reconciler: &Reconciler,
    cache: &ModelCache,
    previous: &ModelCacheStatus,
    status: ModelCacheStatus,
    decision: &Decision,
) -> Result<(), Error> {
    let context = &reconciler.context;
    let after = match status::write(&context.client, cache, &status).await {
        Ok(after) => after,
        // Deleted meanwhile, or deleted and recreated: the watch delivers the rest.
        Err(kube::Error::Api(refusal)) if refusal.is_not_found() || refusal.is_conflict() => return Ok(()),
        Err(source) => return Err(Error::Status { source }),
    };
    let drafts = events::for_transitions(previous, &status);
    reconciler.assumed.remember(cache, &after, status);
    if let Some(class) = decision.tally.failed {
        context.metrics.attempt_failed(class);
    }
    if let Some(bytes) = decision.tally.published_bytes {
        context.metrics.published(bytes);
    }
    context.recorder.publish(&drafts, &cache.object_ref(&())).await;
    Ok(())
}

/// Schedules the next reconcile after a failed one.
#[must_use]
pub fn after_error(object: &DeserializeGuard<ModelCache>, error: &Error, reconciler: &Reconciler) -> Action {
    let key = object_key(object);
    let pause = reconciler.context.errors.failed(&key);
    warn!(
        object = key,
        error = error as &dyn std::error::Error,
        pause_seconds = pause.as_secs(),
        "reconcile failed and is retried"
    );
    Action::requeue(pause)
}

#[cfg(test)]
mod tests;
