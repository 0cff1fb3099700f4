//! The operator's process: start order, shutdown and exit.

mod probe;

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Parser;
use kube::Client;
use modelcache_operator::args::{Args, LogFormat};
use modelcache_operator::backoff::ErrorBackoff;
use modelcache_operator::cluster_view::ClusterView;
use modelcache_operator::context::Context;
use modelcache_operator::controller;
use modelcache_operator::events::Recorder;
use modelcache_operator::http::{self, Health, Phase};
use modelcache_operator::leader::Election;
use modelcache_operator::metrics::Metrics;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

/// Limit for running reconciles after SIGTERM; the kubelet kills after 30 s, and the Lease is released in between.
const SHUTDOWN_DEADLINE: Duration = Duration::from_secs(20);

/// Limit for open HTTP connections after the reconciles have ended.
const HTTP_SERVER_DEADLINE: Duration = Duration::from_secs(2);

/// Limit for one progress request; the next reconcile asks again.
const PROGRESS_CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// Limit for connecting to a fetcher; a pod of the same cluster accepts within milliseconds.
const PROGRESS_CONNECT_TIMEOUT: Duration = Duration::from_millis(300);

fn main() -> anyhow::Result<()> {
    if let Some(url) = probe::requested(std::env::args()) {
        start_logging(LogFormat::Text);
        return start_runtime()?.block_on(probe::run(&url));
    }
    let args = Args::parse();
    start_logging(args.log_format);
    start_runtime()?.block_on(run(args))
}

fn start_runtime() -> anyhow::Result<Runtime> {
    // rustls panics at the first connection if no provider is installed.
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .map_err(|_| anyhow!("failed to install the TLS provider: another one is already installed"))?;
    tokio::runtime::Builder::new_multi_thread()
        // The operator mostly waits; each worker costs memory for its queues and its allocator arena.
        .worker_threads(2)
        .enable_all()
        .build()
        .context("failed to start the runtime")
}

fn start_logging(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => subscriber.init(),
        LogFormat::Json => subscriber.json().init(),
    }
}

async fn run(args: Args) -> anyhow::Result<()> {
    let client = Client::try_default()
        .await
        .context("failed to load a cluster configuration: set KUBECONFIG, or run in a pod with a service account")?;
    let listener = TcpListener::bind(args.listen)
        .await
        .with_context(|| format!("failed to listen on {}", args.listen))?;
    let identity = args.identity.clone().unwrap_or_else(own_name);
    let context = Arc::new(Context {
        client: client.clone(),
        settings: args.settings(),
        view: ClusterView::default(),
        metrics: Arc::new(Metrics::default()),
        recorder: Recorder::new(client.clone(), &identity),
        health: Arc::new(Health::default()),
        errors: ErrorBackoff::default(),
        progress_client: reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            // A NetworkPolicy that drops packets would block a reconcile for the whole call timeout.
            .connect_timeout(PROGRESS_CONNECT_TIMEOUT)
            .timeout(PROGRESS_CALL_TIMEOUT)
            .build()
            .context("failed to build the HTTP client for progress")?,
    });
    let shutdown = shutdown_on_signal()?;
    let server = tokio::spawn(http::serve(
        listener,
        Arc::clone(&context.health),
        Arc::clone(&context.metrics),
        shutdown.clone(),
    ));
    info!(version = env!("CARGO_PKG_VERSION"), identity, "started");

    let ended = if args.no_leader_election {
        lead(context, shutdown.clone()).await
    } else {
        let namespace = args
            .leader_election_namespace
            .clone()
            .filter(|namespace| !namespace.is_empty())
            .unwrap_or_else(|| client.default_namespace().to_owned());
        lead_when_elected(context, Election::new(client, &namespace, &identity), shutdown.clone()).await
    };
    shutdown.cancel();
    // A scraper's open connection must not delay the exit.
    if let Ok(served) = timeout(HTTP_SERVER_DEADLINE, server).await {
        served
            .context("the HTTP server panicked")?
            .context("the HTTP server failed")?;
    }
    info!("stopped");
    ended
}

/// Acquires the Lease, leads while holding it, and releases it.
async fn lead_when_elected(
    context: Arc<Context>,
    mut election: Election,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    context.health.set_phase(Phase::StandingBy);
    if shutdown.run_until_cancelled(election.acquire()).await.is_none() {
        return Ok(());
    }
    let metrics = Arc::clone(&context.metrics);
    tokio::select! {
        ended = lead(context, shutdown) => {
            metrics.set_leading(false);
            election.release().await;
            ended
        }
        // No graceful shutdown: the new holder already acts. Kubernetes restarts this process as a candidate.
        lost = election.keep() => {
            metrics.set_leading(false);
            Err(lost).context("lost the lease; the process exits and restarts as a candidate")
        }
    }
}

/// Runs the watches and the reconciles until shutdown.
async fn lead(context: Arc<Context>, shutdown: CancellationToken) -> anyhow::Result<()> {
    context.metrics.set_leading(true);
    context.health.set_phase(Phase::Starting);
    // Aborted when this future is dropped: after losing the Lease, two leaders must not act at the same time.
    let view = AbortOnDropHandle::new(tokio::spawn(
        context
            .view
            .clone()
            .run(context.client.clone(), Arc::clone(&context.metrics)),
    ));
    let mut controller = AbortOnDropHandle::new(tokio::spawn(controller::run(Arc::clone(&context), shutdown.clone())));
    let ended = tokio::select! {
        ended = &mut controller => ended,
        () = shutdown.cancelled() => if let Ok(ended) = timeout(SHUTDOWN_DEADLINE, &mut controller).await {
            ended
        } else {
            let seconds = SHUTDOWN_DEADLINE.as_secs();
            return Err(anyhow!("reconciles were still running {seconds} s after the shutdown signal"));
        },
    };
    drop(view);
    ended.context("the controller panicked")?;
    if shutdown.is_cancelled() {
        Ok(())
    } else {
        Err(anyhow!("the controller ended without a shutdown signal"))
    }
}

/// A unique candidate name for a process outside a pod.
fn own_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}-{}", host.trim(), std::process::id())
}

/// A token that the first SIGTERM or SIGINT cancels; the second one exits at once.
fn shutdown_on_signal() -> anyhow::Result<CancellationToken> {
    let mut terminate = signal(SignalKind::terminate()).context("failed to listen for SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("failed to listen for SIGINT")?;
    let token = CancellationToken::new();
    let cancelled = token.clone();
    tokio::spawn(async move {
        for _ in 0..2 {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if cancelled.is_cancelled() {
                warn!("second signal: exiting at once with reconciles still running");
                std::process::exit(1);
            }
            info!("shutting down");
            cancelled.cancel();
        }
    });
    Ok(token)
}
