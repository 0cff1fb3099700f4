//! The options of plan.

use std::path::PathBuf;

use clap::Args as Group;

use super::{OriginArgs, SourceArgs};

/// Options of plan.
#[derive(Group, Debug)]
pub struct PlanArgs {
    /// What to list
    #[command(flatten)]
    pub source: SourceArgs,

    /// Folder it would be fetched into: tell what of it is there already, and whether there is room for the rest
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// Fetch for 3 seconds, or 32 MiB, to tell the time it will take; it is what happens at a terminal
    #[arg(long, overrides_with = "no_probe")]
    pub probe: bool,

    /// Fetch nothing, also at a terminal
    #[arg(long)]
    pub no_probe: bool,

    /// Whom a fetch would ask
    #[command(flatten)]
    pub origins: OriginArgs,
}

impl PlanArgs {
    /// Whether to probe. Not unasked where no person waits for it: a hub counts every request.
    pub(crate) fn is_to_probe(&self, is_watched: bool) -> bool {
        self.probe || (is_watched && !self.no_probe)
    }
}
