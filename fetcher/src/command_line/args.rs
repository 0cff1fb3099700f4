//! The command line; every option can be given as an environment variable too.
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
