//! A test server for the Hugging Face Hub's protocol over plain HTTP, with fault injection and byte counts.
//! It serves the same models through the API of ModelScope.
//!
//! It has two listeners, so two origins: the hub itself, and the "CDN" that it redirects large files to by signed URL.
//! [`Hub`] offers Rust tests in process everything that the admin API under `/_admin/` offers.

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

/// Settings of a hub.
#[derive(Clone, Debug)]
pub struct HubConfig {
    /// Address of the hub's listener.
    pub listen: SocketAddr,
    /// Address of the CDN's listener: another port, so another origin.
    pub cdn_listen: SocketAddr,
    /// Entries in a page of a listing; 1000 on the real hub.
    pub page_size: usize,
    /// Lifetime of a signed URL, in seconds.
    pub url_lifetime_seconds: i64,
    /// Form of the expiry in signed URLs.
    pub signing: Signing,
    /// Whether responses have the headers of the Xet protocol; this hub has no Xet servers.
    pub xet_headers: bool,
    /// Cap on body bytes per second over all connections.
    pub bytes_per_second: Option<u64>,
}

impl HubConfig {
    /// Settings for a hub on free ports of an address.
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

/// A running hub; dropping it stops it.
#[derive(Debug)]
pub struct Hub {
    state: Arc<State>,
    address: SocketAddr,
    cdn_address: SocketAddr,
    stopped: CancellationToken,
}

impl Hub {
    /// Binds both listeners and serves until the hub is stopped.
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

    /// Base URL of the hub, in the form of `HF_ENDPOINT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Address of the hub's listener.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Address of the CDN's listener.
    #[must_use]
    pub fn cdn_address(&self) -> SocketAddr {
        self.cdn_address
    }

    /// Commits files to a branch of a model and returns the id of the commit. Creates a missing model or branch.
    ///
    /// The id depends on the content only: the same files give the same commit.
    pub async fn commit(
        &self,
        model: &str,
        branch: &str,
        files: BTreeMap<String, Content>,
    ) -> Result<String, RepositoryError> {
        self.state.commit(model, branch, files).await
    }

    /// Commits files in memory; see [`Hub::commit`].
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

    /// Commits every file below a folder; see [`Hub::commit`]. Requests read the files from disk.
    pub async fn commit_folder(
        &self,
        model: &str,
        branch: &str,
        folder: impl Into<PathBuf>,
    ) -> Result<String, RepositoryError> {
        self.commit(model, branch, folder_contents(&folder.into())?).await
    }

    /// Points a branch at an existing commit of the model.
    pub fn move_branch(&self, model: &str, branch: &str, commit: &str) -> Result<(), RepositoryError> {
        self.state.move_branch(model, branch, commit)
    }

    /// Sets who may read a model.
    pub fn set_access(&self, model: &str, access: Access) -> Result<(), RepositoryError> {
        self.state.set_access(model, access)
    }

    /// Makes a token valid and grants it gated and private models.
    pub fn grant(&self, token: &str, models: &[&str]) {
        self.state.grant(token, models.iter().map(ToString::to_string));
    }

    /// Adds a fault rule.
    pub fn fault(&self, rule: Rule) {
        self.state.faults.add(rule);
    }

    /// Removes all fault rules.
    pub fn clear_faults(&self) {
        self.state.faults.clear();
    }

    /// Number of requests that each rule has injected its fault into, in the order of the rules. A request counts once
    /// the fault takes effect: when its bit is flipped or its connection cut.
    #[must_use]
    pub fn injected(&self) -> Vec<u64> {
        self.state.faults.injected()
    }

    /// Sets or removes the cap on body bytes per second over all connections.
    pub fn throttle(&self, bytes_per_second: Option<u64>) {
        self.state.pacer.set(bytes_per_second);
    }

    /// Requests and bytes served since the start or the last reset.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.state.stats.snapshot()
    }

    /// Resets the counts.
    pub fn reset_stats(&self) {
        self.state.stats.reset();
    }

    /// Stops listening and cuts the bodies in progress.
    pub fn stop(&self) {
        self.stopped.cancel();
    }

    /// Completes when the hub is stopped.
    pub async fn stopped(&self) {
        self.stopped.cancelled().await;
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.stopped.cancel();
    }
}
