//! The claim that a spec asks for.

use modelcache_crds::model_cache::{AccessMode, ReclaimPolicy, Storage};
use modelcache_crds::names;

use super::{InvalidSpec, positive};

/// The claim to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimPlan {
    /// A claim that the operator creates.
    Own(OwnClaim),
    /// A claim of `storage.existingClaim`.
    Existing {
        /// Its name.
        name: String,
        /// Folder in the claim; `None` is its root.
        sub_path: Option<String>,
    },
}

/// A claim that the operator creates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnClaim {
    /// Its name.
    pub name: String,
    /// Its size in bytes; `None` derives it from the listing.
    pub size: Option<i64>,
    /// Its class; `None` is the cluster's default.
    pub storage_class: Option<String>,
    /// Its access modes.
    pub access_modes: Vec<AccessMode>,
    /// Its fate when the ModelCache is deleted.
    pub reclaim: ReclaimPolicy,
}

impl ClaimPlan {
    /// Parses `spec.storage` of the ModelCache of this name.
    pub(super) fn parse(cache: &str, storage: Storage) -> Result<Self, InvalidSpec> {
        if let Some(existing) = storage.existing_claim {
            return Ok(Self::Existing {
                name: existing.claim_name,
                sub_path: existing.sub_path,
            });
        }
        let size = storage
            .size
            .as_ref()
            .map(|size| positive("storage.size", size, "40Gi"))
            .transpose()?;
        Ok(Self::Own(OwnClaim {
            name: names::claim_name(cache),
            size,
            storage_class: storage.storage_class_name,
            access_modes: storage.access_modes.unwrap_or_else(|| vec![AccessMode::ReadWriteOnce]),
            reclaim: storage.reclaim_policy.unwrap_or_default(),
        }))
    }

    /// Name of the claim.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Own(own) => &own.name,
            Self::Existing { name, .. } => name,
        }
    }

    /// Folder in the claim; `None` is its root.
    #[must_use]
    pub fn sub_path(&self) -> Option<&str> {
        match self {
            Self::Own(_) => None,
            Self::Existing { sub_path, .. } => sub_path.as_deref(),
        }
    }
}
