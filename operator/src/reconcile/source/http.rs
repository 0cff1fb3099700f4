//! An HTTP server.

use modelcache_crds::model_cache::{HttpSource, Layout};

use super::{Access, ClaimLayout, SourceKind, layout};
use crate::reconcile::validate::InvalidSpec;

impl SourceKind for HttpSource {
    fn name(&self) -> String {
        self.url.split(['?', '#']).next().unwrap_or_default().to_owned()
    }

    fn revision(&self) -> Option<&str> {
        None
    }

    fn address(&self) -> String {
        self.url.clone()
    }

    fn address_at(&self, _revision: &str) -> String {
        self.address()
    }

    fn options(&self) -> Vec<String> {
        Vec::new()
    }

    fn access(&self) -> Access {
        Access::default()
    }

    fn claim_layout(&self, wanted: Option<Layout>) -> Result<ClaimLayout, InvalidSpec> {
        layout::directory_only("source.http", wanted)
    }
}
