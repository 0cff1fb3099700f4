//! The status last written, assumed until the watch delivers it; as the scheduler's assume cache does for pods.
//!
//! A decision from a stale status would publish an event twice, count a failure twice and move a transition time.
//! Resource versions are only compared for equality.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::ResourceExt;
use modelcache_crds::{ModelCache, ModelCacheStatus};

/// Statuses that the watch has not delivered yet, by uid.
#[derive(Debug, Default)]
pub struct AssumedStatuses {
    by_uid: Mutex<HashMap<String, Pending>>,
}

#[derive(Debug)]
struct Pending {
    seen: Option<String>,
    status: ModelCacheStatus,
}

impl AssumedStatuses {
    /// The newest known status: the one written last, while the object is still the one it was decided from.
    #[must_use]
    pub fn latest(&self, cache: &ModelCache) -> ModelCacheStatus {
        let uid = cache.uid().unwrap_or_default();
        let mut by_uid = self.lock();
        match by_uid.get(&uid) {
            Some(pending) if pending.seen == cache.resource_version() => pending.status.clone(),
            Some(_) => {
                by_uid.remove(&uid);
                cache.status.clone().unwrap_or_default()
            }
            None => cache.status.clone().unwrap_or_default(),
        }
    }

    /// Records that writing `status` turned `before` into `after`.
    pub fn remember(&self, before: &ModelCache, after: &ModelCache, status: ModelCacheStatus) {
        if before.resource_version() == after.resource_version() {
            return;
        }
        let pending = Pending {
            seen: before.resource_version(),
            status,
        };
        self.lock().insert(before.uid().unwrap_or_default(), pending);
    }

    /// Drops the status of a deleted ModelCache.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Pending>> {
        self.by_uid.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use modelcache_crds::ModelCacheSpec;

    use super::*;

    fn cache(version: &str, path: &str) -> ModelCache {
        let spec: ModelCacheSpec = serde_json::from_value(serde_json::json!({ "source": {} })).unwrap();
        let mut cache = ModelCache::new("model", spec);
        cache.metadata.uid = Some("uid".to_owned());
        cache.metadata.resource_version = Some(version.to_owned());
        cache.status = Some(status(path));
        cache
    }

    fn status(path: &str) -> ModelCacheStatus {
        ModelCacheStatus {
            path: Some(path.to_owned()),
            ..ModelCacheStatus::default()
        }
    }

    #[test]
    fn a_written_status_counts_until_the_watch_delivers_anything_newer() {
        let assumed = AssumedStatuses::default();
        let before = cache("1", "old");
        assumed.remember(&before, &cache("2", "new"), status("new"));
        assert_eq!(assumed.latest(&before), status("new"));
        assert_eq!(assumed.latest(&cache("2", "new")), status("new"));
        assert_eq!(
            assumed.latest(&cache("3", "of somebody else")),
            status("of somebody else")
        );
    }
}
