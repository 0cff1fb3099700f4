//! Models as OCI artifacts: ModelPack, ORAS, and whoever else names each file on its layer. A layer is a file; its
//! digest is the file's.

use std::fmt;
use std::str::FromStr;

use async_trait::async_trait;
use modelcache_crds::report::FailureClass;
use reqwest::Client;

use super::registry::manifest::{Descriptor, Manifest};
use super::registry::{ImageName, InvalidImageName, RawManifest, Reference, RegistryCredentials, Repository};
use super::{Listing, Location, RemoteFile, Source};
use crate::error::SourceError;
use crate::path::FilePath;
use crate::retry::Policy;

/// Where a layer says which file it is: ModelPack's way, and everybody's.
const PATH_ANNOTATIONS: &[&str] = &["org.cncf.model.filepath", "org.opencontainers.image.title"];

/// Set by ORAS on a folder that it packed.
const UNPACK_ANNOTATION: &str = "io.deis.oras.content.unpack";

/// `oci://registry/repository[:tag][@digest]`; with `oci+http://` for a registry that is not encrypted.
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

/// One artifact of a registry.
pub struct Oci {
    repository: Repository,
}

impl Oci {
    /// An artifact. The client must not follow redirects.
    #[must_use]
    pub fn new(address: OciAddress, credentials: RegistryCredentials, client: Client, retry: Policy) -> Self {
        Self {
            repository: Repository::new(address.0, credentials, client, retry),
        }
    }

    /// The manifest itself, through an index that names just one.
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
        let files = files(&manifest, &self.repository.name().to_string())?;
        Ok(Listing {
            revision: raw.digest,
            files,
        })
    }

    async fn locate(&self, _revision: &str, file: &RemoteFile) -> Result<Location, SourceError> {
        self.repository.locate_blob(&file.digest.to_string()).await
    }
}

fn files(manifest: &Manifest, name: &str) -> Result<Vec<RemoteFile>, SourceError> {
    if manifest.layers.is_empty() {
        return Err(invalid(format!("{name} holds no layer")));
    }
    manifest.layers.iter().map(|layer| file(layer, name)).collect()
}

fn file(layer: &Descriptor, name: &str) -> Result<RemoteFile, SourceError> {
    if is_packed(layer) {
        return Err(invalid(format!(
            "{name} holds a packed layer ({}); only artifacts with a layer for each file can be fetched in parallel and \
             proven file by file: push the files by themselves (ModelPack's raw layers, oras push)",
            layer.media_type
        )));
    }
    let path = PATH_ANNOTATIONS
        .iter()
        .find_map(|annotation| layer.annotations.get(*annotation))
        .ok_or_else(|| {
            invalid(format!(
                "{name} holds a layer ({}) that does not say which file it is (annotation {}); it is no model artifact",
                layer.media_type,
                PATH_ANNOTATIONS.join(" or ")
            ))
        })?;
    let path = FilePath::parse(path.strip_prefix("./").unwrap_or(path)).map_err(|error| {
        invalid(format!(
            "{name} holds the path {path:?}, which must not be written: {error}"
        ))
    })?;
    Ok(RemoteFile {
        path,
        size: layer.size,
        digest: layer.content_digest()?,
    })
}

fn is_packed(layer: &Descriptor) -> bool {
    let kind = layer.media_type.as_str();
    let is_tar = kind.rsplit('.').next() == Some("tar")
        || kind.contains(".tar+")
        || kind.contains(".tar.")
        || kind.ends_with("tar+gzip");
    // ORAS writes plain files with this media type, and packed folders with the annotation.
    let is_file_of_oras = kind == "application/vnd.oci.image.layer.v1.tar"
        && layer.annotations.contains_key("org.opencontainers.image.title")
        && layer
            .annotations
            .get(UNPACK_ANNOTATION)
            .is_none_or(|unpack| unpack != "true");
    is_tar && !is_file_of_oras
}

fn digests(descriptors: &[Descriptor]) -> String {
    let digests: Vec<&str> = descriptors.iter().map(|one| one.digest.as_str()).collect();
    digests.join(", ")
}

fn invalid(why: String) -> SourceError {
    SourceError::new(FailureClass::InvalidListing, why)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const HEX: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";
    const RAW: &str = "application/vnd.cncf.model.weight.v1.raw";

    fn listed(media_type: &str, annotations: &str) -> Result<RemoteFile, SourceError> {
        let text = format!(
            r#"{{"layers":[{{"mediaType":"{media_type}","digest":"sha256:{HEX}","size":7,"annotations":{{{annotations}}}}}]}}"#
        );
        let manifest: Manifest = serde_json::from_str(&text).unwrap();
        files(&manifest, "host/a").map(|mut files| files.remove(0))
    }

    #[rstest]
    #[case::of_modelpack(RAW, r#""org.cncf.model.filepath":"a/b.safetensors""#, Ok("a/b.safetensors"))]
    #[case::of_oras(
        "application/vnd.oci.image.layer.v1.tar",
        r#""org.opencontainers.image.title":"./c""#,
        Ok("c")
    )]
    #[case::modelpack_first(
        RAW,
        r#""org.cncf.model.filepath":"a","org.opencontainers.image.title":"b""#,
        Ok("a")
    )]
    #[case::climbing(RAW, r#""org.cncf.model.filepath":"../a""#, Err("must not be written"))]
    #[case::absolute(RAW, r#""org.cncf.model.filepath":"/a""#, Err("must not be written"))]
    #[case::nameless(RAW, "", Err("does not say which file it is"))]
    #[case::packed(
        "application/vnd.cncf.model.weight.v1.tar",
        r#""org.cncf.model.filepath":"a""#,
        Err("a packed layer")
    )]
    #[case::of_kitops("application/vnd.kitops.modelkit.model.v1.tar+gzip", "", Err("a packed layer"))]
    #[case::folder_of_oras(
        "application/vnd.oci.image.layer.v1.tar+gzip",
        r#""org.opencontainers.image.title":"d","io.deis.oras.content.unpack":"true""#,
        Err("a packed layer")
    )]
    fn a_layer(#[case] media_type: &str, #[case] annotations: &str, #[case] expected: Result<&str, &str>) {
        match (listed(media_type, annotations), expected) {
            (Ok(file), Ok(path)) => {
                assert_eq!((file.path.as_str(), file.size), (path, 7));
                assert_eq!(file.digest.hex(), HEX);
            }
            (Err(error), Err(why)) => assert!(error.message.contains(why), "{error}"),
            (result, _) => panic!("{result:?}"),
        }
    }

    #[rstest]
    #[case("oci://ghcr.io/org/m:v1", Some("oci://ghcr.io/org/m:v1"))]
    #[case("oci+http://host:5000/m", Some("oci+http://host:5000/m:latest"))]
    #[case("oci://m", None)]
    fn an_address(#[case] text: &str, #[case] shown: Option<&str>) {
        let address = text.parse::<OciAddress>().ok();
        assert_eq!(address.map(|address| address.to_string()).as_deref(), shown);
    }
}
