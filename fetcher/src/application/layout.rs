//! Which layout a model is published in: what is asked for, where its source allows that.

use modelcache_crds::report::FailureClass;

use crate::command_line::args::LayoutName;
use crate::model::error::SourceError;
use crate::source::SourceAddress;
use crate::store::{HubCache, Layout};

/// The layout asked for; a source of Ollama's lists its files in Ollama's own.
pub(crate) fn layout(
    source: &SourceAddress,
    asked: Option<LayoutName>,
    reference: Option<&str>,
) -> Result<Layout, SourceError> {
    let is_ollama = matches!(source, SourceAddress::Ollama(_));
    if reference.is_some() && asked != Some(LayoutName::HuggingFaceCache) {
        return Err(usage(
            "--ref names a model in the layout hugging-face-cache; give --layout hugging-face-cache, or leave it out"
                .to_owned(),
        ));
    }
    match (asked, source) {
        (Some(LayoutName::HuggingFaceCache), SourceAddress::HuggingFace(address)) => {
            let reference = reference.unwrap_or(address.revision.as_str());
            let cache = HubCache::new(&address.repo.to_string(), reference);
            Ok(Layout::HuggingFaceCache(
                cache.map_err(|error| usage(error.to_string()))?,
            ))
        }
        (Some(LayoutName::HuggingFaceCache), _) => Err(usage(format!(
            "the layout hugging-face-cache is for models of the hub (hf://): {source} has neither its name nor a commit; \
             leave out --layout"
        ))),
        (Some(LayoutName::Ollama), _) if !is_ollama => Err(usage(format!(
            "the layout ollama is for models of Ollama's registry (ollama://), and {source} is none; leave out --layout"
        ))),
        (Some(LayoutName::Directory), _) if is_ollama => Err(usage(format!(
            "{source} is published in Ollama's own layout, and in no other; leave out --layout"
        ))),
        _ => Ok(Layout::AsListed),
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
    #[case::cache_of_a_list(LIST, Some(LayoutName::HuggingFaceCache), None, "is for models of the hub")]
    #[case::cache_of_ollama(OLLAMA, Some(LayoutName::HuggingFaceCache), None, "is for models of the hub")]
    #[case::ollama_of_the_hub(HUB, Some(LayoutName::Ollama), None, "is for models of Ollama's registry")]
    #[case::directory_of_ollama(OLLAMA, Some(LayoutName::Directory), None, "in Ollama's own layout")]
    #[case::name_without_cache(HUB, None, Some("main"), "--ref names a model in")]
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
