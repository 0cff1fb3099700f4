//! A mirror, as the fetcher's command line names it.

use modelcache_crds::model_cache::Mirror;

use super::{hugging_face, model_scope};

/// Options for a mirror and its hub's endpoint.
pub(crate) fn mirror_options(mirror: &Mirror) -> Vec<String> {
    let option = match mirror.url.split_once("://") {
        Some((model_scope::SCHEME, _)) => model_scope::ENDPOINT_OPTION,
        // The schema accepts an endpoint for the two hubs only.
        Some(_) | None => hugging_face::ENDPOINT_OPTION,
    };
    let endpoint = mirror.endpoint.as_ref().map(|url| format!("--{option}={url}"));
    endpoint
        .into_iter()
        .chain([format!("--mirror={}", mirror.url)])
        .collect()
}
