//! The state of each cached key, for metrics and probes.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use tokio::time::Instant;

use super::cached_feed::{CachedFeed, FeedIndex};
use super::coverage::{codes, packages_in_use};
use super::fetch_error::FetchError;
use super::refresh::REFRESH_ASKED_WITHIN;
use super::store::StoredFeed;
use super::{Cache, Key};
use crate::cache_directory::Status;
use crate::digest::Digest;
use crate::feed::FeedKind;
use crate::metrics::FeedLabels;
use crate::metrics::state::{FeedGauges, PackagesState, Snapshot};
use crate::news::News;
use crate::news::history::PastChange;
use crate::policy::{Rules, VerdictCounts};
use crate::shops::Shops;
use crate::whitelist::coverage::unknown_codes;

/// The state of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeyState {
    /// Path and query.
    pub key: String,
    #[serde(flatten)]
    pub copy: Option<CopyState>,
    /// Why the last fetch failed, unless it succeeded.
    pub last_error: Option<String>,
}

/// The state of a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CopyState {
    /// Age in seconds.
    pub age: u64,
    /// True if it is within its freshness lifetime.
    pub fresh: bool,
    /// Number of its elements.
    pub elements: usize,
    /// Number of elements by what the whitelist does with them; nothing for categories.
    #[serde(flatten)]
    pub counts: VerdictCounts,
}

impl Cache {
    /// Returns the cache's part of the metrics.
    ///
    /// Of the many keys that one feed can have, the one that is worst off counts, and for sizes the largest.
    /// Those that nobody asked for within a day are left out: they are not renewed, so their age says nothing.
    pub fn observe(&self, shops: &Shops) -> Snapshot {
        let lists = shops.rules();
        let now = Instant::now();
        let entries = self.0.store.feeds(now);
        let stale = entries.iter().filter(|entry| !entry.cached.is_fresh(now)).count();
        let failures: HashMap<Key, FetchError> = self.0.failures.all().into_iter().collect();
        let mut state = Snapshot {
            cached_keys: entries.len(),
            stale_keys: stale,
            failing: failures.values().map(FetchError::failed).collect(),
            ..Snapshot::default()
        };
        let flights = self.0.flights.counts();
        state.fetches_running = flights.running + flights.renewing;
        state.fetches_waiting = flights.waiting;
        (state.cache_bytes, state.cache_limit) = self.0.store.usage();
        state.cache_directory_usable = self.disk_status().map(|status| status == Status::Usable);
        let mut groups: BTreeMap<_, Vec<&StoredFeed>> = BTreeMap::new();
        for entry in entries.iter().filter(|entry| entry.asked <= REFRESH_ASKED_WITHIN) {
            let FeedLabels { feed, version } = entry.key.feed();
            groups.entry((feed, version)).or_default().push(entry);
        }
        for ((feed, version), entries) in groups {
            let contents = entries.iter().map(|entry| &entry.cached.feed);
            let Some(content) = contents.max_by_key(|content| content.elements()) else { continue };
            let age = entries.iter().map(|entry| entry.cached.age(now)).max().unwrap_or_default();
            // One that is stale because nobody asked since is none of anybody's worries.
            let failing = entries.iter().filter(|entry| failures.contains_key(&entry.key));
            let stale = failing.map(|entry| entry.cached.stale_since(now)).max().unwrap_or_default();
            let packages = matches!(content.index, FeedIndex::Packages(_)).then(|| {
                let (no_objects, no_codes) = content.odd();
                let shops = lists.iter().map(|(shop, rules)| (shop.to_string(), content.counts(rules)));
                PackagesState { shops: shops.collect(), no_objects, no_codes }
            });
            let feed = FeedLabels { feed, version };
            state.feeds.push(FeedGauges { feed, age, stale, elements: content.elements(), packages });
        }
        let packages = packages_in_use(&entries);
        if !packages.is_empty() {
            let known = codes(&packages);
            let absent =
                lists.iter().map(|(shop, rules)| (shop.to_string(), unknown_codes(rules, &known).len()));
            state.absent = absent.collect();
        }
        state
    }

    /// Returns true if there is a packages feed that may be served.
    pub fn is_warm(&self) -> bool {
        let now = Instant::now();
        let may_serve = |key: &Key, copy: &CachedFeed| {
            key.kind() == FeedKind::Packages && copy.stale_here(now) <= self.0.stale_for
        };
        self.0.store.any(may_serve)
    }

    /// Returns all keys of a kind of feed that have a copy which may be served, the one fetched last first.
    pub(crate) fn copies(&self, kind: FeedKind) -> Vec<(Key, CachedFeed)> {
        let now = Instant::now();
        let stored = self.0.store.feeds(now).into_iter().filter(|stored| stored.key.kind() == kind);
        let servable = stored.filter(|stored| stored.cached.stale_here(now) <= self.0.stale_for);
        let mut copies: Vec<_> = servable.map(|stored| (stored.key, stored.cached)).collect();
        copies.sort_by_key(|(_, cached)| cached.resident(now));
        copies
    }

    /// Returns what changed in the catalog, the oldest change first. Blocks on the disk.
    pub(crate) fn news(&self) -> Vec<PastChange> {
        self.0.news.as_ref().map(News::changes).unwrap_or_default()
    }

    /// Returns whether the cache directory can be used, if there is one.
    pub fn disk_status(&self) -> Option<Status> {
        self.0.disk.as_ref().map(|disk| disk.status())
    }

    /// Returns the state of all keys under some rules (those of the shop at `/`), those with a copy first, else sorted.
    pub fn states(&self, rules: Option<&Rules>) -> Vec<KeyState> {
        let now = Instant::now();
        let mut errors: HashMap<String, String> = (self.0.failures.all().into_iter())
            .map(|(key, error)| (key.to_string(), error.to_string()))
            .collect();
        // Keys often share a content.
        let mut counts: HashMap<Digest, VerdictCounts> = HashMap::new();
        let mut states = BTreeMap::new();
        for entry in self.0.store.feeds(now) {
            let content = &entry.cached.feed;
            let counts = *counts
                .entry(content.digest)
                .or_insert_with(|| rules.map(|rules| content.counts(rules)).unwrap_or_default());
            let copy = CopyState {
                age: entry.cached.age(now).as_secs(),
                fresh: entry.cached.is_fresh(now),
                elements: content.elements(),
                counts,
            };
            let key = entry.key.to_string();
            let last_error = errors.remove(&key);
            states.insert(key.clone(), KeyState { key, copy: Some(copy), last_error });
        }
        for (key, error) in errors {
            states.insert(key.clone(), KeyState { key, copy: None, last_error: Some(error) });
        }
        let mut states: Vec<_> = states.into_values().collect();
        states.sort_by_key(|state: &KeyState| state.copy.is_none());
        states
    }
}

#[cfg(test)]
impl Cache {
    /// Returns what is beyond a bound now, for the simulation.
    pub(crate) fn broken_bounds(&self) -> Option<String> {
        let flights = self.0.flights.counts();
        let (used, size) = self.0.store.usage();
        let within = flights.running <= super::flight::MAX_RUNNING
            && flights.waiting <= super::flight::MAX_WAITING
            && flights.renewing <= super::flight::MAX_RENEWING
            && used <= size;
        (!within).then(|| format!("{flights:?}, {used} of {size} bytes"))
    }

    /// Returns what is still under way, for the simulation.
    pub(crate) fn leftovers(&self) -> Option<String> {
        let (flights, views) = (self.0.flights.counts(), self.0.views.under_way());
        let forms = self.0.encoder.under_way();
        (flights.total + views + forms > 0).then(|| format!("{flights:?}, {views} views, {forms} forms"))
    }
}
