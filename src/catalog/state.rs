//! The state of each cached key, for those who watch.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde::Serialize;
use tokio::time::Instant;

use super::copy::{Copy, Digest, Index};
use super::fetch::FetchError;
use super::store::Entry;
use super::{Catalog, Freshness, Key, REFRESH_ASKED_WITHIN};
use crate::cache_directory::Status;
use crate::feed::FeedKind;
use crate::metrics::Feed;
use crate::metrics::state::{FeedState as FeedGauges, PackagesState, State};
use crate::whitelist::Whitelist;

/// The state of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FeedState {
    /// Path and query.
    pub key: String,
    /// What there is, if anything.
    #[serde(flatten)]
    pub copy: Option<CopyState>,
    /// Why the last fetch failed, if it did.
    pub last_error: Option<String>,
}

/// The state of a copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CopyState {
    /// Seconds since it was good.
    pub age: u64,
    /// Is it within its freshness lifetime?
    pub fresh: bool,
    /// Its elements.
    pub elements: usize,
    /// Those that the list hides; of categories, nothing is hidden itself.
    pub hidden: usize,
}

impl Catalog {
    /// Tells what there is in metrics' terms, as far as it is about the cache.
    ///
    /// Of the many keys that one feed can have, the one that is worst off counts, and for sizes the largest.
    /// Those that nobody asked for within a day are left out: they are not renewed, so their age says nothing.
    pub fn observe(&self, list: &Whitelist) -> State {
        let now = Instant::now();
        let entries = self.0.store.entries(now);
        let stale =
            entries.iter().filter(|entry| Freshness::of(&entry.copy, now) == Freshness::Stale).count();
        let failures: HashMap<Key, FetchError> = self.0.failures.all().into_iter().collect();
        let mut state = State {
            cached_keys: entries.len(),
            stale_keys: stale,
            failing: failures.values().map(FetchError::failed).collect(),
            ..State::default()
        };
        let flights = self.0.flights.counts();
        state.fetches_running = flights.running + flights.renewing;
        state.fetches_waiting = flights.waiting;
        (state.cache_bytes, state.cache_limit) = self.0.store.usage();
        state.cache_directory_usable = self.disk_status().map(|status| status == Status::Usable);
        let mut groups: BTreeMap<_, Vec<&Entry>> = BTreeMap::new();
        for entry in entries.iter().filter(|entry| entry.asked <= REFRESH_ASKED_WITHIN) {
            let Feed { feed, version } = entry.key.feed();
            groups.entry((feed, version)).or_default().push(entry);
        }
        let mut codes = HashSet::new();
        for ((feed, version), entries) in groups {
            let contents = entries.iter().map(|entry| &entry.copy.content);
            let Some(content) = contents.max_by_key(|content| content.len()) else { continue };
            let age = entries.iter().map(|entry| entry.copy.age(now)).max().unwrap_or_default();
            // One that is stale because nobody asked since is none of anybody's worries.
            let failing = entries.iter().filter(|entry| failures.contains_key(&entry.key));
            let stale = failing.map(|entry| entry.copy.stale_since(now)).max().unwrap_or_default();
            let packages = matches!(content.index, Index::Packages(_)).then(|| {
                codes.extend(content.codes());
                let (no_objects, no_codes) = content.odd();
                PackagesState { hidden: content.hidden(list), no_objects, no_codes }
            });
            let feed = Feed { feed, version };
            state.feeds.push(FeedGauges { feed, age, stale, elements: content.len(), packages });
        }
        if state.feeds.iter().any(|feed| feed.packages.is_some()) {
            state.whitelist.absent = Some(list.codes().filter(|code| !codes.contains(code)).count());
        }
        state
    }

    /// Returns true if there is a packages feed that may be served.
    pub fn is_warm(&self) -> bool {
        let now = Instant::now();
        let may_serve = |key: &Key, copy: &Copy| {
            key.kind() == FeedKind::Packages && copy.stale_here(now) <= self.0.stale_for
        };
        self.0.store.any(may_serve)
    }

    /// Returns whether the cache directory can be used, if there is one.
    pub fn disk_status(&self) -> Option<Status> {
        self.0.disk.as_ref().map(|disk| disk.status())
    }

    /// Returns the state of all keys under a list, those with a copy first, else sorted.
    pub fn states(&self, list: &Whitelist) -> Vec<FeedState> {
        let now = Instant::now();
        let mut errors: HashMap<String, String> = (self.0.failures.all().into_iter())
            .map(|(key, error)| (key.to_string(), error.to_string()))
            .collect();
        // Keys often share a content.
        let mut hidden: HashMap<Digest, usize> = HashMap::new();
        let mut states = BTreeMap::new();
        for entry in self.0.store.entries(now) {
            let content = &entry.copy.content;
            let hidden = *hidden.entry(content.digest).or_insert_with(|| content.hidden(list));
            let copy = CopyState {
                age: entry.copy.age(now).as_secs(),
                fresh: Freshness::of(&entry.copy, now) == Freshness::Fresh,
                elements: content.len(),
                hidden,
            };
            let key = entry.key.to_string();
            let last_error = errors.remove(&key);
            states.insert(key.clone(), FeedState { key, copy: Some(copy), last_error });
        }
        for (key, error) in errors {
            states.insert(key.clone(), FeedState { key, copy: None, last_error: Some(error) });
        }
        let mut states: Vec<_> = states.into_values().collect();
        states.sort_by_key(|state: &FeedState| state.copy.is_none());
        states
    }
}
