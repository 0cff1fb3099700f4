//! HTTP endpoints of a running fetcher for the operator and Prometheus: `/progress`, `/metrics`, `/healthz`.

use std::net::SocketAddr;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use modelcache_crds::report::ProgressReport;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::{Registry, Unit};
use tokio::net::TcpListener;

use super::rate::{Meter, Reading};
use crate::model::error::FetchError;

/// Serves the readings of a meter in a task until the process ends; returns the bound address.
pub(crate) async fn serve(address: SocketAddr, meter: Meter) -> Result<SocketAddr, FetchError> {
    let listen = |source| FetchError::Listen { address, source };
    let listener = TcpListener::bind(address).await.map_err(listen)?;
    let bound = listener.local_addr().map_err(listen)?;
    let router = router(meter);
    tokio::spawn(async move {
        if let Err(error) = axum::serve(listener, router).await {
            tracing::warn!(error = %error, "stopped serving progress: the server failed");
        }
    });
    tracing::info!(address = %bound, "serving /progress, /metrics and /healthz");
    Ok(bound)
}

fn router(meter: Meter) -> Router {
    Router::new()
        .route("/progress", get(progress))
        .route("/metrics", get(metrics))
        .route("/healthz", get(|| async { "ok\n" }))
        .with_state(meter)
}

async fn progress(State(meter): State<Meter>) -> Json<ProgressReport> {
    Json(progress_report(meter.read()))
}

fn progress_report(reading: Reading) -> ProgressReport {
    let Reading {
        counters,
        bytes_per_second,
    } = reading;
    ProgressReport {
        bytes_fetched: signed(counters.bytes_fetched()),
        bytes_verified: signed(counters.bytes_verified),
        bytes_total: signed(counters.bytes_total),
        bytes_per_second: signed(bytes_per_second),
        files_done: signed(counters.files_done),
        files_total: signed(counters.files_total),
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

async fn metrics(State(meter): State<Meter>) -> impl IntoResponse {
    let mut registry = Registry::with_prefix("modelcache_fetcher");
    registry.register_collector(Box::new(Readings(meter)));
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = encode(&mut text, &registry);
    (
        [(
            CONTENT_TYPE,
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        )],
        text,
    )
}

/// A collector that reads the meter for each request.
#[derive(Debug)]
struct Readings(Meter);

impl Collector for Readings {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Reading {
            counters,
            bytes_per_second,
        } = self.0.read();
        let bytes = Some(&Unit::Bytes);
        let per_second = Unit::Other("bytes_per_second".to_owned());
        counter(
            &mut encoder,
            "received",
            "Bytes received over the network",
            bytes,
            counters.bytes_received,
        )?;
        counter(
            &mut encoder,
            "discarded",
            "Received bytes that were discarded and fetched again",
            bytes,
            counters.bytes_discarded,
        )?;
        counter(
            &mut encoder,
            "reused",
            "Bytes that were on disk already",
            bytes,
            counters.bytes_reused,
        )?;
        counter(
            &mut encoder,
            "requests_retried",
            "Retried requests",
            None,
            counters.retries,
        )?;
        gauge(
            &mut encoder,
            "verified",
            "Bytes hashed so far",
            bytes,
            counters.bytes_verified,
        )?;
        gauge(
            &mut encoder,
            "selected",
            "Bytes of all selected files",
            bytes,
            counters.bytes_total,
        )?;
        gauge(
            &mut encoder,
            "files_done",
            "Verified complete files",
            None,
            counters.files_done,
        )?;
        gauge(
            &mut encoder,
            "files_selected",
            "All selected files",
            None,
            counters.files_total,
        )?;
        gauge(
            &mut encoder,
            "speed",
            "Transfer rate over the last seconds",
            Some(&per_second),
            bytes_per_second,
        )
    }
}

fn counter(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: u64,
) -> Result<(), std::fmt::Error> {
    let metric = ConstCounter::new(value);
    metric.encode(encoder.encode_descriptor(name, help, unit, metric.metric_type())?)
}

fn gauge(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: u64,
) -> Result<(), std::fmt::Error> {
    let metric = ConstGauge::new(value);
    metric.encode(encoder.encode_descriptor(name, help, unit, metric.metric_type())?)
}

#[cfg(test)]
mod tests {
    use pretty_assertions::assert_eq;

    use super::*;
    use crate::observe::progress::Progress;

    async fn get(path: &str) -> String {
        let progress = Progress::default();
        progress.set_total(3, 1000);
        progress.reused(100);
        progress.received(300);
        progress.discarded(50);
        progress.verified(200);
        progress.file_done();
        progress.retried();
        let address = serve("127.0.0.1:0".parse().unwrap(), Meter::new(progress))
            .await
            .unwrap();
        let response = reqwest::get(format!("http://{address}{path}")).await.unwrap();
        assert!(response.status().is_success(), "{path}: {}", response.status());
        response.text().await.unwrap()
    }

    #[tokio::test]
    async fn progress_is_the_report_the_operator_reads() {
        let report: ProgressReport = serde_json::from_str(&get("/progress").await).unwrap();
        let expected = ProgressReport {
            bytes_fetched: 350,
            bytes_verified: 200,
            bytes_total: 1000,
            bytes_per_second: 0,
            files_done: 1,
            files_total: 3,
        };
        assert_eq!(report, expected);
    }

    #[tokio::test]
    async fn metrics_have_units_and_no_labels() {
        insta::assert_snapshot!(get("/metrics").await, @r"
        # HELP modelcache_fetcher_received_bytes Bytes received over the network
        # TYPE modelcache_fetcher_received_bytes counter
        # UNIT modelcache_fetcher_received_bytes bytes
        modelcache_fetcher_received_bytes_total 300
        # HELP modelcache_fetcher_discarded_bytes Received bytes that were discarded and fetched again
        # TYPE modelcache_fetcher_discarded_bytes counter
        # UNIT modelcache_fetcher_discarded_bytes bytes
        modelcache_fetcher_discarded_bytes_total 50
        # HELP modelcache_fetcher_reused_bytes Bytes that were on disk already
        # TYPE modelcache_fetcher_reused_bytes counter
        # UNIT modelcache_fetcher_reused_bytes bytes
        modelcache_fetcher_reused_bytes_total 100
        # HELP modelcache_fetcher_requests_retried Retried requests
        # TYPE modelcache_fetcher_requests_retried counter
        modelcache_fetcher_requests_retried_total 1
        # HELP modelcache_fetcher_verified_bytes Bytes hashed so far
        # TYPE modelcache_fetcher_verified_bytes gauge
        # UNIT modelcache_fetcher_verified_bytes bytes
        modelcache_fetcher_verified_bytes 200
        # HELP modelcache_fetcher_selected_bytes Bytes of all selected files
        # TYPE modelcache_fetcher_selected_bytes gauge
        # UNIT modelcache_fetcher_selected_bytes bytes
        modelcache_fetcher_selected_bytes 1000
        # HELP modelcache_fetcher_files_done Verified complete files
        # TYPE modelcache_fetcher_files_done gauge
        modelcache_fetcher_files_done 1
        # HELP modelcache_fetcher_files_selected All selected files
        # TYPE modelcache_fetcher_files_selected gauge
        modelcache_fetcher_files_selected 3
        # HELP modelcache_fetcher_speed_bytes_per_second Transfer rate over the last seconds
        # TYPE modelcache_fetcher_speed_bytes_per_second gauge
        # UNIT modelcache_fetcher_speed_bytes_per_second bytes_per_second
        modelcache_fetcher_speed_bytes_per_second 0
        # EOF
        ");
    }

    #[tokio::test]
    async fn an_address_in_use_is_an_error() {
        let address = serve("127.0.0.1:0".parse().unwrap(), Meter::new(Progress::default()))
            .await
            .unwrap();
        let error = serve(address, Meter::new(Progress::default())).await.unwrap_err();
        assert!(
            error.to_string().contains(&format!("cannot listen on {address}")),
            "{error}"
        );
    }
}
