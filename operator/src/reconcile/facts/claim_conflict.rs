//! Finds ModelCaches that use the same folder of a claim.
//!
//! Two of them would replace each other's model under their pods, so the one created first keeps the folder.

use jiff::Timestamp;
use kube::ResourceExt;
use modelcache_crds::{ModelCache, names};

use crate::reconcile::validate::ValidatedCache;
use crate::watch_index::{Indexed, key_of};

/// The use of a claim by a ModelCache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimUse {
    /// Name of the ModelCache.
    name: String,
    /// Its uid.
    uid: String,
    /// When it was created.
    created: Option<Timestamp>,
    /// Folder in the claim; `None` is its root.
    sub_path: Option<String>,
}

impl ClaimUse {
    /// The claim use of a ModelCache, grouped by the claim's key; `None` while it is being deleted.
    ///
    /// Read from the unvalidated spec, because a ModelCache with an invalid spec keeps its folder.
    #[must_use]
    pub fn index(cache: &ModelCache) -> Option<Indexed<Self>> {
        if cache.metadata.deletion_timestamp.is_some() {
            return None;
        }
        let storage = cache.spec.storage.as_ref();
        let (claim, sub_path) = match storage.and_then(|storage| storage.existing_claim.as_ref()) {
            Some(existing) => (existing.claim_name.clone(), existing.sub_path.clone()),
            None => (names::claim_name(&cache.name_any()), None),
        };
        Some(Indexed {
            value: Self {
                name: cache.name_any(),
                uid: cache.uid()?,
                created: cache.creation_timestamp().map(|created| created.0),
                sub_path,
            },
            groups: vec![key_of(&cache.namespace()?, &claim)],
        })
    }
}

/// The name of the ModelCache that keeps the folder; `None` when this one does.
///
/// Among the users of one folder, the one created first keeps it.
#[must_use]
pub fn conflicting_cache<'a>(cache: &ValidatedCache, uses: impl IntoIterator<Item = &'a ClaimUse>) -> Option<String> {
    let first = uses
        .into_iter()
        .filter(|other| other.uid == cache.uid || other.sub_path.as_deref() == cache.claim.sub_path())
        .min_by_key(|other| (other.created, &other.uid))?;
    (first.uid != cache.uid).then(|| first.name.clone())
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;
    use rstest::rstest;
    use serde_json::{Value, json};

    use std::sync::Arc;

    use kube::runtime::watcher::Event;

    use super::*;
    use crate::reconcile::validate::validate;
    use crate::watch_index::WatchIndex;

    fn cache(name: &str, created: &str, storage: &Value) -> ModelCache {
        serde_json::from_value(json!({
            "apiVersion": "modelcache.dev/v1alpha1", "kind": "ModelCache",
            "metadata": { "name": name, "namespace": "demo", "uid": name, "creationTimestamp": created },
            "spec": { "source": { "huggingFace": { "repo": "org/name" } }, "storage": storage },
        }))
        .unwrap()
    }

    /// The conflict of a ModelCache, found as a reconcile finds it.
    fn conflict(cache: &ModelCache, all: &[ModelCache]) -> Option<String> {
        let mut index = WatchIndex::default();
        for other in all {
            index.apply(&Event::Apply(other.clone()), ClaimUse::index);
        }
        let valid = validate(cache).unwrap();
        let uses: Vec<Arc<ClaimUse>> = index.group(&valid.claim_key()).collect();
        conflicting_cache(&valid, uses.iter().map(Arc::as_ref))
    }

    const EARLIER: &str = "2026-01-01T00:00:00Z";
    const LATER: &str = "2026-01-02T00:00:00Z";

    #[rstest]
    #[case::same_root(json!({"existingClaim": {"claimName": "c"}}), json!({"existingClaim": {"claimName": "c"}}), true)]
    #[case::same_folder(json!({"existingClaim": {"claimName": "c", "subPath": "x"}}), json!({"existingClaim": {"claimName": "c", "subPath": "x"}}), true)]
    #[case::other_folder(json!({"existingClaim": {"claimName": "c", "subPath": "x"}}), json!({"existingClaim": {"claimName": "c", "subPath": "y"}}), false)]
    #[case::other_claim(json!({"existingClaim": {"claimName": "c"}}), json!({"existingClaim": {"claimName": "d"}}), false)]
    #[case::created_claim(json!({}), json!({"existingClaim": {"claimName": "first"}}), true)]
    #[case::folder_of_it(json!({}), json!({"existingClaim": {"claimName": "first", "subPath": "x"}}), false)]
    #[case::created_claim_later(json!({"existingClaim": {"claimName": "second"}}), json!({}), true)]
    fn the_modelcache_created_first_keeps_the_folder(
        #[case] first: Value,
        #[case] second: Value,
        #[case] is_shared: bool,
    ) {
        let all = [cache("second", LATER, &second), cache("first", EARLIER, &first)];
        assert_eq!(conflict(&all[0], &all), is_shared.then(|| "first".to_owned()));
        assert_eq!(conflict(&all[1], &all), None);
    }

    #[test]
    fn a_modelcache_of_another_namespace_or_being_deleted_is_not_a_conflict() {
        let shared = json!({"existingClaim": {"claimName": "c"}});
        let second = cache("second", LATER, &shared);
        let mut elsewhere = cache("first", EARLIER, &shared);
        elsewhere.metadata.namespace = Some("other".to_owned());
        let mut leaving = cache("first", EARLIER, &shared);
        leaving.metadata.deletion_timestamp = leaving.metadata.creation_timestamp.clone();
        let all = [second, elsewhere, leaving];
        assert_eq!(conflict(&all[0], &all), None);
    }
}
