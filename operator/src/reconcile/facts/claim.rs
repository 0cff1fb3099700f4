//! A claim and a StorageClass, as far as decisions look at them.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use modelcache_crds::{names, quantity};

/// Whether a claim has its volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClaimPhase {
    /// Not yet.
    #[default]
    Pending,
    /// Yes.
    Bound,
    /// No longer.
    Lost,
}

/// A PersistentVolumeClaim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimFacts {
    /// Its uid.
    pub uid: String,
    /// When it was created.
    pub created: Timestamp,
    /// Whether it has its volume.
    pub phase: ClaimPhase,
    /// Bytes it asks for.
    pub requested: i64,
    /// Bytes it has, once bound.
    pub capacity: Option<i64>,
    /// Its class.
    pub storage_class: Option<String>,
    /// How it may be mounted.
    pub access_modes: Vec<String>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Value of our label with the ModelCache's name, on a claim that the operator made.
    pub made_for: Option<String>,
    /// Value of our label with the ModelCache's uid.
    pub cache_uid: Option<String>,
    /// Uids of its owners.
    pub owners: Vec<String>,
}

impl From<&PersistentVolumeClaim> for ClaimFacts {
    fn from(claim: &PersistentVolumeClaim) -> Self {
        let spec = claim.spec.clone().unwrap_or_default();
        let status = claim.status.clone().unwrap_or_default();
        let storage = |amounts: Option<std::collections::BTreeMap<String, _>>| {
            amounts.and_then(|amounts| amounts.get("storage").and_then(quantity::parse))
        };
        let labels = claim.labels();
        let is_ours = labels.get(names::recommended::MANAGED_BY).map(String::as_str) == Some(names::MANAGED_BY);
        Self {
            uid: claim.uid().unwrap_or_default(),
            created: claim.creation_timestamp().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
            phase: match status.phase.as_deref() {
                Some("Bound") => ClaimPhase::Bound,
                Some("Lost") => ClaimPhase::Lost,
                _ => ClaimPhase::Pending,
            },
            requested: storage(spec.resources.and_then(|resources| resources.requests)).unwrap_or(0),
            capacity: storage(status.capacity),
            storage_class: spec.storage_class_name,
            access_modes: spec.access_modes.unwrap_or_default(),
            deleting: claim.metadata.deletion_timestamp.is_some(),
            made_for: labels.get(names::LABEL_CACHE).filter(|_| is_ours).cloned(),
            cache_uid: labels.get(names::LABEL_CACHE_UID).cloned(),
            owners: claim.owner_references().iter().map(|owner| owner.uid.clone()).collect(),
        }
    }
}

/// When a class makes its volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingMode {
    /// At once.
    Immediate,
    /// When a pod that mounts the claim is scheduled.
    WaitForFirstConsumer,
}

/// A StorageClass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassFacts {
    /// Its name.
    pub name: String,
    /// Whether it is the cluster's default.
    pub is_default: bool,
    /// When it makes its volumes.
    pub binding: BindingMode,
}

impl From<&StorageClass> for ClassFacts {
    fn from(class: &StorageClass) -> Self {
        let is_default = class.annotations().get("storageclass.kubernetes.io/is-default-class");
        Self {
            name: class.name_any(),
            is_default: is_default.map(String::as_str) == Some("true"),
            binding: match class.volume_binding_mode.as_deref() {
                Some("WaitForFirstConsumer") => BindingMode::WaitForFirstConsumer,
                _ => BindingMode::Immediate,
            },
        }
    }
}
