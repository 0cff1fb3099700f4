//! Reads the Kitfile of a KitOps kit. Pure.

use serde::Deserialize;

use super::invalid;
use crate::model::error::SourceError;
use crate::source::registry::manifest::Descriptor;

/// Prefix of a Kitfile's media type, as an artifact's config or as a layer.
pub(super) const KITFILE: &str = "application/vnd.kitops.modelkit.config.";

/// Prefix of the media type of a kit's model layer.
const MODEL: &str = "application/vnd.kitops.modelkit.model.";

/// Longest quote of a kit's name, which is also the longest name that registries accept.
const MAX_QUOTE_CHARS: usize = 255;

#[derive(Deserialize)]
struct Kitfile {
    #[serde(default)]
    model: Option<Model>,
}

#[derive(Deserialize)]
struct Model {
    #[serde(default)]
    path: String,
}

/// Fails for a kit whose model is in another kit, since its weights would be missing.
pub(super) fn require_own_model(kitfile: &[u8], layers: &[Descriptor], name: &str) -> Result<(), SourceError> {
    let kitfile: Kitfile = serde_json::from_slice(kitfile)
        .map_err(|error| invalid(format!("the Kitfile of {name} cannot be parsed: {error}")))?;
    let Some(Model { path }) = kitfile.model else {
        return Ok(());
    };
    if path.is_empty() || layers.iter().any(|layer| layer.media_type.starts_with(MODEL)) {
        return Ok(());
    }
    // Cut the quote, so that the advice after it is not cut off.
    let path: String = path.chars().take(MAX_QUOTE_CHARS).collect();
    Err(invalid(format!(
        "{name} takes its model from another kit, {path:?}: fetch that kit, which contains the weights"
    )))
}

/// Reads any Kitfile, for the fuzz targets.
///
/// Asserts that a kit with a model layer passes, and that one without fails only for the missing model.
#[cfg(any(test, feature = "fuzzing"))]
pub(super) fn read_anything(kitfile: &[u8]) {
    let layer = |kind: &str| Descriptor {
        media_type: kind.to_owned(),
        digest: String::new(),
        size: 0,
        annotations: std::collections::BTreeMap::new(),
    };
    let is_kitfile = serde_json::from_slice::<Kitfile>(kitfile).is_ok();
    let whole = require_own_model(kitfile, &[layer(&format!("{MODEL}v1.tar"))], "name");
    assert_eq!(whole.is_ok(), is_kitfile);
    for layers in [vec![], vec![layer(KITFILE)]] {
        if let Err(error) = require_own_model(kitfile, &layers, "name") {
            assert_eq!(error.class, modelcache_crds::report::FailureClass::InvalidListing);
            assert_eq!(error.message.contains("another kit"), is_kitfile);
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::of_its_own(r#"{"model": {"path": "model"}}"#, "model", None)]
    #[case::of_another_kit(
        r#"{"model": {"path": "ghcr.io/org/base:v1"}}"#,
        "code",
        Some("from another kit, \"ghcr.io/org/base:v1\"")
    )]
    #[case::parts_of_another_kit(r#"{"model": {"path": "ghcr.io/org/base:v1"}}"#, "modelpart", Some("another kit"))]
    #[case::data_alone(r#"{"datasets": [{"path": "data"}]}"#, "dataset", None)]
    #[case::empty("{}", "model", None)]
    #[case::no_kitfile("<html>", "model", Some("cannot be parsed"))]
    fn a_kit(#[case] kitfile: &str, #[case] layer: &str, #[case] refused: Option<&str>) {
        let text = format!(
            r#"{{"mediaType": "application/vnd.kitops.modelkit.{layer}.v1.tar", "digest": "sha256:00", "size": 1}}"#
        );
        let layer: Descriptor = serde_json::from_str(&text).unwrap();
        let checked = require_own_model(kitfile.as_bytes(), &[layer], "host/kit");
        match (checked, refused) {
            (Ok(()), None) => {}
            (Err(error), Some(why)) => assert!(error.message.contains(why), "{error}"),
            (checked, _) => panic!("{checked:?}"),
        }
    }
}
