//! How the published folder is laid out.

use modelcache_crds::model_cache::Layout;

use crate::reconcile::validate::InvalidSpec;

/// How the published folder is laid out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClaimLayout {
    /// As the source lists its files; for Ollama that is Ollama's own layout.
    #[default]
    AsListed,
    /// As the hub's clients keep a model.
    HubCache {
        /// The revision that clients ask for.
        reference: String,
    },
}

/// The layout of a source whose files have plain paths only.
pub(super) fn directory_only(field: &'static str, wanted: Option<Layout>) -> Result<ClaimLayout, InvalidSpec> {
    match wanted {
        None | Some(Layout::Directory) => Ok(ClaimLayout::AsListed),
        Some(layout @ (Layout::HuggingFaceCache | Layout::Ollama)) => Err(refusal(field, layout, Layout::Directory)),
    }
}

/// The schema refuses the same; this is for a schema older than the operator.
pub(super) fn refusal(source_field: &'static str, layout: Layout, allowed: Layout) -> InvalidSpec {
    InvalidSpec::Layout {
        layout: name(layout),
        source_field,
        allowed: name(allowed),
    }
}

const fn name(layout: Layout) -> &'static str {
    match layout {
        Layout::Directory => "Directory",
        Layout::HuggingFaceCache => "HuggingFaceCache",
        Layout::Ollama => "Ollama",
    }
}
