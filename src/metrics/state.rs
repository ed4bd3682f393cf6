//! Gauges that are looked up for each scrape.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Metric, Registry, Unit};

use super::{Failed, FeedLabels, ShopLabels};
use crate::policy::VerdictCounts;

/// State of the proxy at the time of a scrape.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Number of keys with a copy.
    pub cached_keys: usize,
    /// Number of keys whose copy is stale.
    pub stale_keys: usize,
    /// Last failure of each key whose last fetch failed.
    pub failing: Vec<Failed>,
    /// Feeds by version that clients asked for within a day.
    pub feeds: Vec<FeedGauges>,
    /// Number of running fetches.
    pub fetches_running: usize,
    /// Number of fetches that wait for a place.
    pub fetches_waiting: usize,
    /// Size of the cache in memory, in bytes.
    pub cache_bytes: u64,
    /// Limit of that size, in bytes.
    pub cache_limit: u64,
    /// True if the cache directory can be used; `None` without one.
    pub cache_directory_usable: Option<bool>,
    /// State of each shop's whitelist.
    pub whitelists: Vec<WhitelistState>,
    /// Number of codes of each shop's whitelist that no packages feed in use has; nothing while there is no feed.
    pub absent: Vec<(String, usize)>,
    /// Number of servers of each shop.
    pub servers: Vec<ServerGauges>,
    /// Number of hosts that several shops claim.
    pub disputed_hosts: usize,
    /// State of the certificate, if there is one.
    pub certificate: Option<CertificateState>,
}

/// State of all copies of one feed.
#[derive(Debug, Clone)]
pub struct FeedGauges {
    /// Labels of the feed.
    pub feed: FeedLabels,
    /// Age of the oldest copy.
    pub age: Duration,
    /// Longest time that a copy has been stale because it cannot be renewed.
    pub stale: Duration,
    /// Number of elements of the largest copy.
    pub elements: usize,
    /// State of the packages in it, if it is a packages feed.
    pub packages: Option<PackagesState>,
}

/// State of the packages in a feed.
#[derive(Debug, Clone)]
pub struct PackagesState {
    /// Number of packages by what each shop's whitelist does with them.
    pub shops: Vec<(String, VerdictCounts)>,
    /// Number of elements that are no objects.
    pub no_objects: usize,
    /// Number of objects without a string as code.
    pub no_codes: usize,
}

/// State of one shop's whitelist.
#[derive(Debug, Clone, Default)]
pub struct WhitelistState {
    /// Name of the shop.
    pub shop: String,
    /// Generation of the list in force.
    pub generation: u64,
    /// Number of its entries that count today, by state.
    pub entries: VerdictCounts,
    /// Time of the last load.
    pub loaded_at: Option<SystemTime>,
    /// True if the file as it is now is in force.
    pub reload_succeeded: bool,
}

/// Number of servers of one shop.
#[derive(Debug, Clone)]
pub struct ServerGauges {
    /// Name of the shop.
    pub shop: String,
    /// Number of those that have what it decides now.
    pub current: usize,
    /// Number of those that have not.
    pub behind: usize,
}

/// State of the certificate.
#[derive(Debug, Clone, Copy)]
pub struct CertificateState {
    /// Time of expiry, if it is known.
    pub not_after: Option<SystemTime>,
    /// True if the files as they are now are in use.
    pub reload_succeeded: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ViewLabels {
    shop: String,
    feed: &'static str,
    version: &'static str,
    view: &'static str,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EntryLabels {
    shop: String,
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct HiddenLabels {
    shop: String,
    feed: &'static str,
    version: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Odd {
    version: &'static str,
    reason: &'static str,
}

impl Snapshot {
    pub(super) fn register(&self, registry: &mut Registry) {
        let failing = Family::<OutcomeLabels, Gauge>::default();
        for Failed { outcome, .. } in &self.failing {
            failing.get_or_create(&OutcomeLabels { outcome }).inc();
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
        self.register_whitelists(registry);
        self.register_servers(registry);
        if let Some(certificate) = self.certificate {
            certificate.register(registry);
        }
    }

    fn register_feeds(&self, registry: &mut Registry) {
        let ages = self.family(|feed| seconds(feed.age));
        let stale = self.family(|feed| seconds(feed.stale));
        let elements = self.family(|feed| feed.elements as i64);
        let (hidden, odd) = (Family::<HiddenLabels, Gauge>::default(), Family::<Odd, Gauge>::default());
        let views = Family::<ViewLabels, Gauge>::default();
        for FeedGauges { feed, packages, .. } in &self.feeds {
            let Some(packages) = packages else { continue };
            let FeedLabels { feed, version } = *feed;
            for (shop, VerdictCounts { shown, retired, hidden: left_out }) in &packages.shops {
                let labels = HiddenLabels { shop: shop.clone(), feed, version };
                set(&hidden, &labels, (retired + left_out) as i64);
                let of_shop = [*shown, *retired, *left_out];
                for (view, counts) in [("shop", of_shop), ("update", [shown + retired, 0, *left_out])] {
                    for (state, count) in ["shown", "retired", "hidden"].into_iter().zip(counts) {
                        let labels = ViewLabels { shop: shop.clone(), feed, version, view, state };
                        set(&views, &labels, count as i64);
                    }
                }
            }
            for (reason, count) in [("no_object", packages.no_objects), ("no_code", packages.no_codes)] {
                set(&odd, &Odd { version, reason }, count as i64);
            }
        }
        let help = "Age of the oldest copy in use";
        registry.register_with_unit("feed_age", help, Unit::Seconds, ages);
        let help = "Longest time that a copy in use is stale because it cannot be renewed";
        registry.register_with_unit("feed_stale", help, Unit::Seconds, stale);
        registry.register("feed_elements", "Elements of the largest copy in use", elements);
        registry.register("feed_hidden_elements", "Packages in it that customers do not see", hidden);
        let help = "Packages in it that a view shows, leaves out as retired, or hides";
        registry.register("feed_view_packages", help, views);
        registry.register("feed_odd_elements", "Elements in it that are no packages with a code", odd);
    }

    fn family(&self, value: impl Fn(&FeedGauges) -> i64) -> Family<FeedLabels, Gauge> {
        let family = Family::default();
        for feed in &self.feeds {
            set(&family, &feed.feed, value(feed));
        }
        family
    }
}

impl Snapshot {
    fn register_whitelists(&self, registry: &mut Registry) {
        let by_shop = |value: &dyn Fn(&WhitelistState) -> i64| {
            let family = Family::<ShopLabels, Gauge>::default();
            for list in &self.whitelists {
                set(&family, &ShopLabels { shop: list.shop.clone() }, value(list));
            }
            family
        };
        let entries = Family::<EntryLabels, Gauge>::default();
        for WhitelistState { shop, entries: VerdictCounts { shown, retired, hidden }, .. } in &self.whitelists
        {
            for (state, count) in [("shown", shown), ("retired", retired), ("hidden", hidden)] {
                set(&entries, &EntryLabels { shop: shop.clone(), state }, *count as i64);
            }
        }
        let absent = Family::<ShopLabels, Gauge>::default();
        for (shop, count) in &self.absent {
            set(&absent, &ShopLabels { shop: shop.clone() }, *count as i64);
        }
        let generations = by_shop(&|list| i64::try_from(list.generation).unwrap_or(i64::MAX));
        registry.register("whitelist_generation", "The shop's whitelist in force", generations);
        let help = "Entries under its key `extensions` that count today";
        registry.register("whitelist_extensions", help, by_shop(&|list| list.entries.shown as i64));
        let help = "Entries of it that count today, by the state that they give";
        registry.register("whitelist_entries", help, entries);
        let help = "Codes on it that no packages feed in use has";
        registry.register("whitelist_absent_extensions", help, absent);
        let help = "Whether its file as it is now is in force";
        let succeeded = by_shop(&|list| i64::from(list.reload_succeeded));
        registry.register("whitelist_reload_succeeded", help, succeeded);
        let help = "When the list in force was loaded, or 0 if none ever was";
        let loaded = by_shop(&|list| list.loaded_at.map_or(0, timestamp) as i64);
        registry.register_with_unit("whitelist_loaded_timestamp", help, Unit::Seconds, loaded);
        let help = "Hosts that more than one shop claims, so that feeds on them are refused";
        registry.register("disputed_hosts", help, gauge(self.disputed_hosts));
    }

    fn register_servers(&self, registry: &mut Registry) {
        let by_shop = |value: &dyn Fn(&ServerGauges) -> usize| {
            let family = Family::<ShopLabels, Gauge>::default();
            for servers in &self.servers {
                set(&family, &ShopLabels { shop: servers.shop.clone() }, value(servers) as i64);
            }
            family
        };
        let help = "Addresses whose last answer within 7 days shows what the shop decides now";
        registry.register("servers_current", help, by_shop(&|servers| servers.current));
        let help = "Addresses whose last answer within 7 days is from before the shop decided otherwise";
        registry.register("servers_behind", help, by_shop(&|servers| servers.behind));
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
