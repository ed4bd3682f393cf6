//! Metrics for Prometheus.
//!
//! Label sets are closed: no query, no client and no version that a client invents ever becomes a label. Events are
//! counted in [`Metrics`] where they happen. Ages, sizes and the state of the whitelist are looked up for each scrape,
//! and come as a [`Snapshot`].

pub mod connections;
mod process;
pub mod requests;
pub mod state;
mod text;

use std::fmt;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use connections::ConnectionMetrics;
use requests::Requests;
use state::Snapshot;

use crate::version::{REVISION, VERSION};
use crate::{panics, stderr};

/// Media type of [`Metrics::encode`]'s text: the older format, which every scraper understands.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Upper bounds of latency buckets in seconds: from a hit in the cache to the longest time limit.
const LATENCIES: [f64; 15] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 30.0, 120.0];

/// Common outcomes and phases of failed pass-through requests. Their counters exist from the start.
const FORWARD_FAILURES: [(&str, &str); 8] = [
    ("dns", "connect"),
    ("refused", "connect"),
    ("connect_timeout", "connect"),
    ("unreachable", "connect"),
    ("certificate", "tls"),
    ("tls", "tls"),
    ("head_timeout", "transfer"),
    ("cut", "transfer"),
];

/// A family of latency histograms.
type Latencies<L> = Family<L, Histogram, fn() -> Histogram>;

/// Counters of everything that has happened since the start.
#[derive(Debug)]
pub struct Metrics {
    /// Requests to the service port.
    pub requests: Requests,
    /// Connections to either port.
    pub connections: ConnectionMetrics,
    /// Fetches of feeds, by how they ended.
    pub fetches: Family<Fetch, Counter>,
    /// Durations of fetches.
    pub fetch_durations: Latencies<FeedName>,
    /// Time of each feed's last fetch or confirmation, in seconds since 1970.
    pub last_fetches: Family<FeedLabels, Gauge>,
    /// Pass-through requests that failed.
    pub forward_failures: Family<Failed, Counter>,
    /// Fetches that were dropped for another one, because no client waited for them any more.
    pub fetches_yielded: Counter,
    /// Fetches that were refused because the queue was full.
    pub fetches_refused: Counter,
    /// Feeds and views that were evicted from the cache.
    pub evictions: Counter,
    /// Operations on the cache directory that failed; without one there are no series.
    pub cache_directory_failures: Family<OperationName, Counter>,
    /// Background jobs and tasks that panicked.
    pub panics: Family<ThreadName, Counter>,
    /// Changes of the catalog.
    pub changes: Family<ChangeLabels, Counter>,
    /// Requests for the feeds of each shop.
    pub shop_requests: Family<ShopLabels, Counter>,
    /// Notifications by outcome.
    pub notifications: Family<Notified, Counter>,
}

/// Labels of a feed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FeedName {
    /// `packages` or `categories`.
    pub feed: &'static str,
}

/// Labels of a feed of one version of the vendor's interface.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct FeedLabels {
    /// `packages` or `categories`.
    pub feed: &'static str,
    /// `v1` to `v9`, or `other`.
    pub version: &'static str,
}

/// Labels of a shop. SECURITY: names come from files, never from clients.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ShopLabels {
    /// Name of the shop.
    pub shop: String,
}

/// Labels of a finished fetch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Fetch {
    /// `packages` or `categories`.
    pub feed: &'static str,
    /// `changed`, `unchanged`, or the name of the failure.
    pub outcome: &'static str,
    /// Phase that the fetch reached: `connect`, `tls`, `transfer`, `content` or `done`.
    pub phase: &'static str,
}

/// Labels of a failure.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Failed {
    /// Name of the failure.
    pub outcome: &'static str,
    /// Phase that the request reached.
    pub phase: &'static str,
}

/// Label of an operation on the cache directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct OperationName {
    /// `claim`, `read`, `write`, `sync` or `remove`.
    pub operation: &'static str,
}

/// Label of a background thread or task.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ThreadName {
    /// Name of the thread or task, such as `encoder`.
    pub thread: &'static str,
}

/// Labels of a change of the catalog.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ChangeLabels {
    /// `new`, `gone`, `switched` or `renamed`.
    pub change: &'static str,
    /// `free`, `vendor` or `plesk`; of a package that is gone, the last one.
    pub seller: &'static str,
}

/// Label of a notification.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Notified {
    /// `delivered`, `failed` or `dropped`.
    pub outcome: &'static str,
}

/// Labels of this build.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    version: &'static str,
    /// Commit; empty if it is not known, which is no label to Prometheus.
    revision: &'static str,
}

impl Default for Build {
    fn default() -> Self {
        Self { version: VERSION, revision: REVISION.unwrap_or_default() }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            requests: Requests::default(),
            connections: ConnectionMetrics::default(),
            fetches: Family::default(),
            fetch_durations: Family::new_with_constructor(latencies),
            last_fetches: Family::default(),
            forward_failures: Family::default(),
            fetches_yielded: Counter::default(),
            fetches_refused: Counter::default(),
            evictions: Counter::default(),
            cache_directory_failures: Family::default(),
            panics: Family::default(),
            changes: Family::default(),
            shop_requests: Family::default(),
            notifications: Family::default(),
        };
        // A counter that begins at 0 shows its first increase; one that appears with 1 does not.
        for change in ["new", "gone", "switched", "renamed"] {
            for seller in ["free", "vendor", "plesk"] {
                drop(metrics.changes.get_or_create(&ChangeLabels { change, seller }));
            }
        }
        for feed in ["packages", "categories"] {
            for (outcome, phase) in [("changed", "done"), ("unchanged", "done"), ("shrunk", "content")] {
                drop(metrics.fetches.get_or_create(&Fetch { feed, outcome, phase }));
            }
        }
        for (outcome, phase) in FORWARD_FAILURES {
            drop(metrics.forward_failures.get_or_create(&Failed { outcome, phase }));
        }
        for outcome in ["delivered", "failed", "dropped"] {
            drop(metrics.notifications.get_or_create(&Notified { outcome }));
        }
        metrics
    }
}

impl Metrics {
    /// Formats all counters and a snapshot in Prometheus's text format.
    ///
    /// # Errors
    /// Never: writing to a string does not fail.
    pub fn encode(&self, state: &Snapshot) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        process::register(&mut registry);
        let ours = registry.sub_registry_with_prefix("catalog_proxy");
        ours.register("build", "What runs", Info::new(Build::default()));
        self.register(ours);
        state.register(ours);
        let mut open_metrics = String::new();
        encode(&mut open_metrics, &registry)?;
        Ok(text::classic(&open_metrics))
    }

    /// Returns the counter of panics of a background thread or task.
    pub(crate) fn panics(&self, thread: &'static str) -> Counter {
        self.panics.get_or_create(&ThreadName { thread }).clone()
    }

    fn register(&self, registry: &mut Registry) {
        self.requests.register(registry);
        self.connections.register(registry);
        let help = "Fetches of feeds by outcome, and how far they came";
        registry.register("fetches", help, self.fetches.clone());
        let help = "Fetches that gave their place up because nobody waited for them any more";
        registry.register("fetches_yielded", help, self.fetches_yielded.clone());
        let help = "Fetches that were refused because too many waited already";
        registry.register("fetches_refused", help, self.fetches_refused.clone());
        let help = "How long fetches of feeds took";
        registry.register_with_unit("fetch_duration", help, Unit::Seconds, self.fetch_durations.clone());
        let help = "When a feed was last fetched or confirmed";
        registry.register_with_unit(
            "feed_last_fetch_timestamp",
            help,
            Unit::Seconds,
            self.last_fetches.clone(),
        );
        let help = "Requests that could not be passed on to the upstream";
        registry.register("forward_failures", help, self.forward_failures.clone());
        let help = "Bodies that the cache dropped for want of room";
        registry.register("cache_evictions", help, self.evictions.clone());
        let help = "Operations on the cache directory that failed";
        registry.register("cache_directory_failures", help, self.cache_directory_failures.clone());
        let help = "Background jobs and tasks that panicked; each is a bug, and the log has its message";
        registry.register("background_panics", help, self.panics.clone());
        registry.register("panics", "Panics of any thread or task; each is a bug", counter(panics::count()));
        let help = "Log lines and messages lost because standard error did not take them";
        registry.register("log_lines_lost", help, counter(stderr::lost()));
        let help = "Requests for the feeds of a shop";
        registry.register("shop_requests", help, self.shop_requests.clone());
        registry.register("catalog_changes", "Changes in the catalog", self.changes.clone());
        let help = "Notifications by what became of them";
        registry.register("notifications", help, self.notifications.clone());
    }
}

/// Wraps the value of a process-wide counter.
fn counter(value: u64) -> Counter {
    let counter = Counter::default();
    counter.inc_by(value);
    counter
}

fn latencies() -> Histogram {
    Histogram::new(LATENCIES)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_prometheus_reads() {
        let metrics = Metrics::default();
        let fetch = Fetch { feed: "packages", outcome: "shrunk", phase: "content" };
        metrics.fetches.get_or_create(&fetch).inc();
        let text = metrics.encode(&Snapshot { cached_keys: 3, ..Snapshot::default() }).expect("text");
        for line in [
            "# TYPE catalog_proxy_fetches_total counter",
            "catalog_proxy_fetches_total{feed=\"packages\",outcome=\"shrunk\",phase=\"content\"} 1",
            "catalog_proxy_catalog_changes_total{change=\"new\",seller=\"plesk\"} 0",
            "catalog_proxy_forward_failures_total{outcome=\"refused\",phase=\"connect\"} 0",
            "catalog_proxy_cached_keys 3",
            "# TYPE catalog_proxy_build_info gauge",
            &format!(
                "catalog_proxy_build_info{{version=\"{VERSION}\",revision=\"{}\"}} 1",
                REVISION.unwrap_or_default()
            ),
        ] {
            assert!(text.lines().any(|other| other == line), "{line}\n{text}");
        }
    }
}
