//! Models as OCI artifacts: ModelPack, KitOps, ORAS, and others that name the file of each layer.
//!
//! A layer is a file with the layer's digest, or an archive of files. An archive is fetched like a file, then unpacked.

mod kit;
mod layer;
mod open;

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use modelcache_crds::report::FailureClass;
use reqwest::Client;

use self::kit::{KITFILE, require_own_model};
use self::layer::Layer;
use super::registry::manifest::{Descriptor, Manifest};
use super::registry::{ImageName, InvalidImageName, RawManifest, Reference, RegistryCredentials, Repository};
use super::{Listing, Location, Source};
use crate::http::retry::Policy;
use crate::model::error::SourceError;
use crate::model::path::FilePath;
use crate::model::remote_file::RemoteFile;

/// `oci://registry/repository[:tag][@digest]`; `oci+http://` for a registry without TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OciAddress(ImageName);

impl FromStr for OciAddress {
    type Err = InvalidImageName;

    fn from_str(text: &str) -> Result<Self, InvalidImageName> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("oci", text));
        Ok(Self(ImageName::parse(rest, scheme == "oci+http")?))
    }
}

impl fmt::Display for OciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.0.is_plain_http() { "oci+http" } else { "oci" };
        write!(f, "{scheme}://{}", self.0)
    }
}

/// An artifact in a registry.
pub struct Oci {
    repository: Repository,
    archives: Mutex<HashSet<FilePath>>,
}

impl Oci {
    /// An artifact. The client must not follow redirects.
    #[must_use]
    pub fn new(address: OciAddress, credentials: RegistryCredentials, client: Client, retry: Policy) -> Self {
        Self {
            repository: Repository::new(address.0, credentials, client, retry),
            archives: Mutex::default(),
        }
    }

    /// Fetches the manifest; resolves an index if it has exactly one.
    async fn manifest(&self) -> Result<(RawManifest, Manifest), SourceError> {
        let name = self.repository.name();
        let shown = name.to_string();
        let raw = self.repository.manifest(name.reference()).await?;
        let manifest = Manifest::parse(&raw, &shown)?;
        let [only] = manifest.manifests.as_slice() else {
            if manifest.manifests.is_empty() {
                return Ok((raw, manifest));
            }
            return Err(invalid(format!(
                "{shown} is an index of {} manifests; name one of them by its digest: {}",
                manifest.manifests.len(),
                digests(&manifest.manifests)
            )));
        };
        only.content_digest()?;
        let raw = self
            .repository
            .manifest(&Reference::Digest(only.digest.clone()))
            .await?;
        let manifest = Manifest::parse(&raw, &shown)?;
        Ok((raw, manifest))
    }
}

#[async_trait]
impl Source for Oci {
    async fn list(&self) -> Result<Listing, SourceError> {
        let (raw, manifest) = self.manifest().await?;
        let name = self.repository.name().to_string();
        let layers = files(&manifest, &name)?;
        if let Some(config) = manifest.config.filter(|config| config.media_type.starts_with(KITFILE)) {
            let digest = config.content_digest()?.to_string();
            require_own_model(&self.repository.blob(&digest).await?, &manifest.layers, &name)?;
        }
        let archives = layers.iter().filter(|layer| layer.is_archive);
        let archives = archives.map(|layer| layer.file.path.clone()).collect();
        *self.archives.lock().unwrap_or_else(PoisonError::into_inner) = archives;
        Ok(Listing {
            revision: raw.digest,
            files: layers.into_iter().map(|layer| layer.file).collect(),
        })
    }

    fn is_archive(&self, file: &RemoteFile) -> bool {
        let archives = self.archives.lock().unwrap_or_else(PoisonError::into_inner);
        archives.contains(&file.path)
    }

    async fn locate(&self, _revision: &str, file: &RemoteFile) -> Result<Location, SourceError> {
        self.repository.locate_blob(&file.digest.to_string()).await
    }
}

fn files(manifest: &Manifest, name: &str) -> Result<Vec<Layer>, SourceError> {
    let mut seen = HashSet::new();
    let mut layers = Vec::new();
    for descriptor in &manifest.layers {
        let layer = Layer::of(descriptor, name)?;
        // A repeated archive would list its files twice.
        layers.extend(layer.filter(|layer| !layer.is_archive || seen.insert(layer.file.digest)));
    }
    if layers.is_empty() {
        return Err(invalid(format!("{name} has no layers")));
    }
    Ok(layers)
}

fn digests(descriptors: &[Descriptor]) -> String {
    let digests: Vec<&str> = descriptors.iter().map(|one| one.digest.as_str()).collect();
    digests.join(", ")
}

fn invalid(why: String) -> SourceError {
    SourceError::new(FailureClass::InvalidListing, why)
}

/// Reads any manifest, for the fuzz targets.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_anything(bytes: &[u8]) {
    let raw = RawManifest {
        bytes: bytes.to_vec(),
        digest: String::new(),
        media_type: String::new(),
    };
    if let Ok(manifest) = Manifest::parse(&raw, "name") {
        let _ = files(&manifest, "name");
        let _ = super::ollama::blobs(&manifest, "name");
    }
}

/// Reads any Kitfile, for the fuzz targets.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_any_kitfile(bytes: &[u8]) {
    kit::read_anything(bytes);
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("oci://ghcr.io/org/m:v1", Some("oci://ghcr.io/org/m:v1"))]
    #[case("oci+http://host:5000/m", Some("oci+http://host:5000/m:latest"))]
    #[case("oci://m", None)]
    fn an_address(#[case] text: &str, #[case] shown: Option<&str>) {
        let address = text.parse::<OciAddress>().ok();
        assert_eq!(address.map(|address| address.to_string()).as_deref(), shown);
    }
}
