//! Options of `plan`.

use std::path::PathBuf;

use clap::Args as Group;

use super::{OriginArgs, SourceArgs};
use crate::application::probe::{PROBE_MAX_BYTES, PROBE_MAX_TIME};

/// Options of `plan`.
#[derive(Group, Debug)]
pub struct PlanArgs {
    /// The model
    #[command(flatten)]
    pub source: SourceArgs,

    /// Folder to compare with: shows how much of the model it holds and whether the rest fits
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,

    /// Estimate of the time by a short probe; the default at a terminal
    #[arg(long, overrides_with = "no_probe", help = probe_help())]
    pub probe: bool,

    /// No probe, not even at a terminal
    #[arg(long)]
    pub no_probe: bool,

    /// Origins of the probe
    #[command(flatten)]
    pub origins: OriginArgs,
}

fn probe_help() -> String {
    format!(
        "Estimate of the time by a probe of at most {} seconds or {} MiB; the default at a terminal",
        PROBE_MAX_TIME.as_secs(),
        PROBE_MAX_BYTES >> 20
    )
}

impl PlanArgs {
    /// Whether to probe. Without `--probe` only if a person watches: hubs count every request.
    pub(crate) fn should_probe(&self, is_watched: bool) -> bool {
        self.probe || (is_watched && !self.no_probe)
    }
}
