//! ModelScope.

use modelcache_crds::model_cache::{Layout, ModelScopeSource};

use super::{Access, ClaimLayout, SourceKind, given, layout};
use crate::reconcile::validate::InvalidSpec;

/// The fetcher's option for ModelScope's base URL.
pub(super) const ENDPOINT_OPTION: &str = "modelscope-endpoint";

/// Scheme of the addresses of ModelScope.
pub(super) const SCHEME: &str = "modelscope";

const TOKEN_VARIABLE: &str = "MODELSCOPE_API_TOKEN";

impl SourceKind for ModelScopeSource {
    fn name(&self) -> String {
        format!("{SCHEME}://{}", self.repo)
    }

    fn revision(&self) -> Option<&str> {
        Some(&self.revision)
    }

    fn address(&self) -> String {
        format!("{SCHEME}://{}@{}", self.repo, self.revision)
    }

    fn address_at(&self, _revision: &str) -> String {
        self.address()
    }

    fn options(&self) -> Vec<String> {
        given([(ENDPOINT_OPTION, self.endpoint.as_deref())])
    }

    fn access(&self) -> Access {
        Access::from_key(TOKEN_VARIABLE, self.token_secret_ref.as_ref())
    }

    fn claim_layout(&self, wanted: Option<Layout>) -> Result<ClaimLayout, InvalidSpec> {
        layout::directory_only("source.modelScope", wanted)
    }
}
