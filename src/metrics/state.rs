//! What is looked up when somebody asks for metrics.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry, Unit};

use super::{Failed, FeedLabels};

/// The state of the proxy.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// Keys with a copy.
    pub cached_keys: usize,
    /// Those of them that are past their freshness lifetime.
    pub stale_keys: usize,
    /// Why the last fetch of a key failed, for each key of which it did.
    pub failing: Vec<Failed>,
    /// Each feed of each version that clients asked for within a day.
    pub feeds: Vec<FeedState>,
    /// Fetches under way, those that wait for their turn not included.
    pub fetches_running: usize,
    /// Fetches that wait for their turn.
    pub fetches_waiting: usize,
    /// Bytes in the cache.
    pub cache_bytes: u64,
    /// Its bound.
    pub cache_limit: u64,
    /// True if the cache directory can be used; `None` without one.
    pub cache_directory_usable: Option<bool>,
    /// The whitelist.
    pub whitelist: WhitelistState,
    /// The certificate, if there is one.
    pub certificate: Option<CertificateState>,
}

/// The state of all copies of one feed.
#[derive(Debug, Clone)]
pub struct FeedState {
    /// Which.
    pub feed: FeedLabels,
    /// Age of the oldest copy.
    pub age: Duration,
    /// How long the copy has been stale that is so the longest because it cannot be renewed.
    pub stale: Duration,
    /// Elements of the largest copy.
    pub elements: usize,
    /// What is known about the packages in it.
    pub packages: Option<PackagesState>,
}

/// The state of a packages feed.
#[derive(Debug, Clone, Copy)]
pub struct PackagesState {
    /// Those that the whitelist hides.
    pub hidden: usize,
    /// Those that are no objects.
    pub no_objects: usize,
    /// Those without a string for a code.
    pub no_codes: usize,
}

/// The state of the whitelist.
#[derive(Debug, Clone, Default)]
pub struct WhitelistState {
    /// The list in force.
    pub generation: u64,
    /// Codes on it.
    pub extensions: usize,
    /// Those of them that no packages feed has; unknown while there is none.
    pub absent: Option<usize>,
    /// When it was loaded.
    pub loaded_at: Option<SystemTime>,
    /// Is the file as it is now in force?
    pub reload_succeeded: bool,
}

/// The state of the certificate.
#[derive(Debug, Clone, Copy)]
pub struct CertificateState {
    /// When it expires, if that is known.
    pub not_after: Option<SystemTime>,
    /// Are the files as they are now in use?
    pub reload_succeeded: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Odd {
    version: &'static str,
    reason: &'static str,
}

impl State {
    pub(super) fn register(&self, registry: &mut Registry) {
        let failing = Family::<Outcome, Gauge>::default();
        for Failed { outcome, .. } in &self.failing {
            failing.get_or_create(&Outcome { outcome }).inc();
        }
        let mut plain = |name: &str, help: &str, value: usize| registry.register(name, help, gauge(value));
        plain("cached_keys", "Keys with a copy", self.cached_keys);
        plain("stale_keys", "Keys with a copy past its freshness lifetime", self.stale_keys);
        plain("fetches_running", "Fetches of feeds under way", self.fetches_running);
        plain("fetches_waiting", "Fetches of feeds that wait for their turn", self.fetches_waiting);
        registry.register("failing_keys", "Keys whose last fetch failed, by outcome", failing);
        let bytes = |bytes: u64| gauge(usize::try_from(bytes).unwrap_or(usize::MAX));
        let help = "Feeds and forms of them in memory";
        registry.register_with_unit("cache", help, Unit::Bytes, bytes(self.cache_bytes));
        registry.register_with_unit("cache_limit", "Bound of these", Unit::Bytes, bytes(self.cache_limit));
        if let Some(usable) = self.cache_directory_usable {
            let help = "Whether the cache directory is this process's and was written when last tried";
            registry.register("cache_directory_usable", help, gauge(usize::from(usable)));
        }
        self.register_feeds(registry);
        self.whitelist.register(registry);
        if let Some(certificate) = self.certificate {
            certificate.register(registry);
        }
    }

    fn register_feeds(&self, registry: &mut Registry) {
        let ages = self.family(|feed| seconds(feed.age));
        let stale = self.family(|feed| seconds(feed.stale));
        let elements = self.family(|feed| feed.elements as i64);
        let (hidden, odd) = (Family::<FeedLabels, Gauge>::default(), Family::<Odd, Gauge>::default());
        for FeedState { feed, packages, .. } in &self.feeds {
            let Some(packages) = packages else { continue };
            set(&hidden, feed, packages.hidden as i64);
            for (reason, count) in [("no_object", packages.no_objects), ("no_code", packages.no_codes)] {
                set(&odd, &Odd { version: feed.version, reason }, count as i64);
            }
        }
        let help = "Age of the oldest copy in use";
        registry.register_with_unit("feed_age", help, Unit::Seconds, ages);
        let help = "Longest time that a copy in use is stale because it cannot be renewed";
        registry.register_with_unit("feed_stale", help, Unit::Seconds, stale);
        registry.register("feed_elements", "Elements of the largest copy in use", elements);
        registry.register("feed_hidden_elements", "Packages in it that the whitelist hides", hidden);
        registry.register("feed_odd_elements", "Elements in it that are no packages with a code", odd);
    }

    fn family(&self, value: impl Fn(&FeedState) -> i64) -> Family<FeedLabels, Gauge> {
        let family = Family::default();
        for feed in &self.feeds {
            set(&family, &feed.feed, value(feed));
        }
        family
    }
}

impl WhitelistState {
    fn register(&self, registry: &mut Registry) {
        let generation = usize::try_from(self.generation).unwrap_or(usize::MAX);
        let mut plain = |name: &str, help: &str, value: usize| registry.register(name, help, gauge(value));
        plain("whitelist_generation", "The whitelist in force", generation);
        plain("whitelist_extensions", "Codes on the whitelist", self.extensions);
        if let Some(absent) = self.absent {
            plain("whitelist_absent_extensions", "Codes on it that no packages feed in use has", absent);
        }
        let help = "Whether the whitelist file as it is now is in force";
        plain("whitelist_reload_succeeded", help, usize::from(self.reload_succeeded));
        let loaded = self.loaded_at.map_or(0, timestamp);
        let help = "When the whitelist in force was loaded";
        registry.register_with_unit("whitelist_loaded_timestamp", help, Unit::Seconds, gauge(loaded));
    }
}

impl CertificateState {
    fn register(self, registry: &mut Registry) {
        let help = "Whether the certificate and key as they are now are in use";
        let succeeded = gauge(usize::from(self.reload_succeeded));
        registry.register("certificate_reload_succeeded", help, succeeded);
        if let Some(not_after) = self.not_after {
            let (help, at) = ("When the certificate in use expires", gauge(timestamp(not_after)));
            registry.register_with_unit("certificate_not_after_timestamp", help, Unit::Seconds, at);
        }
    }
}

fn timestamp(at: SystemTime) -> usize {
    at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as usize)
}

fn gauge(value: usize) -> impl Metric {
    let gauge: Gauge = Gauge::default();
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
    gauge
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

fn set<L: Clone + Eq + std::hash::Hash>(family: &Family<L, Gauge>, label: &L, value: i64) {
    family.get_or_create(label).set(value);
}
