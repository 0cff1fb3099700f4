//! Prometheus metrics. Label values are closed sets: never an object's name or an error's text.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use modelcache_crds::conditions::Reason;
use modelcache_crds::report::FailureClass;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeLabelValue, EncodeMetric, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// How a reconcile ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Outcome {
    /// The decision is applied.
    Done,
    /// An error ended it; it is retried.
    Failed,
}

/// Category of a reconcile's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum ErrorCategory {
    /// The API server is unreachable or failed.
    Unavailable,
    /// A missing permission, a quota or admission refuses the request.
    Forbidden,
    /// Another writer changed the object at the same time.
    Conflict,
    /// The API server rejects the request as invalid.
    Invalid,
    /// A time limit passed.
    Timeout,
    /// None of these.
    Other,
}

impl From<&kube::Error> for ErrorCategory {
    fn from(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => match status.code {
                401 | 403 => Self::Forbidden,
                408 | 504 => Self::Timeout,
                409 => Self::Conflict,
                400 | 404 | 413 | 422 => Self::Invalid,
                429 | 500..=599 => Self::Unavailable,
                _ => Self::Other,
            },
            kube::Error::HyperError(_) | kube::Error::Service(_) => Self::Unavailable,
            _ => Self::Other,
        }
    }
}

/// The kind of a watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Watched {
    /// ModelCaches.
    ModelCaches,
    /// The operator's Jobs.
    Jobs,
    /// Claims.
    Claims,
    /// StorageClasses.
    StorageClasses,
    /// Nodes.
    Nodes,
    /// Pods.
    Pods,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CategoryLabel {
    category: ErrorCategory,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WatchedLabel {
    watched: Watched,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabel {
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabel {
    version: &'static str,
}

/// Every metric of the operator.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: Family<OutcomeLabel, Counter>,
    reconcile_seconds: Histogram,
    errors: Family<CategoryLabel, Counter>,
    watch_errors: Family<WatchedLabel, Counter>,
    unreadable: Counter,
    attempts_failed: Family<ClassLabel, Counter>,
    published: Counter,
    fetched_bytes: Counter,
    leading: Gauge,
    caches: Arc<Caches>,
}

impl Default for Metrics {
    fn default() -> Self {
        // An idle reconcile takes a millisecond; one that waits for the API server's retries takes minutes.
        const BUCKETS: [f64; 10] = [0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 20.0, 60.0, 180.0];
        let mut metrics = Self {
            registry: Registry::with_prefix("modelcache"),
            reconciles: Family::default(),
            reconcile_seconds: Histogram::new(BUCKETS),
            errors: Family::default(),
            watch_errors: Family::default(),
            unreadable: Counter::default(),
            attempts_failed: Family::default(),
            published: Counter::default(),
            fetched_bytes: Counter::default(),
            leading: Gauge::default(),
            caches: Arc::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("reconciles", "Reconciles, by how they ended", self.reconciles.clone());
        registry.register(
            "reconcile_duration_seconds",
            "How long a reconcile takes",
            self.reconcile_seconds.clone(),
        );
        registry.register(
            "reconcile_errors",
            "Failed reconciles, by category",
            self.errors.clone(),
        );
        registry.register(
            "watch_errors",
            "Watches that failed and restarted",
            self.watch_errors.clone(),
        );
        registry.register(
            "unreadable_objects",
            "ModelCaches that do not match the schema and were skipped",
            self.unreadable.clone(),
        );
        registry.register(
            "failed_attempts",
            "Fetcher runs that failed, by failure class",
            self.attempts_failed.clone(),
        );
        registry.register(
            "published_models",
            "Models verified and published",
            self.published.clone(),
        );
        registry.register(
            "fetched_bytes",
            "Bytes fetched over the network for published models",
            self.fetched_bytes.clone(),
        );
        registry.register("leader", "1 while this process leads", self.leading.clone());
        let build = Info::new(VersionLabel {
            version: env!("CARGO_PKG_VERSION"),
        });
        registry.register("build", "The running version", build);
        registry.register_collector(Box::new(Arc::clone(&self.caches)));
    }

    /// Counts a reconcile.
    pub fn reconciled(&self, outcome: Outcome, duration: Duration) {
        self.reconciles.get_or_create(&OutcomeLabel { outcome }).inc();
        self.reconcile_seconds.observe(duration.as_secs_f64());
    }

    /// Counts the error of a failed reconcile.
    pub fn failed(&self, category: ErrorCategory) {
        self.errors.get_or_create(&CategoryLabel { category }).inc();
    }

    /// Counts a failed watch.
    pub fn watch_failed(&self, watched: Watched) {
        self.watch_errors.get_or_create(&WatchedLabel { watched }).inc();
    }

    /// Counts a ModelCache that does not match the schema.
    pub fn skipped_unreadable(&self) {
        self.unreadable.inc();
    }

    /// Counts a failed run of a fetcher.
    pub fn attempt_failed(&self, class: FailureClass) {
        let class = FailureClass::ALL
            .iter()
            .zip(class_names())
            .find_map(|(known, name)| (*known == class).then_some(name.as_str()))
            .unwrap_or("Internal");
        self.attempts_failed.get_or_create(&ClassLabel { class }).inc();
    }

    /// Counts a published model and its bytes fetched over the network.
    pub fn published(&self, bytes_fetched: i64) {
        self.published.inc();
        self.fetched_bytes.inc_by(u64::try_from(bytes_fetched).unwrap_or(0));
    }

    /// Sets whether this process leads.
    pub fn set_leading(&self, leading: bool) {
        self.leading.set(i64::from(leading));
    }

    /// Sets the source of each ModelCache's `Ready` reason.
    ///
    /// Each scrape calls it; only the first one set counts.
    pub fn count_caches_by(&self, reasons: impl Fn() -> Vec<String> + Send + Sync + 'static) {
        let _ = self.caches.reasons.set(Box::new(reasons));
    }

    /// All metrics as OpenMetrics text.
    #[must_use]
    pub fn render(&self) -> String {
        let mut page = String::new();
        // Writing into a String cannot fail, and none of our encoders does.
        let _ = text::encode(&mut page, &self.registry);
        page
    }
}

fn class_names() -> &'static [String] {
    static NAMES: OnceLock<Vec<String>> = OnceLock::new();
    NAMES.get_or_init(|| FailureClass::ALL.iter().map(ToString::to_string).collect())
}

/// Counts ModelCaches at each scrape, so that deleted ones drop out.
#[derive(Default)]
struct Caches {
    reasons: OnceLock<Box<dyn Fn() -> Vec<String> + Send + Sync>>,
}

impl fmt::Debug for Caches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Caches").finish_non_exhaustive()
    }
}

impl Collector for Caches {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(reasons) = self.reasons.get() else {
            return Ok(());
        };
        let mut counts: BTreeMap<&'static str, i64> = BTreeMap::new();
        for reason in reasons() {
            // A reason that another version wrote must not become a label value.
            let known = Reason::ALL.iter().find(|known| known.as_str() == reason);
            *counts
                .entry(known.map_or("Unknown", |known| known.as_str()))
                .or_default() += 1;
        }
        let mut family = encoder.encode_descriptor(
            "caches",
            "ModelCaches, by the reason of their Ready condition",
            None,
            MetricType::Gauge,
        )?;
        for (reason, count) in counts {
            let gauge = ConstGauge::new(count);
            gauge.encode(family.encode_family(&[("reason", reason)])?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scrape_shows_what_was_counted() {
        let metrics = Metrics::default();
        metrics.reconciled(Outcome::Done, Duration::from_millis(3));
        metrics.failed(ErrorCategory::Forbidden);
        metrics.watch_failed(Watched::Pods);
        metrics.skipped_unreadable();
        metrics.attempt_failed(FailureClass::DiskFull);
        metrics.published(90);
        metrics.set_leading(true);
        metrics.count_caches_by(|| vec!["Ready".to_owned(), "Ready".to_owned(), "not a reason".to_owned()]);
        let page = metrics.render();
        for line in [
            "modelcache_reconciles_total{outcome=\"Done\"} 1",
            "modelcache_reconcile_duration_seconds_count 1",
            "modelcache_reconcile_errors_total{category=\"Forbidden\"} 1",
            "modelcache_watch_errors_total{watched=\"Pods\"} 1",
            "modelcache_unreadable_objects_total 1",
            "modelcache_failed_attempts_total{class=\"DiskFull\"} 1",
            "modelcache_published_models_total 1",
            "modelcache_fetched_bytes_total 90",
            "modelcache_leader 1",
            "modelcache_caches{reason=\"Ready\"} 2",
            "modelcache_caches{reason=\"Unknown\"} 1",
        ] {
            assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
        }
        assert!(page.contains("modelcache_build_info{version="), "{page}");
        assert!(page.ends_with("# EOF\n"), "{page}");
    }
}
