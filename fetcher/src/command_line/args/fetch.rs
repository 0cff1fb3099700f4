//! The options of fetch.

use std::path::PathBuf;

use clap::Args as Group;

use super::{SourceArgs, TransferArgs};
use crate::application::layout::LayoutName;

/// Options of fetch.
#[derive(Group, Debug)]
pub struct FetchArgs {
    /// What to fetch
    #[command(flatten)]
    pub source: SourceArgs,

    /// Folder to publish in; made when it is not there
    #[arg(value_name = "DIR")]
    pub folder: PathBuf,

    /// How the published folder is laid out; left out: ollama for ollama://, else directory
    #[arg(long, env = "MODELCACHE_LAYOUT", value_name = "LAYOUT", value_enum)]
    pub layout: Option<LayoutName>,

    /// Branch or tag that clients find the model by in layout hugging-face-cache; left out, the revision of SOURCE
    ///
    /// For a SOURCE that names a commit. Clients that are to load org/name without a revision look for main.
    #[arg(long = "ref", env = "MODELCACHE_REF", value_name = "REVISION")]
    pub reference: Option<String>,

    /// From where and how fast
    #[command(flatten)]
    pub transfer: TransferArgs,

    /// Refuse to fetch anything but the content with this manifest digest, as `plan` tells it
    #[arg(long, env = "MODELCACHE_EXPECT_DIGEST", value_name = "sha256:HEX", value_parser = manifest_digest)]
    pub expect_digest: Option<String>,
}

fn manifest_digest(text: &str) -> Result<String, String> {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    if hex.len() == 64 && hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(text.to_owned());
    }
    Err("expected sha256: and 64 hex digits, as plan prints them".to_owned())
}
