//! How a run tells of itself.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as Group, ValueEnum};

/// Names the termination message's file; also looked for when the command line cannot be read.
const TERMINATION_LOG: &str = "MODELCACHE_TERMINATION_LOG";

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
    use rstest::rstest;

    use super::*;

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
}
