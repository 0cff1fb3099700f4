//! A folder of another claim.

use modelcache_crds::model_cache::{ClaimSource, Layout};
use modelcache_crds::names;

use super::{Access, ClaimLayout, SourceKind, layout};
use crate::reconcile::validate::InvalidSpec;

impl SourceKind for ClaimSource {
    fn name(&self) -> String {
        format!("pvc://{}", folder(&self.claim_name, self))
    }

    fn revision(&self) -> Option<&str> {
        None
    }

    fn address(&self) -> String {
        format!("file://{}", folder(names::SOURCE_MOUNT_PATH, self))
    }

    fn address_at(&self, _revision: &str) -> String {
        self.address()
    }

    fn options(&self) -> Vec<String> {
        Vec::new()
    }

    fn access(&self) -> Access {
        Access {
            claim: Some(self.claim_name.clone()),
            ..Access::default()
        }
    }

    fn claim_layout(&self, wanted: Option<Layout>) -> Result<ClaimLayout, InvalidSpec> {
        layout::directory_only("source.persistentVolumeClaim", wanted)
    }
}

/// The source's folder under a root.
fn folder(root: &str, source: &ClaimSource) -> String {
    match &source.path {
        None => root.to_owned(),
        Some(path) => format!("{root}/{path}"),
    }
}
