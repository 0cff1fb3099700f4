//! Models in the Ollama registry, listed in Ollama's own layout: the manifest as received, and blobs by digest.
//!
//! Ollama runs the model if `OLLAMA_MODELS` is the published folder.

mod open;

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use modelcache_crds::report::FailureClass;
use modelcache_crds::source_defaults::DEFAULT_TAG;
use reqwest::Client;

use super::registry::manifest::{Descriptor, Manifest};
use super::registry::{ImageName, InvalidImageName, Reference, RegistryCredentials, Repository};
use super::{Listing, Location, Source};
use crate::http::retry::Policy;
use crate::model::digest::ContentDigest;
use crate::model::error::SourceError;
use crate::model::path::FilePath;
use crate::model::remote_file::RemoteFile;

const DEFAULT_REGISTRY: &str = "registry.ollama.ai";
const DEFAULT_NAMESPACE: &str = "library";

/// Folder of the manifests; every other file is a blob.
const MANIFESTS: &str = "manifests/";

/// `ollama://[host/][namespace/]model[:tag]`; `ollama+http://` for a registry without TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OllamaAddress {
    image: ImageName,
    /// The tag in the manifest's path, also if the address has a digest.
    tag: String,
}

impl FromStr for OllamaAddress {
    type Err = InvalidImageName;

    fn from_str(text: &str) -> Result<Self, InvalidImageName> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("ollama", text));
        let parts: Vec<&str> = rest.split('/').collect();
        let (registry, repository) = match parts.as_slice() {
            [model] => (DEFAULT_REGISTRY, format!("{DEFAULT_NAMESPACE}/{model}")),
            [namespace, model] => (DEFAULT_REGISTRY, format!("{namespace}/{model}")),
            [host, namespace, model] => (*host, format!("{namespace}/{model}")),
            _ => return Err(InvalidImageName::Repository(rest.to_owned())),
        };
        let tag = repository.split('@').next().and_then(|name| name.split_once(':'));
        Ok(Self {
            tag: tag.map_or(DEFAULT_TAG, |(_, tag)| tag).to_owned(),
            image: ImageName::of(registry, &repository, scheme == "ollama+http")?,
        })
    }
}

impl fmt::Display for OllamaAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.image.is_plain_http() {
            "ollama+http"
        } else {
            "ollama"
        };
        write!(
            f,
            "{scheme}://{}/{}:{}",
            self.image.registry(),
            self.image.repository(),
            self.tag
        )?;
        match self.image.reference() {
            Reference::Tag(_) => Ok(()),
            Reference::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

/// A model in the registry.
pub struct Ollama {
    repository: Repository,
    tag: String,
}

impl Ollama {
    /// A model. The client must not follow redirects.
    #[must_use]
    pub fn new(address: OllamaAddress, credentials: RegistryCredentials, client: Client, retry: Policy) -> Self {
        Self {
            repository: Repository::new(address.image, credentials, client, retry),
            tag: address.tag,
        }
    }
}

#[async_trait]
impl Source for Ollama {
    async fn list(&self) -> Result<Listing, SourceError> {
        let name = self.repository.name();
        let raw = self.repository.manifest(name.reference()).await?;
        let manifest = Manifest::parse(&raw, &name.to_string())?;
        let path = format!("{MANIFESTS}{}/{}/{}", name.registry(), name.repository(), self.tag);
        let mut files = vec![RemoteFile {
            path: parse_path(&path)?,
            size: raw.bytes.len() as u64,
            digest: digest(&raw.digest)?,
        }];
        files.extend(blobs(&manifest, &name.to_string())?);
        Ok(Listing {
            revision: raw.digest,
            files,
        })
    }

    async fn locate(&self, _revision: &str, file: &RemoteFile) -> Result<Location, SourceError> {
        let digest = file.digest.to_string();
        if file.path.as_str().starts_with(MANIFESTS) {
            return self.repository.locate_manifest(&digest).await;
        }
        self.repository.locate_blob(&digest).await
    }
}

/// Config and layers, each blob once. A model can have one licence as two layers.
pub(super) fn blobs(manifest: &Manifest, name: &str) -> Result<Vec<RemoteFile>, SourceError> {
    let mut files: Vec<RemoteFile> = Vec::new();
    let described = manifest.config.iter().chain(&manifest.layers);
    for Descriptor { digest: text, size, .. } in described.clone() {
        let path = parse_path(&format!("blobs/{}", text.replace(':', "-")))?;
        let file = RemoteFile {
            path,
            size: *size,
            digest: digest(text)?,
        };
        if !files.iter().any(|other| other.path == file.path) {
            files.push(file);
        }
    }
    if manifest.layers.is_empty() {
        return Err(SourceError::new(
            FailureClass::InvalidListing,
            format!("{name} has no layers; it is not an Ollama model"),
        ));
    }
    Ok(files)
}

fn digest(text: &str) -> Result<ContentDigest, SourceError> {
    text.parse().map_err(|_| {
        SourceError::new(
            FailureClass::InvalidListing,
            format!("the manifest names a blob by {text:?}; only sha256 digests are supported"),
        )
    })
}

fn parse_path(text: &str) -> Result<FilePath, SourceError> {
    FilePath::parse(text)
        .map_err(|error| SourceError::new(FailureClass::InvalidListing, format!("unsafe path {text:?}: {error}")))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("ollama://llama3.2", Some("ollama://registry.ollama.ai/library/llama3.2:latest"))]
    #[case("ollama://llama3.2:1b", Some("ollama://registry.ollama.ai/library/llama3.2:1b"))]
    #[case("ollama://me/mine", Some("ollama://registry.ollama.ai/me/mine:latest"))]
    #[case("ollama+http://host:5000/me/mine:v1", Some("ollama+http://host:5000/me/mine:v1"))]
    #[case("ollama://a/b/c/d", None)]
    #[case("ollama://", None)]
    #[case("ollama://a:", None)]
    fn an_address(#[case] text: &str, #[case] shown: Option<&str>) {
        let address = text.parse::<OllamaAddress>().ok();
        assert_eq!(address.map(|address| address.to_string()).as_deref(), shown);
    }

    #[test]
    fn a_repeated_blob_is_listed_once() {
        let hex = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";
        let blob = format!(r#"{{"digest":"sha256:{hex}","size":3}}"#);
        let manifest = serde_json::from_str(&format!(r#"{{"config":{blob},"layers":[{blob},{blob}]}}"#)).unwrap();
        let files = blobs(&manifest, "x").unwrap();
        assert_eq!(files.len(), 1);
        assert_eq!(files[0].path.as_str(), format!("blobs/sha256-{hex}"));
    }
}
