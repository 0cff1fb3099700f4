//! A server that speaks the Hugging Face Hub's protocol over plain HTTP, misbehaves on demand, and counts every byte.
//! The same models can be had in ModelScope's words.
//!
//! Two listeners make two origins: the hub itself, and the "CDN" that large files are redirected to by signed URL.
//! Everything that the admin API under `/_admin/` can do, a Rust test can do on [`Hub`] in process.

mod access;
mod admin;
mod answer;
mod body;
mod cdn;
mod faults;
mod gzip;
mod listener;
mod listing;
mod model;
mod model_scope;
mod pace;
mod range;
mod resolve;
mod route;
mod server;
mod state;
mod stats;

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

pub use access::{Access, GatedListing};
pub use cdn::Signing;
pub use faults::{Fault, Rule, Stage};
pub use model::{Content, RepositoryError, folder_contents};
pub use stats::{FileStats, RequestStats, Stats};

use listener::SeverableListener;
use state::State;

/// What a hub starts with. Everything but the addresses can change while it runs.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// Where the hub listens.
    pub listen: SocketAddr,
    /// Where the CDN listens: another port, so another origin.
    pub cdn_listen: SocketAddr,
    /// Entries in a page of a listing; the real hub gives 1000.
    pub page_size: usize,
    /// Seconds a signed URL lives.
    pub url_lifetime_seconds: i64,
    /// How URLs are signed.
    pub signing: Signing,
    /// Whether answers carry the headers of the Xet protocol, whose servers this hub does not have.
    pub xet_headers: bool,
    /// Cap on body bytes a second, all connections together.
    pub bytes_per_second: Option<u64>,
}

impl HubConfig {
    /// A hub on free ports of an address.
    #[must_use]
    pub fn on(address: std::net::IpAddr) -> Self {
        Self {
            listen: SocketAddr::new(address, 0),
            cdn_listen: SocketAddr::new(address, 0),
            page_size: 1000,
            url_lifetime_seconds: 3600,
            signing: Signing::CloudFront,
            xet_headers: false,
            bytes_per_second: None,
        }
    }
}

impl Default for HubConfig {
    fn default() -> Self {
        Self::on(std::net::Ipv4Addr::LOCALHOST.into())
    }
}

/// A running hub; it stops when dropped.
#[derive(Debug)]
pub struct Hub {
    state: Arc<State>,
    address: SocketAddr,
    cdn_address: SocketAddr,
    stopped: CancellationToken,
}

impl Hub {
    /// Binds both listeners and serves until stopped.
    pub async fn start(config: HubConfig) -> io::Result<Self> {
        let listener = SeverableListener::bind(config.listen).await?;
        let cdn_listener = SeverableListener::bind(config.cdn_listen).await?;
        let address = listener.address()?;
        let cdn_address = cdn_listener.address()?;
        let stopped = CancellationToken::new();
        let state = Arc::new(State::new(&config, cdn_address.port(), stopped.clone()));
        server::spawn_hub(listener, Arc::clone(&state));
        server::spawn_cdn(cdn_listener, Arc::clone(&state));
        Ok(Self {
            state,
            address,
            cdn_address,
            stopped,
        })
    }

    /// Base URL of the hub, as `HF_ENDPOINT` takes it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where the hub listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the CDN listens.
    #[must_use]
    pub fn cdn_address(&self) -> SocketAddr {
        self.cdn_address
    }

    /// Commits files to a branch of a model, making the model and the branch where they are missing; returns the commit's id.
    ///
    /// The id follows from the content alone: the same files give the same commit.
    pub async fn commit(
        &self,
        model: &str,
        branch: &str,
        files: BTreeMap<String, Content>,
    ) -> Result<String, RepositoryError> {
        self.state.commit(model, branch, files).await
    }

    /// [`Hub::commit`] of files in memory.
    pub async fn commit_bytes<N: Into<String>, B: Into<Bytes>>(
        &self,
        model: &str,
        branch: &str,
        files: impl IntoIterator<Item = (N, B)>,
    ) -> Result<String, RepositoryError> {
        let files = files
            .into_iter()
            .map(|(name, bytes)| (name.into(), Content::Memory(bytes.into())))
            .collect();
        self.commit(model, branch, files).await
    }

    /// [`Hub::commit`] of every file below a folder, read as they are served.
    pub async fn commit_folder(
        &self,
        model: &str,
        branch: &str,
        folder: impl Into<PathBuf>,
    ) -> Result<String, RepositoryError> {
        self.commit(model, branch, folder_contents(&folder.into())?).await
    }

    /// Points a branch at a commit the model has.
    pub fn move_branch(&self, model: &str, branch: &str, commit: &str) -> Result<(), RepositoryError> {
        self.state.move_branch(model, branch, commit)
    }

    /// Says who may read a model.
    pub fn set_access(&self, model: &str, access: Access) -> Result<(), RepositoryError> {
        self.state.set_access(model, access)
    }

    /// Makes a token valid, with the gated and private models it may read.
    pub fn grant(&self, token: &str, models: &[&str]) {
        self.state.grant(token, models.iter().map(ToString::to_string));
    }

    /// Adds a fault.
    pub fn fault(&self, rule: Rule) {
        self.state.faults.add(rule);
    }

    /// Takes every fault away.
    pub fn clear_faults(&self) {
        self.state.faults.clear();
    }

    /// How many requests each fault has struck, in the order they were added. One that was to strike a request counts
    /// only when it did: when its bit was flipped, or its connection cut.
    #[must_use]
    pub fn struck(&self) -> Vec<u64> {
        self.state.faults.struck()
    }

    /// Caps, or uncaps, body bytes a second of all connections together.
    pub fn throttle(&self, bytes_per_second: Option<u64>) {
        self.state.pacer.set(bytes_per_second);
    }

    /// What was asked and served since the start or the last reset.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.state.stats.snapshot()
    }

    /// Forgets what was counted.
    pub fn reset_stats(&self) {
        self.state.stats.reset();
    }

    /// Stops listening and cuts the bodies under way.
    pub fn stop(&self) {
        self.stopped.cancel();
    }

    /// Completes when the hub was stopped.
    pub async fn stopped(&self) {
        self.stopped.cancelled().await;
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.stopped.cancel();
    }
}
