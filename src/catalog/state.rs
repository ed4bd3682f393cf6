//! The state of each cached key, for those who watch.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use tokio::time::Instant;

use super::copy::Digest;
use super::{Catalog, Freshness};
use crate::metrics::{Failing, Metrics};
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
    /// Brings the gauges of the cache up to date.
    pub fn gauge(&self, metrics: &Metrics) {
        let now = Instant::now();
        let entries = self.0.store.entries(now);
        let stale =
            entries.iter().filter(|entry| Freshness::of(&entry.copy, now) == Freshness::Stale).count();
        metrics.copies.set(entries.len() as i64);
        metrics.stale.set(stale as i64);
        metrics.failing.clear();
        for (_, error) in self.0.failures.all() {
            metrics.failing.get_or_create(&Failing { outcome: error.outcome() }).inc();
        }
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
