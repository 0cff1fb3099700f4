//! The address of a model at any source; its scheme selects the source.

use std::fmt;
use std::str::FromStr;

use super::hugging_face::{InvalidAddress, ModelAddress};
use super::local::{InvalidLocalAddress, LocalAddress};
use super::model_scope::{InvalidModelScopeAddress, ModelScopeAddress};
use super::oci::OciAddress;
use super::ollama::OllamaAddress;
use super::plain_http::{HttpAddress, InvalidHttpAddress};
use super::registry::InvalidImageName;
use super::s3::{InvalidS3Address, S3Address};

/// The address of a model at one of the supported sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceAddress {
    /// `hf://org/name@revision`, or without scheme.
    HuggingFace(ModelAddress),
    /// `modelscope://owner/name@revision`.
    ModelScope(ModelScopeAddress),
    /// `oci://registry/repository:tag`.
    Oci(OciAddress),
    /// `ollama://model:tag`.
    Ollama(OllamaAddress),
    /// `s3://bucket/prefix`.
    S3(S3Address),
    /// `https://host/file#sha256=<hex>`, or `https://host/SHA256SUMS`.
    PlainHttp(HttpAddress),
    /// `file:///folder`.
    Local(LocalAddress),
}

/// Why a text is not the address of a model.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSource {
    /// An unsupported scheme.
    #[error(
        "the scheme {0}:// is not supported; give hf://, modelscope://, oci://, ollama://, s3://, file:///, or https:// with a \
         digest"
    )]
    Scheme(String),
    /// Not a Hugging Face model.
    #[error(transparent)]
    HuggingFace(#[from] InvalidAddress),
    /// Not a ModelScope model.
    #[error(transparent)]
    ModelScope(#[from] InvalidModelScopeAddress),
    /// Not an image name.
    #[error(transparent)]
    Image(#[from] InvalidImageName),
    /// Not a bucket with a prefix.
    #[error(transparent)]
    S3(#[from] InvalidS3Address),
    /// Not a URL with a digest, nor a list of digests.
    #[error(transparent)]
    PlainHttp(#[from] InvalidHttpAddress),
    /// Not a local folder.
    #[error(transparent)]
    Local(#[from] InvalidLocalAddress),
}

impl FromStr for SourceAddress {
    type Err = InvalidSource;

    fn from_str(text: &str) -> Result<Self, InvalidSource> {
        match text.split_once("://") {
            None | Some(("hf", _)) => Ok(Self::HuggingFace(text.parse()?)),
            Some(("modelscope", _)) => Ok(Self::ModelScope(text.parse()?)),
            Some(("oci" | "oci+http", _)) => Ok(Self::Oci(text.parse()?)),
            Some(("ollama" | "ollama+http", _)) => Ok(Self::Ollama(text.parse()?)),
            Some(("s3", _)) => Ok(Self::S3(text.parse()?)),
            Some(("http" | "https", _)) => Ok(Self::PlainHttp(text.parse()?)),
            Some(("file", _)) => Ok(Self::Local(text.parse()?)),
            Some((scheme, _)) => Err(InvalidSource::Scheme(scheme.to_owned())),
        }
    }
}

impl fmt::Display for SourceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::HuggingFace(address) => write!(f, "hf://{}@{}", address.repo, address.revision),
            Self::ModelScope(address) => address.fmt(f),
            Self::Oci(address) => address.fmt(f),
            Self::Ollama(address) => address.fmt(f),
            Self::S3(address) => address.fmt(f),
            Self::PlainHttp(address) => address.fmt(f),
            Self::Local(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const HEX: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";

    #[rstest]
    #[case("org/name", Some("hf://org/name@main"))]
    #[case("hf://org/name@v1", Some("hf://org/name@v1"))]
    #[case("https://host/m.gguf#sha256=$HEX", Some("https://host/m.gguf#sha256=$HEX"))]
    #[case("modelscope://org/name", Some("modelscope://org/name@master"))]
    #[case("oci://ghcr.io/org/name:v1", Some("oci://ghcr.io/org/name:v1"))]
    #[case("ollama://llama3.2", Some("ollama://registry.ollama.ai/library/llama3.2:latest"))]
    #[case("s3://models/llama/", Some("s3://models/llama"))]
    #[case("http://host/SHA256SUMS", Some("http://host/SHA256SUMS"))]
    #[case("file:///srv/models/", Some("file:///srv/models"))]
    #[case("file://srv", None)]
    #[case("https://huggingface.co/org/name", None)]
    #[case("ftp://host/m.gguf", None)]
    fn the_scheme_selects_the_source(#[case] text: &str, #[case] shown: Option<&str>) {
        let address = text.replace("$HEX", HEX).parse::<SourceAddress>().ok();
        let shown = shown.map(|shown| shown.replace("$HEX", HEX));
        assert_eq!(address.map(|address| address.to_string()), shown);
    }
}
