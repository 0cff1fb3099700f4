//! The claim that a spec asks for.

use modelcache_crds::model_cache::{AccessMode, ReclaimPolicy, Storage};
use modelcache_crds::names;

use super::{InvalidSpec, positive};

/// The claim to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClaimPlan {
    /// One that we make.
    Own(OwnClaim),
    /// One that is there.
    Existing {
        /// Its name.
        name: String,
        /// Folder in it.
        sub_path: Option<String>,
    },
}

/// A claim that we make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnClaim {
    /// Its name.
    pub name: String,
    /// Its size in bytes; from the listing when not given.
    pub size: Option<i64>,
    /// Its class; the cluster's default when not given.
    pub storage_class: Option<String>,
    /// How it may be mounted.
    pub access_modes: Vec<AccessMode>,
    /// What becomes of it when the ModelCache is deleted.
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

    /// Folder in the claim, when not its root.
    #[must_use]
    pub fn sub_path(&self) -> Option<&str> {
        match self {
            Self::Own(_) => None,
            Self::Existing { sub_path, .. } => sub_path.as_deref(),
        }
    }
}
