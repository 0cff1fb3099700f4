//! The sources of a model: a file for each kind, registered in [`ModelSource`].
//!
//! A new kind is one file that implements [`SourceKind`], a variant of [`ModelSource`], and a line in each of its
//! two functions; the compiler finds all three.

mod access;
mod http;
mod hugging_face;
mod layout;
mod mirror;
mod model_scope;
mod oci;
mod ollama;
mod persistent_volume_claim;
mod s3;

use modelcache_crds::model_cache::{
    ClaimSource, HttpSource, HuggingFaceSource, Layout, ModelScopeSource, OciSource, OllamaSource, S3Source, Source,
};

use crate::reconcile::validate::InvalidSpec;

pub use access::{Access, SecretVariable};
pub use layout::ClaimLayout;
pub(crate) use mirror::mirror_options;

/// A place that holds the model.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelSource {
    /// The Hugging Face Hub.
    HuggingFace(HuggingFaceSource),
    /// ModelScope.
    ModelScope(ModelScopeSource),
    /// An OCI registry.
    Oci(OciSource),
    /// Ollama's registry.
    Ollama(OllamaSource),
    /// A bucket.
    S3(S3Source),
    /// An HTTP server.
    Http(HttpSource),
    /// A folder of another claim.
    PersistentVolumeClaim(ClaimSource),
}

/// The definition of a kind of source.
pub trait SourceKind {
    /// The model's name in status and messages: without revision and query, which may be a signature.
    fn name(&self) -> String;

    /// The revision in the spec, where the kind has one.
    fn revision(&self) -> Option<&str>;

    /// The fetcher's address of the spec's revision.
    fn address(&self) -> String;

    /// The fetcher's address of a resolved revision.
    ///
    /// Kinds that cannot address one return [`SourceKind::address`]; the expected digest then binds the fetch.
    fn address_at(&self, revision: &str) -> String;

    /// The fetcher's options as `--option=value`, so that no value reads as an option.
    fn options(&self) -> Vec<String>;

    /// The Secrets, service account and claim that a pod reads the source with.
    fn access(&self) -> Access;

    /// The layout to publish in, from `spec.storage.layout`.
    fn claim_layout(&self, wanted: Option<Layout>) -> Result<ClaimLayout, InvalidSpec>;
}

impl ModelSource {
    /// The one member that is set; `None` for none or several.
    #[must_use]
    pub fn parse(source: &Source) -> Option<Self> {
        let Source {
            hugging_face,
            model_scope,
            oci,
            ollama,
            s3,
            http,
            persistent_volume_claim,
        } = source.clone();
        let set = [
            hugging_face.map(Self::HuggingFace),
            model_scope.map(Self::ModelScope),
            oci.map(Self::Oci),
            ollama.map(Self::Ollama),
            s3.map(Self::S3),
            http.map(Self::Http),
            persistent_volume_claim.map(Self::PersistentVolumeClaim),
        ];
        let mut set = set.into_iter().flatten();
        set.next().filter(|_| set.next().is_none())
    }

    /// The definition of this source's kind.
    #[must_use]
    pub fn kind(&self) -> &dyn SourceKind {
        match self {
            Self::HuggingFace(source) => source,
            Self::ModelScope(source) => source,
            Self::Oci(source) => source,
            Self::Ollama(source) => source,
            Self::S3(source) => source,
            Self::Http(source) => source,
            Self::PersistentVolumeClaim(source) => source,
        }
    }
}

/// Formats the options that have a value.
fn given<const N: usize>(options: [(&str, Option<&str>); N]) -> Vec<String> {
    options
        .into_iter()
        .filter_map(|(option, value)| Some(format!("--{option}={}", value?)))
        .collect()
}

/// The scheme of a registry, marked `+http` for one without TLS.
fn registry_scheme(scheme: &str, plain_http: bool) -> String {
    let insecure = if plain_http { "+http" } else { "" };
    format!("{scheme}{insecure}")
}

#[cfg(test)]
mod tests;
