//! Where a model comes from, and how to get there.

use std::path::PathBuf;

use clap::{Args as Group, ValueEnum};

use crate::application::formats::FormatCheck;
use crate::application::selection::SourceRequest;
use crate::model::pattern::Pattern;
use crate::source::SourceAddress;
use crate::source::access::{Access, S3Access};
use crate::source::hugging_face::Endpoint;

/// Where a model comes from, and which of its files are wanted.
#[derive(Group, Clone, Debug)]
pub struct SourceArgs {
    /// The model: hf://org/name[@revision], or an address of another kind (see --help)
    ///
    /// hf:// or no scheme: a model of the Hugging Face Hub. The revision is a branch, a tag or a commit; left out, main.
    ///
    /// modelscope://owner/name[@revision]: a model of ModelScope; the revision is a branch or a tag; left out, master.
    ///
    /// oci://registry/repository[:tag][@digest]: an artifact of ModelPack, KitOps or ORAS; layers that are archives are
    /// unpacked. ollama://[host/][namespace/]model[:tag]: a model of Ollama's registry, in the layout that Ollama keeps,
    /// for OLLAMA_MODELS=DIR/current. With oci+http:// and ollama+http:// the registry is asked without encryption.
    /// Credentials are those of `docker login`, or the text in DOCKER_AUTH_CONFIG.
    ///
    /// s3://bucket/prefix: objects whose sha256 the store keeps, or beside which lies a SHA256SUMS. Keys are found as
    /// AWS's tools find them: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a web identity (AWS_ROLE_ARN and
    /// AWS_WEB_IDENTITY_TOKEN_FILE), a pod's identity (AWS_CONTAINER_CREDENTIALS_FULL_URI); without any, none are sent.
    ///
    /// https:// or http://: one file, with its digest: https://host/model.gguf#sha256=HEX; or all files of a list that
    /// sha256sum wrote: https://host/folder/SHA256SUMS, whose paths are relative to it.
    ///
    /// file:///folder: files that are mounted here, proven by what modelcache published there or by the folder's
    /// SHA256SUMS; without either they are hashed to list them.
    #[arg(value_name = "SOURCE")]
    pub source: SourceAddress,

    /// How to get there
    #[command(flatten)]
    pub access: AccessArgs,

    /// Fetch only files whose path matches; may be given several times (in the variable: one a line)
    ///
    /// Patterns are fnmatch's, on the whole path: `*` also crosses `/`, case counts, `dir/` means all below.
    #[arg(long, env = "MODELCACHE_INCLUDE", value_name = "PATTERN", value_delimiter = '\n')]
    pub include: Vec<Pattern>,

    /// Leave out files whose path matches; may be given several times (in the variable: one a line)
    ///
    /// It replaces the default list, which leaves out weights that are also there as safetensors, other runtimes'
    /// formats, and states of training runs. That list applies when neither --include nor --exclude is given.
    #[arg(long, env = "MODELCACHE_EXCLUDE", value_name = "PATTERN", value_delimiter = '\n')]
    pub exclude: Vec<Pattern>,

    /// Do not leave out anything by default
    #[arg(long, env = "MODELCACHE_NO_DEFAULT_EXCLUDE")]
    pub no_default_exclude: bool,

    /// What to do about weights that are not what their names say
    #[command(flatten)]
    pub format: FormatArgs,
}

/// How to get at a source.
#[derive(Group, Clone, Debug)]
pub struct AccessArgs {
    /// Base URL of the hub, or of a server that speaks its protocol; for hf:// only
    #[arg(
        long,
        env = "HF_ENDPOINT",
        value_name = "URL",
        default_value = "https://huggingface.co"
    )]
    pub endpoint: Endpoint,

    /// Base URL of ModelScope; for modelscope:// only
    #[arg(
        long,
        env = "MODELSCOPE_ENDPOINT",
        value_name = "URL",
        default_value = "https://modelscope.cn"
    )]
    pub modelscope_endpoint: Endpoint,

    /// Where buckets are
    #[command(flatten)]
    pub s3: S3Args,

    /// File that holds an access token
    ///
    /// Left out, for ModelScope: MODELSCOPE_API_TOKEN. For the hub: HF_TOKEN, then the file HF_TOKEN_PATH names, then (for huggingface.co only, and not with
    /// HF_HUB_DISABLE_IMPLICIT_TOKEN=1) the token stored by `hf auth login`. It is sent to the endpoint's host only.
    #[arg(long, env = "MODELCACHE_TOKEN_FILE", value_name = "PATH")]
    pub token_file: Option<PathBuf>,

    /// File of certificate authorities, in PEM, to trust beside those of the system
    ///
    /// For servers whose certificate is of an authority of your own. In the system's place: SSL_CERT_FILE. A proxy is
    /// taken from HTTPS_PROXY, HTTP_PROXY and NO_PROXY.
    #[arg(long, env = "MODELCACHE_CA_FILE", value_name = "PATH")]
    pub ca_certificate: Option<PathBuf>,
}

/// What to do about weights that are not what their names say.
#[derive(Group, Clone, Copy, Debug)]
pub struct FormatArgs {
    /// What to do about weights that are cut short, damaged or lack a shard, by their headers
    #[arg(
        long,
        env = "MODELCACHE_FORMAT_CHECK",
        value_name = "HOW",
        value_enum,
        default_value = "enforce"
    )]
    pub format_check: FormatCheck,
}

/// Where the buckets of s3:// are.
#[derive(Group, Clone, Debug)]
pub struct S3Args {
    /// Base URL of a server that speaks S3's protocol; left out, AWS; for s3:// only
    #[arg(long, env = "AWS_ENDPOINT_URL_S3", value_name = "URL")]
    pub s3_endpoint: Option<String>,

    /// Region that signatures are for; left out, AWS_DEFAULT_REGION, then us-east-1
    #[arg(long, env = "AWS_REGION", value_name = "REGION")]
    pub s3_region: Option<String>,

    /// Whether the bucket is in the path or in the host name; auto: in the path where an endpoint is given
    #[arg(
        long,
        env = "MODELCACHE_S3_ADDRESSING",
        value_name = "STYLE",
        value_enum,
        default_value = "auto"
    )]
    pub s3_addressing: S3Addressing,
}

/// Where the bucket stands in an address.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum S3Addressing {
    /// In the path where an endpoint is given, in the host name for AWS.
    Auto,
    /// In the path.
    Path,
    /// In the host name.
    Virtual,
}

impl AccessArgs {
    /// How to reach sources, in the words of the sources.
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
    /// What is wanted, in the words of the application.
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
