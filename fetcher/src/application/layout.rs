//! Chooses the layout of a published folder from the options and the source.

use clap::ValueEnum;
use modelcache_crds::report::FailureClass;

use crate::model::error::SourceError;
use crate::source::SourceAddress;
use crate::source::kind::OwnLayout;
use crate::store::{HubCache, Layout};

/// The layout of a published folder.
#[expect(clippy::doc_markdown, reason = "clap shows these comments as plain text")]
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutName {
    /// Every file at its own path
    Directory,
    /// A cache in which huggingface_hub, transformers and vLLM find org/name, with HF_HUB_CACHE=DIR/current and
    /// HF_HUB_OFFLINE=1
    HuggingFaceCache,
    /// A model store that Ollama runs with OLLAMA_MODELS=DIR/current; for ollama:// only
    Ollama,
}

/// The layout for the options. An Ollama source lists its files in the layout of Ollama.
pub(crate) fn layout(
    source: &SourceAddress,
    asked: Option<LayoutName>,
    reference: Option<&str>,
) -> Result<Layout, SourceError> {
    if reference.is_some() && asked != Some(LayoutName::HuggingFaceCache) {
        return Err(usage(
            "--ref is for the layout hugging-face-cache only; add --layout hugging-face-cache, or remove --ref"
                .to_owned(),
        ));
    }
    match (asked, source.kind().own_layout()) {
        (Some(LayoutName::HuggingFaceCache), OwnLayout::HubCache { repository, revision }) => {
            let cache = HubCache::new(&repository, reference.unwrap_or(&revision));
            Ok(Layout::HuggingFaceCache(
                cache.map_err(|error| usage(error.to_string()))?,
            ))
        }
        (Some(LayoutName::HuggingFaceCache), OwnLayout::None | OwnLayout::Ollama) => Err(usage(format!(
            "the layout hugging-face-cache needs a model of the hub (hf://), not {source}; remove --layout"
        ))),
        (Some(LayoutName::Ollama), OwnLayout::None | OwnLayout::HubCache { .. }) => Err(usage(format!(
            "the layout ollama needs a model of Ollama's registry (ollama://), not {source}; remove --layout"
        ))),
        (Some(LayoutName::Directory), OwnLayout::Ollama) => Err(usage(format!(
            "{source} can only be published in the layout ollama; remove --layout"
        ))),
        (Some(LayoutName::Directory), OwnLayout::None | OwnLayout::HubCache { .. })
        | (Some(LayoutName::Ollama), OwnLayout::Ollama)
        | (None, _) => Ok(Layout::AsListed),
    }
}

fn usage(message: String) -> SourceError {
    SourceError::new(FailureClass::Usage, message)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const HUB: &str = "hf://org/name@v1";
    const OLLAMA: &str = "ollama://llama3.2";
    const LIST: &str = "https://host/SHA256SUMS";

    #[rstest]
    #[case::by_default(HUB, None)]
    #[case::asked_for(HUB, Some(LayoutName::Directory))]
    #[case::of_a_list(LIST, Some(LayoutName::Directory))]
    #[case::of_ollama_by_default(OLLAMA, None)]
    #[case::of_ollama(OLLAMA, Some(LayoutName::Ollama))]
    fn files_stand_as_they_are_listed(#[case] source: &str, #[case] asked: Option<LayoutName>) {
        let source = source.parse().unwrap();
        assert_eq!(layout(&source, asked, None).unwrap(), Layout::AsListed);
    }

    #[rstest]
    #[case::the_revision_asked_for(None, "v1")]
    #[case::another_name(Some("main"), "main")]
    fn a_model_of_the_hub_is_found_by(#[case] reference: Option<&str>, #[case] expected: &str) {
        let cache = HubCache::new("org/name", expected).unwrap();
        assert_eq!(
            layout(&HUB.parse().unwrap(), Some(LayoutName::HuggingFaceCache), reference).unwrap(),
            Layout::HuggingFaceCache(cache)
        );
    }

    #[rstest]
    #[case::cache_of_a_list(LIST, Some(LayoutName::HuggingFaceCache), None, "needs a model of the hub")]
    #[case::cache_of_ollama(OLLAMA, Some(LayoutName::HuggingFaceCache), None, "needs a model of the hub")]
    #[case::ollama_of_the_hub(HUB, Some(LayoutName::Ollama), None, "needs a model of Ollama's registry")]
    #[case::directory_of_ollama(OLLAMA, Some(LayoutName::Directory), None, "only be published in the layout ollama")]
    #[case::name_without_cache(HUB, None, Some("main"), "--ref is for the layout")]
    #[case::hostile_name(HUB, Some(LayoutName::HuggingFaceCache), Some("../main"), "give a branch or tag")]
    fn what_does_not_go_together_is_told(
        #[case] source: &str,
        #[case] asked: Option<LayoutName>,
        #[case] reference: Option<&str>,
        #[case] says: &str,
    ) {
        let error = layout(&source.parse().unwrap(), asked, reference).unwrap_err();
        assert_eq!(error.class, FailureClass::Usage);
        assert!(error.message.contains(says), "{error}");
    }
}
