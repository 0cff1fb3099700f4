//! Options of a source: its address, the access to it, and the selection of files.

use std::path::PathBuf;

use clap::{Args as Group, ValueEnum};
use modelcache_crds::source_defaults::{
    DEFAULT_HUGGING_FACE_ENDPOINT, DEFAULT_HUGGING_FACE_REVISION, DEFAULT_MODEL_SCOPE_ENDPOINT,
    DEFAULT_MODEL_SCOPE_REVISION, DEFAULT_S3_REGION, DEFAULT_TAG,
};

use crate::application::formats::FormatCheck;
use crate::application::selection::SourceRequest;
use crate::model::pattern::Pattern;
use crate::source::SourceAddress;
use crate::source::access::{Access, S3Access};
use crate::source::hugging_face::Endpoint;

/// A model and the selection of its files.
#[derive(Group, Clone, Debug)]
pub struct SourceArgs {
    /// Model: hf://org/name[@revision], or another kind of address (see --help)
    #[arg(value_name = "SOURCE", long_help = source_long_help())]
    pub source: SourceAddress,

    /// Access to the source
    #[command(flatten)]
    pub access: AccessArgs,

    /// Pattern of paths to fetch; repeatable (in the variable: one per line)
    ///
    /// Patterns work as in fnmatch, on the whole path: `*` also matches `/`, case matters, and `dir/` stands for
    /// everything below dir.
    #[arg(long, env = "MODELCACHE_INCLUDE", value_name = "PATTERN", value_delimiter = '\n')]
    pub include: Vec<Pattern>,

    /// Pattern of paths to skip; repeatable (in the variable: one per line)
    ///
    /// Replaces the default list, which skips weights that also exist as safetensors, formats of other runtimes, and
    /// states of training runs. The default list applies if neither --include nor --exclude is set.
    #[arg(long, env = "MODELCACHE_EXCLUDE", value_name = "PATTERN", value_delimiter = '\n')]
    pub exclude: Vec<Pattern>,

    /// No default list of files to skip
    #[arg(long, env = "MODELCACHE_NO_DEFAULT_EXCLUDE")]
    pub no_default_exclude: bool,

    /// Checks of the weights
    #[command(flatten)]
    pub format: FormatArgs,
}

fn source_long_help() -> String {
    format!(
        "Model: hf://org/name[@revision], or another kind of address\n\n\
         hf:// or no scheme: a model of the Hugging Face Hub. The revision is a branch, a tag or a commit; unset: \
         {DEFAULT_HUGGING_FACE_REVISION}.\n\n\
         modelscope://owner/name[@revision]: a model of ModelScope. The revision is a branch or a tag; unset: \
         {DEFAULT_MODEL_SCOPE_REVISION}.\n\n\
         oci://registry/repository[:tag][@digest]: an artifact of ModelPack, KitOps or ORAS. The tag, if unset, is \
         {DEFAULT_TAG}. Layers that are archives are unpacked. ollama://[host/][namespace/]model[:tag]: a model of \
         Ollama's registry, in Ollama's own layout, for OLLAMA_MODELS=DIR/current. oci+http:// and ollama+http:// \
         access the registry without encryption. Credentials are those of `docker login`, or the text in \
         DOCKER_AUTH_CONFIG.\n\n\
         s3://bucket/prefix: objects whose sha256 the store keeps, or that a SHA256SUMS object next to them lists. Keys \
         are looked up as by the tools of AWS: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a web identity \
         (AWS_ROLE_ARN and AWS_WEB_IDENTITY_TOKEN_FILE), the identity of a pod (AWS_CONTAINER_CREDENTIALS_FULL_URI). \
         Without keys, requests are not signed.\n\n\
         https:// or http://: one file with its digest, https://host/model.gguf#sha256=HEX; or all files of a list \
         written by sha256sum, https://host/folder/SHA256SUMS, whose paths are relative to it.\n\n\
         file:///folder: files of a mounted folder, with the digests that modelcache published there or those of the \
         folder's SHA256SUMS; without either, the files are hashed to list them."
    )
}

/// Access to a source.
#[derive(Group, Clone, Debug)]
pub struct AccessArgs {
    /// Base URL of the hub, or of a server with the same protocol; for hf:// only
    #[arg(
        long,
        env = "HF_ENDPOINT",
        value_name = "URL",
        default_value = DEFAULT_HUGGING_FACE_ENDPOINT
    )]
    pub endpoint: Endpoint,

    /// Base URL of ModelScope; for modelscope:// only
    #[arg(
        long,
        env = "MODELSCOPE_ENDPOINT",
        value_name = "URL",
        default_value = DEFAULT_MODEL_SCOPE_ENDPOINT
    )]
    pub modelscope_endpoint: Endpoint,

    /// Access to buckets
    #[command(flatten)]
    pub s3: S3Args,

    /// File that holds an access token
    ///
    /// Unset, for ModelScope: MODELSCOPE_API_TOKEN. For the hub: HF_TOKEN, then the file that HF_TOKEN_PATH names, then
    /// (for huggingface.co only, and not with HF_HUB_DISABLE_IMPLICIT_TOKEN=1) the token that `hf auth login` stored.
    /// The token is sent only to the host of the endpoint.
    #[arg(long, env = "MODELCACHE_TOKEN_FILE", value_name = "PATH")]
    pub token_file: Option<PathBuf>,

    /// PEM file of certificate authorities to trust in addition to those of the system
    ///
    /// For servers with a certificate of a private authority. SSL_CERT_FILE replaces the authorities of the system.
    /// HTTPS_PROXY, HTTP_PROXY and NO_PROXY configure a proxy.
    #[arg(long, env = "MODELCACHE_CA_FILE", value_name = "PATH")]
    pub ca_certificate: Option<PathBuf>,
}

/// Checks of the weights.
#[derive(Group, Clone, Copy, Debug)]
pub struct FormatArgs {
    /// Action for weights that are truncated, damaged or lack a shard according to their headers
    #[arg(
        long,
        env = "MODELCACHE_FORMAT_CHECK",
        value_name = "ACTION",
        value_enum,
        default_value = "enforce"
    )]
    pub format_check: FormatCheck,
}

/// Access to the buckets of s3://.
#[derive(Group, Clone, Debug)]
pub struct S3Args {
    /// Base URL of a server that is compatible with S3; for s3:// only; unset: AWS
    #[arg(long, env = "AWS_ENDPOINT_URL_S3", value_name = "URL")]
    pub s3_endpoint: Option<String>,

    /// Region that requests are signed for
    #[arg(long, env = "AWS_REGION", value_name = "REGION", help = s3_region_help())]
    pub s3_region: Option<String>,

    /// Position of the bucket's name in URLs
    #[arg(
        long,
        env = "MODELCACHE_S3_ADDRESSING",
        value_name = "STYLE",
        value_enum,
        default_value = "auto"
    )]
    pub s3_addressing: S3Addressing,
}

fn s3_region_help() -> String {
    format!("Region that requests are signed for; unset: AWS_DEFAULT_REGION, else {DEFAULT_S3_REGION}")
}

/// Position of the bucket's name in URLs.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum S3Addressing {
    /// In the path if an endpoint is set, in the host name for AWS
    Auto,
    /// In the path
    Path,
    /// In the host name
    Virtual,
}

impl AccessArgs {
    /// The options as the sources take them.
    pub(crate) fn access(&self) -> Access {
        Access {
            endpoint: self.endpoint.clone(),
            modelscope_endpoint: self.modelscope_endpoint.clone(),
            s3: S3Access {
                endpoint: self.s3.s3_endpoint.clone(),
                region: self.s3.s3_region.clone(),
                is_virtual_hosted: match self.s3.s3_addressing {
                    S3Addressing::Auto => None,
                    S3Addressing::Path => Some(false),
                    S3Addressing::Virtual => Some(true),
                },
            },
            token_file: self.token_file.clone(),
            ca_certificate: self.ca_certificate.clone(),
        }
    }
}

impl SourceArgs {
    /// The options as the application takes them.
    pub(crate) fn request(&self) -> SourceRequest {
        let is_given = self.no_default_exclude || !self.exclude.is_empty();
        SourceRequest {
            address: self.source.clone(),
            access: self.access.access(),
            include: self.include.clone(),
            exclude: is_given.then(|| self.exclude.clone()),
            format_check: self.format.format_check,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use rstest::rstest;

    use super::super::{Args, Command, PlanArgs};
    use crate::application::recorded::address as address_of;

    #[rstest]
    #[case(&["plan", "a/b"], None)]
    #[case(&["plan", "a/b", "--no-default-exclude"], Some(0))]
    #[case(&["plan", "a/b", "--exclude", "*.bin", "--exclude", "*.h5"], Some(2))]
    fn exclude_lists(#[case] args: &[&str], #[case] excludes: Option<usize>) {
        let args = Args::parse_from(["modelcache-fetcher"].iter().chain(args));
        let Command::Plan(PlanArgs { source, .. }) = args.command else {
            panic!()
        };
        assert_eq!(source.request().exclude.map(|list| list.len()), excludes);
    }

    #[rstest]
    #[case::hub(&["hf://org/name@main", "--endpoint", "https://hub"], "hf://org/name@abc", Some("https://hub"))]
    #[case::model_scope(&["modelscope://org/name", "--modelscope-endpoint", "https://ms"], "modelscope://org/name@master", Some("https://ms"))]
    #[case::bucket(&["s3://bucket/m", "--s3-endpoint", "http://s3"], "s3://bucket/m", Some("http://s3"))]
    #[case::list(&["https://host/SHA256SUMS"], "https://host/SHA256SUMS", None)]
    #[case::registry(&["oci://host/repo:tag"], "oci://host/repo:tag", None)]
    fn what_is_recorded_can_be_opened_again(
        #[case] words: &[&str],
        #[case] recorded: &str,
        #[case] endpoint: Option<&str>,
    ) {
        let (address, options) = words.split_first().unwrap();
        let words = [&["modelcache-fetcher", "fetch", *address, "DIR"][..], options].concat();
        let request = match Args::try_parse_from(words).unwrap().command {
            Command::Fetch(args) => args.source.request(),
            command => panic!("{command:?}"),
        };
        let record = request.address.kind().record(&request.access, "abc");
        assert_eq!(record.source, recorded);
        assert_eq!(record.endpoint.as_deref(), endpoint);
        assert_eq!(address_of(&record).unwrap().to_string(), recorded);
    }
}
