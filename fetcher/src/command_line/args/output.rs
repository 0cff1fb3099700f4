//! Options of the output of all commands.

use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args as Group, ValueEnum};

/// Environment variable with the path of the termination message; also read if the command line is invalid.
const TERMINATION_LOG: &str = "MODELCACHE_TERMINATION_LOG";

/// Options of the output of all commands.
#[derive(Group, Debug)]
pub struct Output {
    /// Result as JSON on standard output: the full list for plan, the report for other commands
    #[arg(long, global = true, env = "MODELCACHE_JSON")]
    pub json: bool,

    /// No progress
    #[arg(short, long, global = true, env = "MODELCACHE_QUIET")]
    pub quiet: bool,

    /// Address that serves /progress, /metrics and /healthz, for example 0.0.0.0:8080; unset: none
    #[arg(long, global = true, env = "MODELCACHE_LISTEN", value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,

    /// File for the report at the end of the run, for example /dev/termination-log; unset: none
    #[arg(long, global = true, env = TERMINATION_LOG, value_name = "PATH")]
    pub termination_log: Option<PathBuf>,

    /// Format of log lines on standard error; RUST_LOG selects them
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

/// Format of log lines.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Path of the termination message, from a command line that may be invalid elsewhere.
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
