//! Who works in a folder of a claim: two ModelCaches there would replace each other's model under their pods.

use kube::ResourceExt;
use modelcache_crds::{ModelCache, names};

use crate::reconcile::validate::{ClaimPlan, ValidatedCache};

/// The ModelCache that works in the same folder of the same claim and was there first, when that is another one.
#[must_use]
pub fn conflicting_cache<'a>(cache: &ValidatedCache, all: impl Iterator<Item = &'a ModelCache>) -> Option<String> {
    let first = all
        .filter(|other| {
            other.namespace().as_deref() == Some(&cache.namespace)
                && other.metadata.deletion_timestamp.is_none()
                && (other.uid().as_deref() == Some(&cache.uid) || works_in_folder_of(other, cache))
        })
        .min_by_key(|other| (other.creation_timestamp().map(|created| created.0), other.uid()))?;
    (first.uid().as_deref() != Some(&cache.uid)).then(|| first.name_any())
}

fn works_in_folder_of(other: &ModelCache, cache: &ValidatedCache) -> bool {
    let existing = other
        .spec
        .storage
        .as_ref()
        .and_then(|storage| storage.existing_claim.as_ref());
    match (existing, &cache.claim) {
        (Some(existing), claim) => {
            existing.claim_name == claim.name() && existing.sub_path.as_deref() == claim.sub_path()
        }
        (None, ClaimPlan::Existing { name, sub_path: None }) => names::claim_name(&other.name_any()) == *name,
        // No two claims that we make share a name.
        (None, ClaimPlan::Existing { .. } | ClaimPlan::Own(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;
    use rstest::rstest;
    use serde_json::{Value, json};

    use super::*;
    use crate::reconcile::validate::validate;

    fn cache(name: &str, created: &str, storage: &Value) -> ModelCache {
        serde_json::from_value(json!({
            "apiVersion": "modelcache.dev/v1alpha1", "kind": "ModelCache",
            "metadata": { "name": name, "namespace": "demo", "uid": name, "creationTimestamp": created },
            "spec": { "source": { "huggingFace": { "repo": "org/name" } }, "storage": storage },
        }))
        .unwrap()
    }

    const EARLIER: &str = "2026-01-01T00:00:00Z";
    const LATER: &str = "2026-01-02T00:00:00Z";

    #[rstest]
    #[case::same_root(json!({"existingClaim": {"claimName": "c"}}), json!({"existingClaim": {"claimName": "c"}}), true)]
    #[case::same_folder(json!({"existingClaim": {"claimName": "c", "subPath": "x"}}), json!({"existingClaim": {"claimName": "c", "subPath": "x"}}), true)]
    #[case::other_folder(json!({"existingClaim": {"claimName": "c", "subPath": "x"}}), json!({"existingClaim": {"claimName": "c", "subPath": "y"}}), false)]
    #[case::other_claim(json!({"existingClaim": {"claimName": "c"}}), json!({"existingClaim": {"claimName": "d"}}), false)]
    #[case::claim_that_we_made(json!({}), json!({"existingClaim": {"claimName": "first"}}), true)]
    #[case::folder_of_it(json!({}), json!({"existingClaim": {"claimName": "first", "subPath": "x"}}), false)]
    #[case::one_that_we_make_later(json!({"existingClaim": {"claimName": "second"}}), json!({}), true)]
    fn who_came_first_keeps_the_folder(#[case] first: Value, #[case] second: Value, #[case] is_shared: bool) {
        let all = [cache("second", LATER, &second), cache("first", EARLIER, &first)];
        let second = validate(&all[0]).unwrap();
        assert_eq!(
            conflicting_cache(&second, all.iter()),
            is_shared.then(|| "first".to_owned())
        );
        let first = validate(&all[1]).unwrap();
        assert_eq!(conflicting_cache(&first, all.iter()), None);
    }

    #[test]
    fn one_of_another_namespace_or_being_deleted_keeps_nobody_out() {
        let shared = json!({"existingClaim": {"claimName": "c"}});
        let second = cache("second", LATER, &shared);
        let mut elsewhere = cache("first", EARLIER, &shared);
        elsewhere.metadata.namespace = Some("other".to_owned());
        let mut leaving = cache("first", EARLIER, &shared);
        leaving.metadata.deletion_timestamp = leaving.metadata.creation_timestamp.clone();
        let valid = validate(&second).unwrap();
        assert_eq!(
            conflicting_cache(&valid, [&second, &elsewhere, &leaving].into_iter()),
            None
        );
    }
}
