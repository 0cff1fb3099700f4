//! The command line. The options that a pod sets also have an environment variable.
#![expect(clippy::doc_markdown, reason = "clap shows these comments as plain text")]
#![allow(
    rustdoc::broken_intra_doc_links,
    rustdoc::invalid_html_tags,
    reason = "the doc comments are the help text, for a terminal"
)]

mod fetch;
mod output;
mod plan;
mod repair;
mod source;
mod transfer;

use std::fmt::Write;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use modelcache_crds::report::FailureClass;

pub use self::fetch::FetchArgs;
pub(crate) use self::output::termination_log;
pub use self::output::{LogFormat, Output};
pub use self::plan::PlanArgs;
pub use self::repair::{RepairArgs, RevisionArgs};
pub use self::source::{AccessArgs, FormatArgs, S3Addressing, S3Args, SourceArgs};
pub use self::transfer::{OriginArgs, TransferArgs};

/// Fetch a model in parallel byte ranges, verify every byte and publish it atomically.
///
/// A revision is resolved once, to a commit. Each file is hashed and compared with the digest that its source lists.
/// Bytes that are on disk are not fetched again, not even after a crash. DIR/current names a revision only after all of
/// it is verified.
#[derive(Parser, Debug)]
#[command(name = "modelcache-fetcher", version, after_long_help = after_long_help(), arg_required_else_help = true)]
pub struct Args {
    /// The command
    #[command(subcommand)]
    pub command: Command,

    /// Options of all commands
    #[command(flatten, next_help_heading = "Output")]
    pub output: Output,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// List the files that fetch would fetch, with sizes and digests
    ///
    /// With --dir, also show how much of the model is on disk and whether there is space for the rest. At a terminal, a
    /// short probe estimates how long the fetch takes.
    Plan(PlanArgs),
    /// Fetch a model into a folder, verify it and publish it
    ///
    /// The files are in DIR/current, a link to DIR/revisions/<ID>. A run after an interruption continues where the last
    /// one ended. A run after a success hashes the published files and fetches only damaged ones.
    Fetch(FetchArgs),
    /// Hash the published files again and list damaged ones
    Verify {
        /// Folder that a model was fetched into
        #[arg(value_name = "DIR")]
        folder: PathBuf,

        /// Revisions to verify
        #[command(flatten)]
        revisions: RevisionArgs,

        /// Checks of the weights
        #[command(flatten)]
        format: FormatArgs,
    },
    /// Repair a folder by fetching only its damaged blocks
    ///
    /// Every file is hashed. Sound blocks of a damaged file are kept, and only the other blocks are fetched. The
    /// repaired revision is verified and then replaces the damaged one in one step. If nothing is damaged, the folder
    /// stays as it is and no source is contacted.
    Repair(RepairArgs),
    /// Print a completion script for a shell
    ///
    /// For example: modelcache-fetcher completions bash > /etc/bash_completion.d/modelcache-fetcher
    Completions {
        /// Shell to complete commands in
        #[arg(value_name = "SHELL", value_enum)]
        shell: Shell,
    },
    /// Write the manual pages into a folder
    ///
    /// For example: modelcache-fetcher man /usr/local/share/man/man1
    Man {
        /// Folder for the pages; created if it does not exist
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

/// The accepted values of a numeric option, in the type of its parser.
fn bounds(min: u16, max: u16) -> RangeInclusive<i64> {
    min.into()..=max.into()
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
        let retry = if class.is_permanent() {
            ""
        } else {
            " (a retry can help)"
        };
        let _ = writeln!(text, "  {:>3}  {}{retry}", class.exit_code(), meaning(*class));
    }
    text + "  137  killed, or out of memory\n"
}

fn meaning(class: FailureClass) -> &'static str {
    match class {
        FailureClass::Internal => "a bug in this program",
        FailureClass::Usage => "invalid command line",
        FailureClass::RepositoryNotFound => "the repository does not exist or is private",
        FailureClass::RevisionNotFound => "the branch, tag or commit does not exist",
        FailureClass::FileNotFound => "a listed file does not exist",
        FailureClass::AuthenticationFailed => "the token is wrong, expired or unreadable",
        FailureClass::AccessDenied => "the model is gated or disabled, or the token may not read it",
        FailureClass::NoFilesMatch => "include and exclude select no file",
        FailureClass::InvalidListing => "the listing has paths or files that must not be written",
        FailureClass::SourceChanged => "the source lists other content than was planned",
        FailureClass::SourceUnreachable => "no connection to the source: DNS, refused, TLS, timeout",
        FailureClass::RateLimited => "the source limits the request rate",
        FailureClass::SourceError => "the source responds with an error or violates its protocol",
        FailureClass::DiskFull => "the volume is full",
        FailureClass::StorageReadOnly => "the volume is not writable",
        FailureClass::StorageError => "reading from or writing to the volume failed",
        FailureClass::StorageBusy => "another fetcher writes to the folder",
        FailureClass::DigestMismatch => "bytes differ from the listed digest, or verify found damage",
        FailureClass::InvalidFormat => "weights are truncated, damaged or lack a shard",
        FailureClass::Interrupted => "stopped by a signal",
        FailureClass::OutOfMemory | FailureClass::Killed => "killed",
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
    fn every_exit_code_is_in_the_long_help() {
        let help = Args::command().render_long_help().to_string();
        for class in FailureClass::ALL {
            assert!(help.contains(&format!(" {}  ", class.exit_code())), "{class}");
        }
    }
}
