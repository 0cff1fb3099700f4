//! Whom to ask besides the source, and how fast.

use std::time::Duration;

use clap::Args as Group;
use modelcache_crds::quantity;

use crate::source::MirrorAddress;
use crate::transfer::Settings;

/// From where files come besides their source, and how fast.
#[derive(Group, Debug)]
pub struct TransferArgs {
    /// Whom to ask
    #[command(flatten)]
    pub origins: OriginArgs,

    /// Files fetched at the same time at most [default: 4, and 12 more of 1 MiB at most]
    ///
    /// Small files take round trips rather than bytes, so that many of them are fetched beside large ones. Left out, the
    /// next file is also begun when all that is left of one before is on its way. A number that is given is a cap on all.
    #[arg(long, env = "MODELCACHE_PARALLEL_FILES", value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=32))]
    pub parallel_files: Option<u16>,

    /// Seconds without a byte after which a connection is given up and the rest of its range asked for anew
    #[arg(long, env = "MODELCACHE_STALL_TIMEOUT", value_name = "SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=3600))]
    pub stall_timeout: u16,

    /// Bytes received per second at most, over all connections: a number, or a quantity such as 50Mi or 100M
    ///
    /// Left out, as many as come.
    #[arg(long, env = "MODELCACHE_MAX_BYTES_PER_SECOND", value_name = "BYTES", value_parser = bytes_per_second)]
    pub max_bytes_per_second: Option<u64>,
}

/// Who is asked, and how.
#[derive(Group, Debug)]
pub struct OriginArgs {
    /// A further place that holds the same files; may be given several times (in the variable: one a line)
    ///
    /// The base URL of a server that speaks the hub's protocol, or any SOURCE. Files are fetched from all places at
    /// once whose listing has the digest and size that SOURCE lists. A place that is slow or fails is asked less or no
    /// more; one that sends wrong bytes is found, named and done without. The hub's token is not sent to mirrors.
    #[arg(long, env = "MODELCACHE_MIRROR", value_name = "URL", value_delimiter = '\n')]
    pub mirror: Vec<MirrorAddress>,

    /// Requests at the same time at most, over all files
    ///
    /// A fetch begins with 16 and tries more where they bring more, and fewer where they do not bring less.
    #[arg(long, env = "MODELCACHE_CONNECTIONS", value_name = "COUNT", default_value_t = 44, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub connections: u16,
}

impl TransferArgs {
    /// The engine's settings.
    pub(crate) fn settings(&self) -> Settings {
        let settings = Settings {
            connections: self.origins.connections.into(),
            stall_timeout: Duration::from_secs(self.stall_timeout.into()),
            max_bytes_per_second: self.max_bytes_per_second,
            ..Settings::default()
        };
        match self.parallel_files {
            None => settings,
            // A cap on all of them.
            Some(files) => Settings {
                parallel_files: files.into(),
                files_ahead: 0,
                parallel_small_files: 0,
                ..settings
            },
        }
    }
}

fn bytes_per_second(text: &str) -> Result<u64, String> {
    quantity::parse_text(text)
        .and_then(|bytes| u64::try_from(bytes).ok())
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "expected more than 0 bytes, such as 50Mi, 100M or 52428800".to_owned())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::left_out(&[], (4, 4, 12))]
    #[case::given(&["--parallel-files=3"], (3, 0, 0))]
    fn a_number_of_files_is_a_cap_on_all(#[case] given: &[&str], #[case] expected: (usize, usize, usize)) {
        #[derive(clap::Parser, Debug)]
        struct Line {
            #[command(flatten)]
            transfer: TransferArgs,
        }
        let line = [&["fetch"], given].concat();
        let settings = <Line as clap::Parser>::try_parse_from(line)
            .unwrap()
            .transfer
            .settings();
        let files = (
            settings.parallel_files,
            settings.files_ahead,
            settings.parallel_small_files,
        );
        assert_eq!(files, expected);
    }

    #[rstest]
    #[case("52428800", Some(52_428_800))]
    #[case("50Mi", Some(50 << 20))]
    #[case("100M", Some(100_000_000))]
    #[case("1.5Gi", Some(3 << 29))]
    #[case("0", None)]
    #[case("-1", None)]
    #[case("50MB", None)]
    #[case("", None)]
    fn a_bound_on_the_bandwidth(#[case] text: &str, #[case] expected: Option<u64>) {
        assert_eq!(bytes_per_second(text).ok(), expected);
    }
}
