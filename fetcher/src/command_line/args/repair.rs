//! The options of repair, and which revisions it and verify mean.

use std::path::PathBuf;

use clap::Args as Group;

use super::{AccessArgs, TransferArgs};
use crate::source::SourceAddress;

/// Options of repair.
#[derive(Group, Debug)]
pub struct RepairArgs {
    /// The folder that was fetched into
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,

    /// What to repair
    #[command(flatten)]
    pub revisions: RevisionArgs,

    /// Where to fetch from what is damaged; left out, where it was fetched from
    ///
    /// Any SOURCE that `fetch` takes, and at which the same files can be had: they are found by digest and size.
    #[arg(long, value_name = "SOURCE")]
    pub source: Option<SourceAddress>,

    /// How to get there
    #[command(flatten)]
    pub access: AccessArgs,

    /// From where else and how fast
    #[command(flatten)]
    pub transfer: TransferArgs,
}

/// Which of the published revisions are meant.
#[derive(Group, Debug)]
pub struct RevisionArgs {
    /// One revision, by the name of its folder below DIR/revisions; left out, the current one
    #[arg(long, value_name = "ID", conflicts_with = "all")]
    pub revision_dir: Option<String>,

    /// Every published revision
    #[arg(long)]
    pub all: bool,
}

impl RevisionArgs {
    /// Whether the revision is meant that `current` names.
    pub(crate) fn is_current(&self) -> bool {
        self.revision_dir.is_none() && !self.all
    }
}
