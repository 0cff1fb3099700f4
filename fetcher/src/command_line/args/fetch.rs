//! Options of `fetch`.

use std::path::PathBuf;

use clap::Args as Group;

use super::{SourceArgs, TransferArgs};
use crate::application::layout::LayoutName;

/// Options of `fetch`.
#[derive(Group, Debug)]
pub struct FetchArgs {
    /// The model
    #[command(flatten)]
    pub source: SourceArgs,

    /// Folder to publish in; created if it does not exist
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,

    /// Layout of the published folder; unset: ollama for ollama://, else directory
    #[arg(long, env = "MODELCACHE_LAYOUT", value_name = "LAYOUT", value_enum)]
    pub layout: Option<LayoutName>,

    /// Branch or tag that clients find the model by in layout hugging-face-cache; unset: the revision of SOURCE
    ///
    /// Set it if SOURCE names a commit: clients that load org/name without a revision look for main.
    #[arg(long = "ref", env = "MODELCACHE_REF", value_name = "REVISION")]
    pub reference: Option<String>,

    /// Origins and limits of the transfer
    #[command(flatten)]
    pub transfer: TransferArgs,

    /// Manifest digest to expect, as `plan` prints it; the fetch fails for other content
    #[arg(long, env = "MODELCACHE_EXPECT_DIGEST", value_name = "sha256:HEX", value_parser = manifest_digest)]
    pub expect_digest: Option<String>,
}

fn manifest_digest(text: &str) -> Result<String, String> {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    if hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(text.to_owned());
    }
    Err("expected sha256: followed by 64 hex digits, as `plan` prints it".to_owned())
}
