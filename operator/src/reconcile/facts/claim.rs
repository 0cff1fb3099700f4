//! The facts about a claim and a StorageClass.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use k8s_openapi::api::storage::v1::StorageClass;
use kube::ResourceExt;
use modelcache_crds::{names, quantity};

/// Phase of a claim.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClaimPhase {
    /// It has no volume yet.
    #[default]
    Pending,
    /// It has its volume.
    Bound,
    /// It lost its volume.
    Lost,
}

/// The facts about a PersistentVolumeClaim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClaimFacts {
    /// Its uid.
    pub uid: String,
    /// When it was created.
    pub created: Timestamp,
    /// Its phase.
    pub phase: ClaimPhase,
    /// Bytes that it requests.
    pub requested: i64,
    /// Bytes of its volume, once bound.
    pub capacity: Option<i64>,
    /// Its class.
    pub storage_class: Option<String>,
    /// Its access modes.
    pub access_modes: Vec<String>,
    /// Whether it is being deleted.
    pub is_deleting: bool,
    /// Value of the operator's label for the ModelCache's name; `None` on a claim of others.
    pub made_for: Option<String>,
    /// Value of the operator's label for the ModelCache's uid.
    pub cache_uid: Option<String>,
    /// Uids of its owner references.
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
            is_deleting: claim.metadata.deletion_timestamp.is_some(),
            made_for: labels.get(names::LABEL_CACHE).filter(|_| is_ours).cloned(),
            cache_uid: labels.get(names::LABEL_CACHE_UID).cloned(),
            owners: claim.owner_references().iter().map(|owner| owner.uid.clone()).collect(),
        }
    }
}

/// When a class provisions its volumes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindingMode {
    /// When the claim is created.
    Immediate,
    /// When a pod that mounts the claim is scheduled.
    WaitForFirstConsumer,
}

/// The facts about a StorageClass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassFacts {
    /// Its name.
    pub name: String,
    /// Whether it is the cluster's default.
    pub is_default: bool,
    /// When it provisions its volumes.
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
