//! Classifies the layers of an artifact: file, archive, or neither. Pure.

use super::invalid;
use super::kit::KITFILE;
use crate::model::error::SourceError;
use crate::model::path::FilePath;
use crate::model::remote_file::RemoteFile;
use crate::source::registry::manifest::Descriptor;

/// Annotations with the path of a layer's file: ModelPack's, then the common one.
const PATH_ANNOTATIONS: &[&str] = &["org.cncf.model.filepath", "org.opencontainers.image.title"];

/// Annotation that ORAS sets on a folder that it packed.
const UNPACK_ANNOTATION: &str = "io.deis.oras.content.unpack";

/// Media type of a container image's layer, and of anything that ORAS pushes.
const IMAGE_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Prefixes of media types whose archives contain model files: those of ModelPack and KitOps.
const MODEL_TYPES: &[&str] = &["application/vnd.cncf.model.", "application/vnd.kitops.modelkit."];

/// A layer as it is listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    pub(super) file: RemoteFile,
    /// Whether the layer is an archive that must be unpacked.
    pub(super) is_archive: bool,
}

impl Layer {
    /// Classifies a layer of the artifact `name`; `None` if it contains no model file.
    pub(super) fn of(layer: &Descriptor, name: &str) -> Result<Option<Self>, SourceError> {
        let is_archive = is_archive(layer, name)?;
        let path = if is_archive {
            Some(archive_path(layer)?)
        } else {
            file_path(layer, name)?
        };
        let Some(path) = path else { return Ok(None) };
        let file = RemoteFile {
            path,
            size: layer.size,
            digest: layer.content_digest()?,
        };
        Ok(Some(Self { file, is_archive }))
    }
}

fn file_path(layer: &Descriptor, name: &str) -> Result<Option<FilePath>, SourceError> {
    let mut annotations = PATH_ANNOTATIONS.iter();
    let path = annotations.find_map(|annotation| layer.annotations.get(*annotation));
    let Some(path) = path else {
        // KitOps adds its Kitfile as a layer of a ModelPack.
        if layer.media_type.starts_with(KITFILE) {
            return Ok(None);
        }
        return Err(invalid(format!(
            "{name} has a layer ({}) without a file name (annotation {}); it is not a model artifact",
            layer.media_type,
            PATH_ANNOTATIONS.join(" or ")
        )));
    };
    let path = FilePath::parse(path.strip_prefix("./").unwrap_or(path))
        .map_err(|error| invalid(format!("{name} contains the unsafe path {path:?}: {error}")))?;
    Ok(Some(path))
}

/// The path of an archive in the listing, from its media type and digest: two layers may have the same media type.
fn archive_path(layer: &Descriptor) -> Result<FilePath, SourceError> {
    let kind = layer.media_type.as_str();
    let model_kind = MODEL_TYPES.iter().find_map(|prefix| kind.strip_prefix(prefix));
    let content = model_kind.and_then(|kind| kind.split(".v1").next()).unwrap_or("folder");
    let ending = match kind.rsplit(['+', '.']).next() {
        Some("gzip" | "gz") => "tar.gz",
        Some("zstd" | "zst") => "tar.zst",
        _ => "tar",
    };
    let hex = layer.content_digest()?.hex();
    let path = format!("layers/{content}-{}.{ending}", hex.get(..12).unwrap_or(&hex));
    FilePath::parse(&path).map_err(|error| invalid(format!("a layer has the invalid media type {kind}: {error}")))
}

/// Whether a layer is an archive of model files. Fails for a layer of a container image.
fn is_archive(layer: &Descriptor, name: &str) -> Result<bool, SourceError> {
    let kind = layer.media_type.as_str();
    let is_tar = kind.rsplit('.').next() == Some("tar")
        || kind.contains(".tar+")
        || kind.contains(".tar.")
        || kind.ends_with("tar+gzip");
    if !is_tar {
        return Ok(false);
    }
    let is_packed_by_oras = layer
        .annotations
        .get(UNPACK_ANNOTATION)
        .is_some_and(|unpack| unpack == "true");
    let is_of_a_model = MODEL_TYPES.iter().any(|prefix| kind.starts_with(prefix));
    if is_packed_by_oras || is_of_a_model {
        return Ok(true);
    }
    // ORAS uses this media type for plain files too.
    if kind == IMAGE_LAYER && layer.annotations.contains_key("org.opencontainers.image.title") {
        return Ok(false);
    }
    Err(invalid(format!(
        "{name} has a layer of a container image ({kind}), not of a model: push the files as an artifact (ModelPack, \
         KitOps, oras push)"
    )))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    const HEX: &str = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db";
    const RAW: &str = "application/vnd.cncf.model.weight.v1.raw";
    const ORAS: &str = "application/vnd.oci.image.layer.v1.tar";

    fn listed(media_type: &str, annotations: &str) -> Result<Option<Layer>, SourceError> {
        let text = format!(
            r#"{{"mediaType":"{media_type}","digest":"sha256:{HEX}","size":7,"annotations":{{{annotations}}}}}"#
        );
        let layer: Descriptor = serde_json::from_str(&text).unwrap();
        Layer::of(&layer, "host/a")
    }

    #[rstest]
    #[case::of_modelpack(RAW, r#""org.cncf.model.filepath":"a/b.safetensors""#, Ok("file a/b.safetensors"))]
    #[case::of_oras(ORAS, r#""org.opencontainers.image.title":"./c""#, Ok("file c"))]
    #[case::modelpack_first(
        RAW,
        r#""org.cncf.model.filepath":"a","org.opencontainers.image.title":"b""#,
        Ok("file a")
    )]
    #[case::climbing(RAW, r#""org.cncf.model.filepath":"../a""#, Err("the unsafe path"))]
    #[case::absolute(RAW, r#""org.cncf.model.filepath":"/a""#, Err("the unsafe path"))]
    #[case::nameless(RAW, "", Err("without a file name"))]
    #[case::packed(
        "application/vnd.cncf.model.weight.v1.tar",
        r#""org.cncf.model.filepath":"a""#,
        Ok("archive layers/weight-53aa51172d14.tar")
    )]
    #[case::packed_smaller(
        "application/vnd.cncf.model.weight.config.v1.tar+zstd",
        "",
        Ok("archive layers/weight.config-53aa51172d14.tar.zst")
    )]
    #[case::of_kitops(
        "application/vnd.kitops.modelkit.model.v1.tar+gzip",
        "",
        Ok("archive layers/model-53aa51172d14.tar.gz")
    )]
    #[case::kitfile("application/vnd.kitops.modelkit.config.v1+json", "", Ok("nothing"))]
    #[case::folder_of_oras(
        "application/vnd.oci.image.layer.v1.tar+gzip",
        r#""org.opencontainers.image.title":"d","io.deis.oras.content.unpack":"true""#,
        Ok("archive layers/folder-53aa51172d14.tar.gz")
    )]
    #[case::of_a_container(
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "",
        Err("a layer of a container image")
    )]
    #[case::of_docker(
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
        "",
        Err("a layer of a container image")
    )]
    fn a_layer(#[case] media_type: &str, #[case] annotations: &str, #[case] expected: Result<&str, &str>) {
        match (listed(media_type, annotations), expected) {
            (Ok(layer), Ok(expected)) => {
                let shown = layer.map_or_else(
                    || "nothing".to_owned(),
                    |Layer { file, is_archive }| {
                        assert_eq!((file.size, file.digest.hex().as_str()), (7, HEX));
                        format!("{} {}", if is_archive { "archive" } else { "file" }, file.path)
                    },
                );
                assert_eq!(shown, expected);
            }
            (Err(error), Err(why)) => assert!(error.message.contains(why), "{error}"),
            (result, _) => panic!("{result:?}"),
        }
    }
}
