//! Options of a transfer: its mirrors, its parallelism and its limits.

use std::time::Duration;

use clap::Args as Group;
use modelcache_crds::fetch_defaults::{
    DEFAULT_CONNECTIONS, DEFAULT_FILES_AHEAD, DEFAULT_PARALLEL_FILES, DEFAULT_PARALLEL_SMALL_FILES,
    DEFAULT_STALL_TIMEOUT_SECS, INITIAL_CONNECTIONS, MAX_CONNECTIONS, MAX_PARALLEL_FILES, MAX_STALL_TIMEOUT_SECS,
    MIN_CONNECTIONS, MIN_PARALLEL_FILES, MIN_STALL_TIMEOUT_SECS, SMALL_FILE_MAX_BYTES,
};
use modelcache_crds::quantity;

use super::bounds;
use crate::source::MirrorAddress;
use crate::transfer::Settings;

/// Options of a transfer.
#[derive(Group, Debug)]
pub struct TransferArgs {
    /// Origins
    #[command(flatten)]
    pub origins: OriginArgs,

    /// Maximum number of files fetched in parallel
    #[arg(
        long,
        env = "MODELCACHE_PARALLEL_FILES",
        value_name = "COUNT",
        value_parser = clap::value_parser!(u16).range(bounds(MIN_PARALLEL_FILES, MAX_PARALLEL_FILES)),
        help = parallel_files_help(),
        long_help = parallel_files_long_help(),
    )]
    pub parallel_files: Option<u16>,

    /// Seconds without data after which a connection is closed and the rest of its range is requested again
    #[arg(
        long,
        env = "MODELCACHE_STALL_TIMEOUT",
        value_name = "SECONDS",
        default_value_t = DEFAULT_STALL_TIMEOUT_SECS,
        value_parser = clap::value_parser!(u16).range(bounds(MIN_STALL_TIMEOUT_SECS, MAX_STALL_TIMEOUT_SECS)),
    )]
    pub stall_timeout: u16,

    /// Maximum bytes received per second over all connections: a number, or a quantity such as 50Mi or 100M
    ///
    /// Unset: no limit.
    #[arg(long, env = "MODELCACHE_MAX_BYTES_PER_SECOND", value_name = "BYTES", value_parser = bytes_per_second)]
    pub max_bytes_per_second: Option<u64>,
}

/// Options of the origins: mirrors and connections.
#[derive(Group, Debug)]
pub struct OriginArgs {
    /// Mirror that serves the same files; repeatable (in the variable: one per line)
    ///
    /// The base URL of a server with the protocol of the hub, or any SOURCE. A file is fetched in parallel from all
    /// origins that list it with the digest and size that SOURCE lists. A slow or failing origin gets fewer requests or
    /// none. An origin that sends wrong bytes is dropped and named in the report. The hub's token is not sent to mirrors.
    #[arg(long, env = "MODELCACHE_MIRROR", value_name = "URL", value_delimiter = '\n')]
    pub mirror: Vec<MirrorAddress>,

    /// Maximum number of parallel requests over all files
    #[arg(
        long,
        env = "MODELCACHE_CONNECTIONS",
        value_name = "COUNT",
        default_value_t = DEFAULT_CONNECTIONS,
        value_parser = clap::value_parser!(u16).range(bounds(MIN_CONNECTIONS, MAX_CONNECTIONS)),
        long_help = connections_long_help(),
    )]
    pub connections: u16,
}

fn parallel_files_help() -> String {
    format!(
        "Maximum number of files fetched in parallel [default: {DEFAULT_PARALLEL_FILES}, and \
         {DEFAULT_PARALLEL_SMALL_FILES} more of at most {} MiB]",
        SMALL_FILE_MAX_BYTES >> 20
    )
}

fn parallel_files_long_help() -> String {
    format!(
        "{}\n\n\
         Small files cost round trips rather than bandwidth, so more of them are fetched in parallel. If unset, up to \
         {DEFAULT_FILES_AHEAD} more files start as soon as all remaining bytes of an earlier file are requested. A \
         number that is set limits all files together.",
        parallel_files_help()
    )
}

fn connections_long_help() -> String {
    format!(
        "Maximum number of parallel requests over all files\n\n\
         A fetch starts with {INITIAL_CONNECTIONS}. It tries more and fewer, and keeps more if throughput grows, or \
         fewer if throughput does not fall."
    )
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
            // Zero for the other kinds of files, so that the number limits all files.
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
