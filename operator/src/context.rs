//! What every reconcile shares.

use std::sync::Arc;

use kube::Client;
use serde::Serialize;

use crate::backoff::ErrorBackoff;
use crate::cluster_view::ClusterView;
use crate::events::Recorder;
use crate::http::Health;
use crate::metrics::Metrics;

/// What the operator was told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The image every fetcher runs.
    pub fetcher: FetcherImage,
    /// The one namespace to watch; all when left out.
    pub watch_namespace: Option<String>,
    /// How many ModelCaches are reconciled at the same time.
    pub concurrency: u16,
}

/// The fetcher's image, and how it is pulled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FetcherImage {
    /// Reference of the image.
    pub image: String,
    /// `Always`, `IfNotPresent` or `Never`; the kubelet's default when left out.
    pub pull_policy: Option<String>,
    /// Names of pull Secrets in each ModelCache's namespace.
    pub pull_secrets: Vec<String>,
}

/// What every reconcile shares.
pub struct Context {
    /// The Kubernetes client.
    pub client: Client,
    /// What the operator was told at its start.
    pub settings: Settings,
    /// Nodes, and what pods hold on them.
    pub view: ClusterView,
    /// What Prometheus reads.
    pub metrics: Arc<Metrics>,
    /// Where events go.
    pub recorder: Recorder,
    /// What the kubelet asks after.
    pub health: Arc<Health>,
    /// How often each object's reconcile failed in a row.
    pub errors: ErrorBackoff,
    /// Asks fetchers for their progress: no proxy, no redirect, two seconds.
    pub progress_client: reqwest::Client,
}
