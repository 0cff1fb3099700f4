//! The Hugging Face Hub.

use modelcache_crds::model_cache::{HuggingFaceSource, Layout};

use super::{Access, ClaimLayout, SourceKind, given, layout};
use crate::reconcile::validate::InvalidSpec;

/// The fetcher's option for the hub's base URL.
pub(super) const ENDPOINT_OPTION: &str = "endpoint";

const SCHEME: &str = "hf";

const TOKEN_VARIABLE: &str = "HF_TOKEN";

impl SourceKind for HuggingFaceSource {
    fn name(&self) -> String {
        self.repo.clone()
    }

    fn revision(&self) -> Option<&str> {
        Some(&self.revision)
    }

    fn address(&self) -> String {
        self.address_at(&self.revision)
    }

    fn address_at(&self, revision: &str) -> String {
        format!("{SCHEME}://{}@{revision}", self.repo)
    }

    fn options(&self) -> Vec<String> {
        given([(ENDPOINT_OPTION, self.endpoint.as_deref())])
    }

    fn access(&self) -> Access {
        Access::from_key(TOKEN_VARIABLE, self.token_secret_ref.as_ref())
    }

    fn claim_layout(&self, wanted: Option<Layout>) -> Result<ClaimLayout, InvalidSpec> {
        match wanted {
            None | Some(Layout::Directory) => Ok(ClaimLayout::AsListed),
            Some(Layout::HuggingFaceCache) => Ok(ClaimLayout::HubCache {
                reference: self.revision.clone(),
            }),
            Some(Layout::Ollama) => Err(layout::refusal("source.huggingFace", Layout::Ollama, Layout::Directory)),
        }
    }
}
