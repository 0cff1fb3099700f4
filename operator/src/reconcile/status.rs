//! The status: assembled from a decision, written whole, and only when it changed.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource, ResourceExt};
use modelcache_crds::conditions;
use modelcache_crds::model_cache::Progress;
use modelcache_crds::{ModelCache, ModelCacheStatus, names};
use serde_json::json;

use super::decide::Decision;
use super::decide::progress::PROGRESS_INTERVAL;

/// The status to write for a decision.
#[must_use]
pub(crate) fn assemble(
    decision: &Decision,
    source: Option<String>,
    generation: Option<i64>,
    now: Timestamp,
) -> ModelCacheStatus {
    let conditions = conditions::merge(
        &decision.status.conditions,
        &decision.conditions,
        generation.unwrap_or_default(),
        &Time(now),
    );
    ModelCacheStatus {
        observed_generation: generation,
        source,
        conditions,
        ..decision.status.clone()
    }
}

/// Whether the new status differs enough to be written.
#[must_use]
pub(crate) fn is_worth_writing(previous: &ModelCacheStatus, new: &ModelCacheStatus, now: Timestamp) -> bool {
    let without_progress = |status: &ModelCacheStatus| ModelCacheStatus {
        progress: None,
        ..status.clone()
    };
    if without_progress(previous) != without_progress(new) {
        return true;
    }
    let untimed = |progress: &Option<Progress>| {
        progress.clone().map(|progress| Progress {
            updated_time: None,
            ..progress
        })
    };
    if untimed(&previous.progress) == untimed(&new.progress) {
        return false;
    }
    let last = previous
        .progress
        .as_ref()
        .and_then(|progress| progress.updated_time.as_ref());
    last.is_none_or(|last| Duration::try_from(now.duration_since(last.0)).is_ok_and(|age| age >= PROGRESS_INTERVAL))
}

/// Writes the whole status; the API server removes fields that it omits.
pub(crate) async fn write(
    client: &Client,
    cache: &ModelCache,
    status: &ModelCacheStatus,
) -> Result<ModelCache, kube::Error> {
    let caches = Api::<ModelCache>::namespaced(client.clone(), &cache.namespace().unwrap_or_default());
    let patch = json!({
        "apiVersion": ModelCache::api_version(&()),
        "kind": ModelCache::kind(&()),
        // A ModelCache recreated under the name has a status of its own.
        "metadata": { "name": cache.name_any(), "uid": cache.uid() },
        "status": status,
    });
    let params = PatchParams::apply(names::STATUS_FIELD_MANAGER).force();
    caches
        .patch_status(&cache.name_any(), &params, &Patch::Apply(&patch))
        .await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(percent: i32, at: i64) -> ModelCacheStatus {
        ModelCacheStatus {
            progress: Some(Progress {
                percent,
                updated_time: Some(Time(Timestamp::from_second(at).unwrap())),
                ..Progress::default()
            }),
            ..ModelCacheStatus::default()
        }
    }

    #[test]
    fn progress_alone_is_written_at_most_every_ten_seconds() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let before = progress(10, 100);
        assert!(!is_worth_writing(&before, &progress(20, 105), at(105)));
        assert!(is_worth_writing(&before, &progress(20, 110), at(110)));
        assert!(!is_worth_writing(&before, &progress(10, 200), at(200)), "nothing moved");
    }

    #[test]
    fn any_other_change_is_written_at_once_and_an_equal_status_never() {
        let now = Timestamp::from_second(100).unwrap();
        let before = progress(10, 100);
        let after = ModelCacheStatus {
            claim_name: Some("claim".to_owned()),
            ..progress(10, 100)
        };
        assert!(is_worth_writing(&before, &after, now));
        assert!(!is_worth_writing(&after, &after.clone(), now));
    }
}
