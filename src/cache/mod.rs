//! What to serve for a key now: a copy, fresh or stale, or the fetch that is under way.
//!
//! The raw feed is cached, never the filtered one; views are made of it for what a policy decides.

mod bodies;
mod budget;
pub mod cached_feed;
mod changes;
mod coverage;
mod decode;
pub mod disk;
mod effect;
pub mod encode;
mod encoder;
mod failures;
pub mod fetch;
pub mod fetch_error;
pub mod flight;
pub mod freshness;
mod key;
pub mod lookup;
mod refresh;
mod shared_value;
mod shrink_guard;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod vary;
pub mod view;
mod views;
mod warm_up;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};
use tracing::warn;

use crate::blocking;
use crate::config;
use crate::metrics::Metrics;
use crate::news::News;
use crate::policy::ViewRules;
use crate::printable::millis;
use crate::upstream::Upstream;
use cached_feed::{CachedFeed, Feed};
use disk::Disk;
use encode::Encoding;
use encoder::Encoder;
use failures::Failures;
use fetch::Fetcher;
use fetch_error::FetchError;
use flight::table::{Flights, Join};
use freshness::FreshnessLimits;
pub use key::Key;
use lookup::Lookup;
pub use state::KeyState;
use store::Store;
use view::View;
use views::Views;

/// Shortest time between two fetches of one key, whatever the upstream says: an upstream that forbids
/// caching must not be asked without pause.
const MIN_REFRESH_INTERVAL: Duration = Duration::from_millis(200);

/// Longest wait for what is queued to reach the disk at the end: the limits of the encoder (0.5 s), the copies (5 s)
/// and the news (2 s) together, and within the 10 s that running responses have.
const CLOSE_LIMIT: Duration = Duration::from_secs(8);

/// The cache; cloning shares it.
#[derive(Debug, Clone)]
pub struct Cache(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fetcher: Fetcher,
    store: Store,
    views: Views,
    encoder: Encoder,
    disk: Option<Arc<Disk>>,
    news: Option<News>,
    /// Held while a copy is compared and kept, so that of two that bring the same change one comes first.
    order: Mutex<()>,
    failures: Failures,
    metrics: Arc<Metrics>,
    stale_for: Duration,
    flights: Flights,
    /// Has a permit when somebody wants a packages feed to be there.
    warmth_wanted: Notify,
}

impl Cache {
    /// Makes an empty cache over `disk`, if there is one. What is new goes to `news`.
    pub fn new(
        upstream: Upstream,
        config: &config::CacheConfig,
        disk: Option<Arc<Disk>>,
        news: Option<News>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let limits = FreshnessLimits {
            default: *config.fresh_for,
            min: *config.min_fresh_for,
            max: config.max_fresh_for,
        };
        let fetcher = Fetcher::new(upstream, limits, *config.max_feed_size, *config.size);
        Self::over(fetcher, config, disk, news, metrics)
    }

    /// As [`Cache::new`], over any way to an upstream.
    pub(crate) fn over(
        fetcher: Fetcher,
        config: &config::CacheConfig,
        disk: Option<Arc<Disk>>,
        news: Option<News>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let store = Store::new(*config.size, metrics.evictions.clone());
        Self(Arc::new(Inner {
            fetcher,
            views: Views::new(store.clone(), Arc::clone(&metrics)),
            encoder: Encoder::new(store.clone(), Arc::clone(&metrics)),
            store,
            disk,
            news,
            order: Mutex::default(),
            failures: Failures::default(),
            flights: Flights::new(metrics.fetches_yielded.clone(), metrics.fetches_refused.clone()),
            metrics,
            stale_for: *config.stale_for,
            warmth_wanted: Notify::new(),
        }))
    }

    /// Looks a key up; starts a fetch if there is no copy and one is due, and has a stale copy renewed.
    ///
    /// Must be called within a runtime.
    pub fn look_up(&self, key: &Key) -> Lookup {
        let now = Instant::now();
        let last = self.0.store.get(key, now);
        match last {
            Some(cached) if self.0.is_servable(&cached, now) => {
                if cached.is_fresh(now) {
                    return Lookup::Fresh(cached);
                }
                self.refresh(key, &cached, now);
                Lookup::Stale(cached)
            }
            last => self.join(key, last, now),
        }
    }

    /// Returns the view of a feed, made now if it was not before. See [`Feed::view`].
    ///
    /// # Errors
    /// If making it broke off.
    pub async fn view(
        &self,
        feed: &Arc<Feed>,
        packages: Option<&Arc<Feed>>,
        rules: &ViewRules,
    ) -> Result<Arc<View>, FetchError> {
        self.0.views.view(feed, packages, rules).await
    }

    /// Returns a view's encoded form if it is there; if not, has it made in the background.
    pub fn encoded(&self, view: &Arc<View>, encoding: Encoding) -> Option<Bytes> {
        self.0.encoder.encoded(view, encoding)
    }

    /// Returns a view's encoded form, made now if it was not before.
    ///
    /// # Errors
    /// If making it broke off.
    pub async fn encode(&self, view: &Arc<View>, encoding: Encoding) -> Result<Bytes, FetchError> {
        self.0.encoder.encode(view, encoding).await
    }

    /// Writes to disk what is queued, tells what is new, ends both, and leaves the cache directory to the next process.
    /// Gives up after a few seconds: then a thread may be left that still waits for the disk.
    ///
    /// Called when the listeners close, not when the last response has ended: what is fetched from then on is served, but
    /// no more written or compared, so that whoever has the directory next finds the change.
    pub async fn close(&self) {
        let inner = Arc::clone(&self.0);
        let closing = blocking::run(move || {
            inner.encoder.close();
            inner.disk.as_deref().map(Disk::close);
            inner.news.as_ref().map(News::close);
            inner.disk.as_deref().map(Disk::give_up);
        });
        match timeout(CLOSE_LIMIT, closing).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => warn!("copies may not all be on disk"),
            Err(_) => {
                warn!(limit_ms = millis(CLOSE_LIMIT), "the disk is too slow, so copies may not all be there")
            }
        }
    }

    /// Starts to renew a copy, unless that was just done.
    fn refresh(&self, key: &Key, cached: &CachedFeed, now: Instant) {
        if now.saturating_duration_since(cached.meta.arrived) >= MIN_REFRESH_INTERVAL {
            self.renew(key, cached, now);
        }
    }

    /// Starts to renew a copy, unless that is under way or failed a moment ago.
    fn renew(&self, key: &Key, cached: &CachedFeed, now: Instant) {
        if let Some(writer) = self.0.flights.renew(key, || self.0.failures.may_retry(key, now)) {
            self.fly(writer, Some(cached.clone()));
        }
    }

    /// Joins the fetch under way, or starts one unless one failed a moment ago.
    fn join(&self, key: &Key, last: Option<CachedFeed>, now: Instant) -> Lookup {
        let joined = self.0.flights.join(key, || {
            // A fetch may have ended between the look into the store and here.
            if let Some(cached) = self.0.store.get(key, now).filter(|cached| self.0.is_servable(cached, now))
            {
                let fresh = cached.is_fresh(now);
                return Some(if fresh { Lookup::Fresh(cached) } else { Lookup::Stale(cached) });
            }
            self.0.failures.recent(key, now).map(Lookup::Failed)
        });
        match joined {
            Join::Collapsed(flight) => Lookup::InFlight(flight),
            Join::Instead(lookup) => lookup,
            Join::Started(flight, writer) => {
                self.fly(writer, last);
                Lookup::InFlight(flight)
            }
        }
    }
}

impl Inner {
    /// Returns true if a copy may be served, fresh or stale.
    fn is_servable(&self, cached: &CachedFeed, now: Instant) -> bool {
        cached.stale_here(now) <= self.stale_for
    }
}
