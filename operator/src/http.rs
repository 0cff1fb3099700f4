//! The HTTP server for the kubelet and Prometheus: `/healthz`, `/readyz` and `/metrics`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// A reconcile that runs longer means a hung worker; its own timeout is far shorter.
const RECONCILE_STUCK_AFTER: Duration = Duration::from_mins(5);

/// Phase of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Watches are not synced yet.
    #[default]
    Starting,
    /// Another process leads; this one is a candidate.
    StandingBy,
    /// This process leads.
    Leading,
}

/// State of the liveness and readiness probes.
#[derive(Debug, Default)]
pub struct Health {
    state: Mutex<HealthState>,
}

#[derive(Debug, Default)]
struct HealthState {
    phase: Phase,
    next: u64,
    running: BTreeMap<u64, Instant>,
}

impl Health {
    /// Sets the phase: `Leading` once the watches are synced and reconciles run.
    pub fn set_phase(&self, phase: Phase) {
        self.lock().phase = phase;
    }

    /// Records a running reconcile until the returned guard is dropped.
    #[must_use]
    pub fn reconcile_started(self: &Arc<Self>) -> Running {
        let mut state = self.lock();
        let number = state.next;
        state.next = state.next.wrapping_add(1);
        state.running.insert(number, Instant::now());
        Running {
            health: Arc::clone(self),
            number,
        }
    }

    /// Why the kubelet should restart the process; `None` while it is healthy.
    fn stuck(&self, now: Instant) -> Option<String> {
        let state = self.lock();
        let longest = state
            .running
            .values()
            .map(|started| now.saturating_duration_since(*started))
            .max()?;
        (longest > RECONCILE_STUCK_AFTER).then(|| format!("a reconcile has been running for {} s", longest.as_secs()))
    }

    fn is_ready(&self) -> bool {
        match self.lock().phase {
            Phase::Starting => false,
            Phase::StandingBy | Phase::Leading => true,
        }
    }

    fn lock(&self) -> MutexGuard<'_, HealthState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Guard of a running reconcile.
#[derive(Debug)]
pub struct Running {
    health: Arc<Health>,
    number: u64,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.health.lock().running.remove(&self.number);
    }
}

#[derive(Clone)]
struct Served {
    health: Arc<Health>,
    metrics: Arc<Metrics>,
}

/// Serves until shutdown.
pub async fn serve(
    listener: TcpListener,
    health: Arc<Health>,
    metrics: Arc<Metrics>,
    shutdown: CancellationToken,
) -> std::io::Result<()> {
    axum::serve(listener, router(health, metrics))
        .with_graceful_shutdown(shutdown.cancelled_owned())
        .await
}

fn router(health: Arc<Health>, metrics: Arc<Metrics>) -> Router {
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(render_metrics))
        .with_state(Served { health, metrics })
}

async fn healthz(State(served): State<Served>) -> (StatusCode, String) {
    match served.health.stuck(Instant::now()) {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
    }
}

async fn readyz(State(served): State<Served>) -> (StatusCode, &'static str) {
    if served.health.is_ready() {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the watches are not synced yet\n")
    }
}

async fn render_metrics(State(served): State<Served>) -> impl IntoResponse {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], served.metrics.render())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn status_of(address: std::net::SocketAddr, path: &str) -> u16 {
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("http://{address}{path}");
        client.get(url).send().await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn it_is_ready_when_it_leads_or_stands_by_and_serves_metrics_all_the_time() {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (health, metrics) = (Arc::new(Health::default()), Arc::new(Metrics::default()));
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(listener, Arc::clone(&health), metrics, shutdown.clone()));

        assert_eq!(status_of(address, "/readyz").await, 503);
        assert_eq!(status_of(address, "/metrics").await, 200);
        health.set_phase(Phase::StandingBy);
        assert_eq!(status_of(address, "/readyz").await, 200);
        health.set_phase(Phase::Leading);
        assert_eq!(status_of(address, "/readyz").await, 200);
        assert_eq!(status_of(address, "/healthz").await, 200);

        shutdown.cancel();
        server.await.unwrap().unwrap();
    }

    #[test]
    fn a_reconcile_that_hangs_makes_the_process_unhealthy_until_it_ends() {
        let health = Arc::new(Health::default());
        let running = health.reconcile_started();
        let later = Instant::now() + RECONCILE_STUCK_AFTER + Duration::from_secs(1);
        assert_eq!(health.stuck(Instant::now()), None);
        assert!(
            health
                .stuck(later)
                .is_some_and(|why| why.contains("301 s") || why.contains("300 s"))
        );
        drop(running);
        assert_eq!(health.stuck(later), None);
    }
}
