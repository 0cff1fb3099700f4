//! The context that all reconciles share.

use std::sync::Arc;

use kube::Client;
use serde::Serialize;

use crate::backoff::ErrorBackoff;
use crate::cluster_view::ClusterView;
use crate::events::Recorder;
use crate::http::Health;
use crate::metrics::Metrics;

/// The operator's settings, from its command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Image of the fetcher's Jobs.
    pub fetcher: FetcherImage,
    /// The namespace to watch; `None` watches all.
    pub watch_namespace: Option<String>,
    /// Number of concurrent reconciles.
    pub concurrency: u16,
}

/// The fetcher's image and its pull settings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FetcherImage {
    /// Image reference.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`; `None` is the kubelet's default.
    pub pull_policy: Option<String>,
    /// Names of pull Secrets in each ModelCache's namespace.
    pub pull_secrets: Vec<String>,
}

/// The context that all reconciles share.
pub struct Context {
    /// The Kubernetes client.
    pub client: Client,
    /// The operator's settings.
    pub settings: Settings,
    /// Nodes and the requests of their pods.
    pub view: ClusterView,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Publisher of Kubernetes events.
    pub recorder: Recorder,
    /// State of the liveness and readiness probes.
    pub health: Arc<Health>,
    /// Consecutive reconcile failures of each object.
    pub errors: ErrorBackoff,
    /// HTTP client for fetchers' progress: no proxy, no redirect, a short timeout.
    pub progress_client: reqwest::Client,
}
