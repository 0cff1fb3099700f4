//! Builds the claim of a ModelCache without `storage.existingClaim`.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{PersistentVolumeClaim, PersistentVolumeClaimSpec, VolumeResourceRequirements};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use modelcache_crds::model_cache::{AccessMode, ReclaimPolicy};
use modelcache_crds::quantity;

use super::{annotations, labels, owner};
use crate::reconcile::facts::ClaimFacts;
use crate::reconcile::validate::{OwnClaim, ValidatedCache};

/// The claim to apply.
///
/// Immutable fields of an existing claim are repeated, so that the API server accepts one adopted from a deleted
/// ModelCache. The owner reference deletes the claim with its ModelCache; a retained claim has none, so that no
/// finalizer is needed.
pub(crate) fn claim(
    cache: &ValidatedCache,
    own: &OwnClaim,
    bytes: i64,
    current: Option<&ClaimFacts>,
) -> PersistentVolumeClaim {
    let (storage_class_name, access_modes) = match current {
        Some(current) => (current.storage_class.clone(), current.access_modes.clone()),
        None => (
            own.storage_class.clone(),
            own.access_modes
                .iter()
                .copied()
                .map(access_mode)
                .map(str::to_owned)
                .collect(),
        ),
    };
    PersistentVolumeClaim {
        metadata: ObjectMeta {
            name: Some(own.name.clone()),
            namespace: Some(cache.namespace.clone()),
            labels: Some(labels(cache, "storage")),
            annotations: Some(annotations(cache)),
            owner_references: Some(match own.reclaim {
                ReclaimPolicy::Delete => vec![owner(cache, false)],
                ReclaimPolicy::Retain => Vec::new(),
            }),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(access_modes),
            resources: Some(VolumeResourceRequirements {
                requests: Some(BTreeMap::from([("storage".to_owned(), quantity::from_bytes(bytes))])),
                limits: None,
            }),
            storage_class_name,
            ..PersistentVolumeClaimSpec::default()
        }),
        status: None,
    }
}

const fn access_mode(mode: AccessMode) -> &'static str {
    match mode {
        AccessMode::ReadWriteOnce => "ReadWriteOnce",
        AccessMode::ReadWriteOncePod => "ReadWriteOncePod",
        AccessMode::ReadWriteMany => "ReadWriteMany",
    }
}
