//! Options of `repair`, and the choice of revisions that it shares with `verify`.

use std::path::PathBuf;

use clap::Args as Group;

use super::{AccessArgs, TransferArgs};
use crate::source::SourceAddress;

/// Options of `repair`.
#[derive(Group, Debug)]
pub struct RepairArgs {
    /// Folder that a model was fetched into
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,

    /// Revisions to repair
    #[command(flatten)]
    pub revisions: RevisionArgs,

    /// Source of the damaged blocks; unset: the recorded source of the revision
    ///
    /// Any SOURCE that `fetch` accepts and that serves the same files. Files are matched by digest and size.
    #[arg(long, value_name = "SOURCE")]
    pub source: Option<SourceAddress>,

    /// Access to the source
    #[command(flatten)]
    pub access: AccessArgs,

    /// Origins and limits of the transfer
    #[command(flatten)]
    pub transfer: TransferArgs,
}

/// The published revisions that a command works on.
#[derive(Group, Debug)]
pub struct RevisionArgs {
    /// One revision, by the name of its folder below DIR/revisions; unset: the current one
    #[arg(long, value_name = "ID", conflicts_with = "all")]
    pub revision_dir: Option<String>,

    /// All published revisions
    #[arg(long)]
    pub all: bool,
}

impl RevisionArgs {
    /// Whether the command works on the revision that `current` names.
    pub(crate) fn is_current(&self) -> bool {
        self.revision_dir.is_none() && !self.all
    }
}
