//! The status last written, as long as the watch has not brought it back.
//!
//! A decision made from the status before last would tell an event twice, count a failure twice and move a
//! transition time. The resource versions are only compared for being the same.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kube::ResourceExt;
use modelcache_crds::{ModelCache, ModelCacheStatus};

/// Statuses on their way back, by uid.
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
    /// The newest status known: what was written last, if the given object still is the one it was decided from.
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

    /// Notes that `status` was written over `before`, which made it `after`.
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

    /// Forgets a deleted ModelCache.
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
    fn what_was_written_counts_until_the_watch_brings_anything_newer() {
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
