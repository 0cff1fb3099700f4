//! The command line; every option can be given as an environment variable too.
#![expect(clippy::doc_markdown, reason = "clap shows these comments as plain text")]
#![allow(
    rustdoc::broken_intra_doc_links,
    rustdoc::invalid_html_tags,
    reason = "the doc comments are the help text, for a terminal"
)]

mod plan;
mod repair;
mod transfer;

use std::ffi::{OsStr, OsString};
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as Group, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use modelcache_crds::report::FailureClass;

use crate::application::formats::FormatCheck;
use crate::application::layout::LayoutName;
use crate::application::selection::SourceRequest;
use crate::model::pattern::Pattern;
use crate::source::SourceAddress;
use crate::source::access::{Access, S3Access};
use crate::source::hugging_face::Endpoint;

pub use self::plan::PlanArgs;
pub use self::repair::{RepairArgs, RevisionArgs};
pub use self::transfer::{OriginArgs, TransferArgs};

/// Names the termination message's file; also looked for when the command line cannot be read.
const TERMINATION_LOG: &str = "MODELCACHE_TERMINATION_LOG";

/// Fetches a model in parallel byte ranges, proves every byte and publishes it atomically.
///
/// A revision is resolved once to a commit; each file is hashed against the digest the hub lists; what is on disk
/// already is not fetched again, also after a crash; and DIR/current names a revision only once all of it is proven.
#[derive(Parser, Debug)]
#[command(name = "modelcache-fetcher", version, after_long_help = after_long_help(), arg_required_else_help = true)]
pub struct Args {
    /// What to do
    #[command(subcommand)]
    pub command: Command,

    /// What all commands know
    #[command(flatten, next_help_heading = "Output")]
    pub output: Output,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// List what fetch would fetch: files, sizes, digests
    ///
    /// With --dir also what of it is there already, and whether there is room for the rest. At a terminal the time it
    /// will take is told from a probe of 3 seconds or 32 MiB.
    Plan(PlanArgs),
    /// Fetch a model into a folder, prove and publish it
    ///
    /// The files are in DIR/current, a link to DIR/revisions/<ID>. Run again after an interruption, it goes on where
    /// it was; run again after a success, it makes sure of the revision and fetches nothing.
    Fetch(FetchArgs),
    /// Hash again what is published in a folder, and name damaged files
    Verify {
        /// The folder that was fetched into
        #[arg(value_name = "DIR")]
        folder: PathBuf,

        /// What to verify
        #[command(flatten)]
        revisions: RevisionArgs,

        /// What to do about weights that are not what their names say
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Mend what is damaged in a folder: only damaged blocks are fetched again
    ///
    /// Every file is hashed. Of a damaged one, what is sound is kept and only the rest is fetched, the whole is proven,
    /// and takes the place of the damaged one at once. A folder that is sound is left as it is, and nobody is asked.
    Repair(RepairArgs),
    /// Print what lets a shell complete commands and options
    ///
    /// For example: modelcache-fetcher completions bash > /etc/bash_completion.d/modelcache-fetcher
    Completions {
        /// The shell
        #[arg(value_name = "SHELL", value_enum)]
        shell: Shell,
    },
    /// Write the manual pages into a folder
    ///
    /// For example: modelcache-fetcher man /usr/local/share/man/man1
    Man {
        /// The folder
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

/// Options of fetch.
#[derive(Group, Debug)]
pub struct FetchArgs {
    /// What to fetch
    #[command(flatten)]
    pub source: SourceArgs,

    /// Folder to publish in; made when it is not there
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,

    /// How the published folder is laid out; left out: ollama for ollama://, else directory
    #[arg(long, env = "MODELCACHE_LAYOUT", value_name = "LAYOUT", value_enum)]
    pub layout: Option<LayoutName>,

    /// Branch or tag that clients find the model by in layout hugging-face-cache; left out, the revision of SOURCE
    ///
    /// For a SOURCE that names a commit. Clients that are to load org/name without a revision look for main.
    #[arg(long = "ref", env = "MODELCACHE_REF", value_name = "REVISION")]
    pub reference: Option<String>,

    /// From where and how fast
    #[command(flatten)]
    pub transfer: TransferArgs,

    /// Refuse to fetch anything but the content with this manifest digest, as `plan` tells it
    #[arg(long, env = "MODELCACHE_EXPECT_DIGEST", value_name = "sha256:HEX", value_parser = manifest_digest)]
    pub expect_digest: Option<String>,
}

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

/// How a run tells of itself.
#[derive(Group, Debug)]
pub struct Output {
    /// Print the result as JSON on standard output: the full list for plan, the report for others
    #[arg(long, global = true, env = "MODELCACHE_JSON")]
    pub json: bool,

    /// Show no progress
    #[arg(short, long, global = true, env = "MODELCACHE_QUIET")]
    pub quiet: bool,

    /// Address to serve /progress, /metrics and /healthz on, for example 0.0.0.0:8080; left out, none
    #[arg(long, global = true, env = "MODELCACHE_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,

    /// File to write the report to when the run ends, for example /dev/termination-log; left out, none
    #[arg(long, global = true, env = TERMINATION_LOG, value_name = "PATH")]
    pub termination_log: Option<PathBuf>,

    /// How log lines are written, to standard error; RUST_LOG says which
    #[arg(
        long,
        global = true,
        env = "MODELCACHE_LOG_FORMAT",
        value_name = "FORMAT",
        value_enum,
        default_value = "text"
    )]
    pub log_format: LogFormat,
}

/// How log lines are written.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

fn manifest_digest(text: &str) -> Result<String, String> {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    if hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(text.to_owned());
    }
    Err("expected sha256: and 64 hex digits, as plan prints them".to_owned())
}

fn after_long_help() -> String {
    let mut text = String::from(
        "Examples:\n  \
         modelcache-fetcher plan org/name\n  \
         modelcache-fetcher fetch hf://org/name@v1.0 ./models --include '*.safetensors' --include '*.json'\n  \
         HF_TOKEN=hf_... modelcache-fetcher fetch org/gated-model /models\n  \
         modelcache-fetcher fetch https://host/folder/SHA256SUMS ./models\n  \
         modelcache-fetcher fetch org/name ./cache --layout hugging-face-cache\n  \
         modelcache-fetcher fetch ollama://llama3.2:1b ./ollama\n  \
         modelcache-fetcher fetch org/name ./models --mirror https://hf-mirror.com\n  \
         modelcache-fetcher verify ./models\n  \
         modelcache-fetcher repair ./models\n\n\
         Exit codes:\n    0  success\n",
    );
    let by_fetcher = |class: &&FailureClass| !matches!(class, FailureClass::Killed | FailureClass::OutOfMemory);
    for class in FailureClass::ALL.iter().filter(by_fetcher) {
        let again = if class.is_permanent() {
            ""
        } else {
            " (trying again can help)"
        };
        let _ = writeln!(text, "  {:>3}  {}{again}", class.exit_code(), meaning(*class));
    }
    text + "  137  killed, or out of memory\n"
}

fn meaning(class: FailureClass) -> &'static str {
    match class {
        FailureClass::Internal => "a defect of this program",
        FailureClass::Usage => "the command line is wrong",
        FailureClass::RepositoryNotFound => "no such repository, or a private one",
        FailureClass::RevisionNotFound => "no such branch, tag or commit",
        FailureClass::FileNotFound => "a listed file is not there",
        FailureClass::AuthenticationFailed => "the token is wrong, expired or unreadable",
        FailureClass::AccessDenied => "gated, disabled, or not allowed with this token",
        FailureClass::NoFilesMatch => "include and exclude leave no file",
        FailureClass::InvalidListing => "the listing holds what must not be written",
        FailureClass::SourceChanged => "the source lists other content than was planned",
        FailureClass::SourceUnreachable => "no connection: DNS, refused, TLS, timeout",
        FailureClass::RateLimited => "the source asks for fewer requests",
        FailureClass::SourceError => "the source answers with an error, or against its protocol",
        FailureClass::DiskFull => "the volume is full",
        FailureClass::StorageReadOnly => "the volume may not be written",
        FailureClass::StorageError => "the volume failed to read or write",
        FailureClass::StorageBusy => "another fetcher is at work in the folder",
        FailureClass::DigestMismatch => "bytes are not the listed ones; or verify found damage",
        FailureClass::InvalidFormat => "weights are cut short, damaged or lack a shard",
        FailureClass::Interrupted => "asked to stop",
        FailureClass::OutOfMemory | FailureClass::Killed => "killed",
    }
}

/// The termination message's file, from a command line that may be wrong in other places.
pub(crate) fn termination_log(mut args: impl Iterator<Item = OsString>) -> Option<PathBuf> {
    let flag = OsStr::new("--termination-log");
    while let Some(arg) = args.next() {
        if arg == flag {
            return args.next().map(PathBuf::from);
        }
        if let Some(path) = arg.to_str().and_then(|arg| arg.strip_prefix("--termination-log=")) {
            return Some(PathBuf::from(path));
        }
    }
    std::env::var_os(TERMINATION_LOG).map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use rstest::rstest;

    use super::*;
    use crate::application::recorded::address as address_of;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn every_exit_code_is_in_the_long_help() {
        let help = Args::command().render_long_help().to_string();
        for class in FailureClass::ALL {
            assert!(help.contains(&format!(" {}  ", class.exit_code())), "{class}");
        }
    }

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
    #[case(&["fetch", "--termination-log", "/a"], Some("/a"))]
    #[case(&["fetch", "--termination-log=/a", "--nonsense"], Some("/a"))]
    #[case(&["fetch"], None)]
    fn the_termination_log_is_found_on_a_wrong_command_line(#[case] args: &[&str], #[case] found: Option<&str>) {
        assert_eq!(
            termination_log(args.iter().map(OsString::from)),
            found.map(PathBuf::from)
        );
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
