//! The operator's command line; each option is also an environment variable.

use std::net::SocketAddr;

use clap::{Parser, ValueEnum};

use crate::context::{FetcherImage, Settings};

/// Turns ModelCache objects into verified models on PersistentVolumeClaims.
///
/// For each ModelCache it runs a Job that lists the source, checks that a node can hold a consumer, creates the
/// claim, and runs a Job that fetches, verifies and publishes every file. All state is in the cluster; the operator
/// reads no Secret.
#[derive(Parser, Clone, Debug)]
#[command(name = "modelcache-operator", version)]
pub struct Args {
    /// Image of the fetcher, which the Jobs run
    #[arg(long, env = "FETCHER_IMAGE", value_name = "IMAGE")]
    pub fetcher_image: String,

    /// Pull policy of the fetcher's image; the default is the kubelet's for the image's tag
    #[arg(long, env = "FETCHER_IMAGE_PULL_POLICY", value_name = "POLICY", value_enum)]
    pub fetcher_image_pull_policy: Option<PullPolicy>,

    /// Pull Secret for the fetcher's image
    ///
    /// It must exist in the namespace of each ModelCache. Repeatable; commas separate several names.
    #[arg(long, env = "FETCHER_IMAGE_PULL_SECRETS", value_name = "NAME", value_delimiter = ',')]
    pub fetcher_image_pull_secret: Vec<String>,

    /// Address of /healthz, /readyz and /metrics
    #[arg(long, env = "LISTEN", value_name = "ADDRESS", default_value = "0.0.0.0:8080")]
    pub listen: SocketAddr,

    /// Namespace whose ModelCaches are reconciled; the default is all namespaces
    ///
    /// Nodes and pods are always watched cluster-wide, because the capacity check counts their memory and GPUs.
    #[arg(long, env = "WATCH_NAMESPACE", value_name = "NAMESPACE")]
    pub watch_namespace: Option<String>,

    /// Number of concurrent reconciles
    #[arg(long, env = "CONCURRENCY", value_name = "COUNT", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=256))]
    pub concurrency: u16,

    /// Run without leader election
    ///
    /// For one process on a developer's machine. Two operators without election create the same Jobs under the
    /// same names, so no model is fetched twice, but they overwrite each other's status.
    #[arg(long, env = "NO_LEADER_ELECTION")]
    pub no_leader_election: bool,

    /// Namespace of the leader election's Lease; the default is this pod's
    #[arg(long, env = "LEADER_ELECTION_NAMESPACE", value_name = "NAMESPACE")]
    pub leader_election_namespace: Option<String>,

    /// Name of this process in the Lease and in events; in a pod, the pod's name
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub identity: Option<String>,

    /// Log format; `RUST_LOG` sets the level
    #[arg(long, env = "LOG_FORMAT", value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// Format of log lines.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// When the kubelet pulls an image.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
#[value(rename_all = "PascalCase")]
pub enum PullPolicy {
    /// Before each start.
    Always,
    /// When the node lacks the image.
    IfNotPresent,
    /// Never: the node must already have the image.
    Never,
}

impl Args {
    /// The settings that reconciles use.
    #[must_use]
    pub fn settings(&self) -> Settings {
        let given = |text: &String| !text.is_empty();
        Settings {
            fetcher: FetcherImage {
                image: self.fetcher_image.clone(),
                pull_policy: self.fetcher_image_pull_policy.map(|policy| format!("{policy:?}")),
                pull_secrets: self
                    .fetcher_image_pull_secret
                    .iter()
                    .filter(|name| given(name))
                    .cloned()
                    .collect(),
            },
            // A chart passes an empty value for an unset one.
            watch_namespace: self.watch_namespace.clone().filter(given),
            concurrency: self.concurrency,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn options_become_settings() {
        let args = Args::try_parse_from([
            "modelcache-operator",
            "--fetcher-image=example/fetcher:1",
            "--fetcher-image-pull-policy=IfNotPresent",
            "--fetcher-image-pull-secret=a,b",
            "--fetcher-image-pull-secret=c",
            "--watch-namespace=",
        ])
        .unwrap();
        assert_eq!(
            args.settings(),
            Settings {
                fetcher: FetcherImage {
                    image: "example/fetcher:1".to_owned(),
                    pull_policy: Some("IfNotPresent".to_owned()),
                    pull_secrets: vec!["a".to_owned(), "b".to_owned(), "c".to_owned()],
                },
                watch_namespace: None,
                concurrency: 16,
            }
        );
    }

    #[test]
    fn a_concurrency_of_zero_is_refused() {
        let parsed = Args::try_parse_from(["modelcache-operator", "--fetcher-image=a", "--concurrency=0"]);
        assert!(parsed.is_err());
    }
}
