//! Ollama's registry.

use modelcache_crds::model_cache::{Layout, OllamaSource};

use super::{Access, ClaimLayout, SourceKind, layout, registry_scheme};
use crate::reconcile::validate::InvalidSpec;

const SCHEME: &str = "ollama";

impl SourceKind for OllamaSource {
    fn name(&self) -> String {
        format!("{SCHEME}://{}", self.model)
    }

    fn revision(&self) -> Option<&str> {
        Some(&self.tag)
    }

    fn address(&self) -> String {
        let scheme = registry_scheme(SCHEME, self.plain_http);
        format!("{scheme}://{}:{}", self.model, self.tag)
    }

    fn address_at(&self, revision: &str) -> String {
        format!("{}@{revision}", self.address())
    }

    fn options(&self) -> Vec<String> {
        Vec::new()
    }

    fn access(&self) -> Access {
        Access::default()
    }

    fn claim_layout(&self, wanted: Option<Layout>) -> Result<ClaimLayout, InvalidSpec> {
        match wanted {
            None | Some(Layout::Ollama) => Ok(ClaimLayout::AsListed),
            Some(layout @ (Layout::Directory | Layout::HuggingFaceCache)) => {
                Err(layout::refusal("source.ollama", layout, Layout::Ollama))
            }
        }
    }
}
