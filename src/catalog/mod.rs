//! What to serve for a key now: a copy, fresh or stale, or the fetch that is under way.
//!
//! The raw feed is cached, never the filtered one; views are made per whitelist generation.

mod backoff;
mod budget;
mod changes;
pub mod copy;
mod decode;
pub mod disk;
pub mod encode;
pub mod fetch;
pub mod flight;
pub mod freshness;
mod key;
mod state;
pub mod store;
mod vary;
mod views;

use std::cmp::Reverse;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tracing::warn;

use crate::config;
use crate::metrics::Metrics;
use crate::news::News;
use crate::upstream::Upstream;
use crate::whitelist::Whitelist;
use backoff::Failures;
use copy::{Copy, View};
use disk::Disk;
use encode::Encoding;
use fetch::{FetchError, Fetcher};
use flight::table::{Flights, Join};
use flight::{Flight, Kept};
use freshness::Policy;
pub use key::Key;
pub use state::FeedState;
use store::{Store, ViewKey};
use views::Views;

/// Shortest time between two fetches of one key, whatever the upstream says: an upstream that forbids
/// caching must not be asked without pause.
const MIN_REFRESH: Duration = Duration::from_millis(200);

/// Keys that a client asked for within so long are renewed ahead of their end: a night's burst finds what
/// the last one brought.
const REFRESH_ASKED_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);
/// How often it is looked which keys are due.
const REFRESH_TICK: Duration = Duration::from_secs(1);
/// Shortest lifetime that is renewed ahead; less is as good as none.
const REFRESH_MIN_LIFETIME: Duration = Duration::from_secs(1);

/// Longest wait for what is queued to reach the disk at the end: the limits of the encoder (0.5 s), the copies (5 s)
/// and the news (2 s) together, and within the 10 s that running responses have.
const CLOSE_LIMIT: Duration = Duration::from_secs(8);

/// The cache; cloning shares it.
#[derive(Debug, Clone)]
pub struct Catalog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fetcher: Fetcher,
    store: Store,
    views: Views,
    disk: Option<Arc<Disk>>,
    news: Option<News>,
    /// Held while a copy is compared and kept, so that of two that bring the same change one comes first.
    order: Mutex<()>,
    failures: Failures,
    metrics: Arc<Metrics>,
    stale_for: Duration,
    flights: Flights,
}

/// What there is for a key.
#[derive(Debug)]
pub enum Found {
    /// A copy that may be served.
    Copy(Copy, Freshness),
    /// Nothing in memory: a fetch to wait for.
    Flight(Flight, Joined),
    /// A fetch failed a moment ago.
    Failed(FetchError),
}

/// Is a copy within its freshness lifetime?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freshness {
    /// Yes.
    Fresh,
    /// No; it is being renewed.
    Stale,
}

/// Who started a fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// The one who asked.
    Started,
    /// Another one before.
    Collapsed,
}

impl Catalog {
    /// Makes an empty cache over `disk`, if there is one. What is new goes to `news`.
    pub fn new(
        upstream: Upstream,
        config: &config::Cache,
        disk: Option<Arc<Disk>>,
        news: Option<News>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let policy =
            Policy { default: *config.fresh_for, min: *config.min_fresh_for, max: config.max_fresh_for };
        let fetcher = Fetcher::new(upstream, policy, *config.max_feed_size, *config.size);
        Self::over(fetcher, config, disk, news, metrics)
    }

    /// As [`Catalog::new`], over any way to an upstream.
    fn over(
        fetcher: Fetcher,
        config: &config::Cache,
        disk: Option<Arc<Disk>>,
        news: Option<News>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let store = Store::new(*config.size, metrics.evictions.clone());
        Self(Arc::new(Inner {
            fetcher,
            views: Views::new(store.clone(), Arc::clone(&metrics)),
            store,
            disk,
            news,
            order: Mutex::default(),
            failures: Failures::default(),
            flights: Flights::new(metrics.fetches_yielded.clone(), metrics.fetches_refused.clone()),
            metrics,
            stale_for: *config.stale_for,
        }))
    }

    /// Looks a key up; starts a fetch if there is none and one is due.
    ///
    /// Must be called within a runtime.
    pub fn look_up(&self, key: &Key) -> Found {
        let now = Instant::now();
        match self.0.store.copy(key, now) {
            Some(copy) if self.0.is_servable(&copy, now) => {
                let freshness = Freshness::of(&copy, now);
                if freshness == Freshness::Stale {
                    self.refresh(key, &copy, now);
                }
                Found::Copy(copy, freshness)
            }
            before => self.join(key, before, now),
        }
    }

    /// Returns a fresh copy of a key.
    pub fn fresh(&self, key: &Key) -> Option<Copy> {
        let now = Instant::now();
        self.0.store.copy(key, now).filter(|copy| Freshness::of(copy, now) == Freshness::Fresh)
    }

    /// Waits for the end of what [`Catalog::look_up`] found.
    ///
    /// # Errors
    /// If there is no copy and the fetch fails.
    pub async fn landed(&self, found: Found) -> Result<(Copy, Arrival), FetchError> {
        match found {
            Found::Copy(copy, freshness) => Ok((copy, Arrival::Copy(freshness))),
            Found::Flight(flight, joined) => flight.finished().await.map(|landed| landed.arrival(joined)),
            Found::Failed(error) => Err(error),
        }
    }

    /// Returns the view of a copy for a list if it was made before.
    pub fn made_view(&self, copy: &Copy, packages: Option<&Copy>, list: &Whitelist) -> Option<Arc<View>> {
        self.0.store.view(ViewKey::new(copy, packages, list))
    }

    /// Returns the view of a copy for a list, made now if it was not before. See [`copy::Content::view`].
    ///
    /// # Errors
    /// If making it broke off.
    pub async fn view(
        &self,
        copy: &Copy,
        packages: Option<&Copy>,
        list: &Arc<Whitelist>,
    ) -> Result<Arc<View>, FetchError> {
        self.0.views.view(copy, packages, list).await
    }

    /// Returns a view's encoded form if it is there; if not, has it made in the background.
    pub fn encoded(&self, view: &Arc<View>, encoding: Encoding) -> Option<Bytes> {
        self.0.views.encoded(view, encoding)
    }

    /// Returns a view's encoded form, made now if it was not before.
    ///
    /// # Errors
    /// If making it broke off.
    pub async fn encode(&self, view: &Arc<View>, encoding: Encoding) -> Result<Bytes, FetchError> {
        self.0.views.encode(view, encoding).await
    }

    /// Renews copies ahead of their end until `stop` is set.
    pub async fn keep_fresh(self, mut stop: watch::Receiver<bool>) {
        let mut ticks = interval(REFRESH_TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let now = Instant::now();
            let entries = self.0.store.entries(now);
            if let Some(disk) = &self.0.disk {
                let unsaved = disk.take_unsaved();
                for entry in entries.iter().filter(|entry| unsaved.contains(&entry.key)) {
                    disk.save(&entry.key, &entry.copy);
                }
            }
            let overdue = |entry: &store::Entry| {
                let meta = &entry.copy.meta;
                now.saturating_duration_since(meta.arrived).checked_sub(meta.refresh_after)
            };
            let mut due = entries;
            due.retain(|entry| {
                let worth = entry.copy.meta.freshness.lifetime >= REFRESH_MIN_LIFETIME;
                worth && entry.asked <= REFRESH_ASKED_WITHIN && overdue(entry).is_some()
            });
            // There are few places, so those that are late come first.
            due.sort_by_key(|entry| Reverse(overdue(entry)));
            for entry in due {
                if self.0.flights.renewals_are_full() {
                    break;
                }
                self.refresh(&entry.key, &entry.copy, now);
            }
        }
    }

    /// Writes to disk what is queued, tells what is new, ends both, and leaves the cache directory to the next process.
    /// Gives up after a few seconds: then a thread may be left that still waits for the disk.
    ///
    /// Called when the listeners close, not when the last response has ended: what is fetched from then on is served, but
    /// no more written or compared, so that whoever has the directory next finds the change.
    pub async fn close(&self) {
        let inner = Arc::clone(&self.0);
        let closing = spawn_blocking(move || {
            inner.views.close();
            inner.disk.as_deref().map(Disk::close);
            inner.news.as_ref().map(News::close);
            inner.disk.as_deref().map(Disk::give_up);
        });
        match timeout(CLOSE_LIMIT, closing).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => warn!("copies may not all be on disk"),
            Err(_) => {
                warn!(limit_s = CLOSE_LIMIT.as_secs(), "the disk is too slow, so copies may not all be there")
            }
        }
    }

    /// Starts to renew a copy, unless that was just done.
    fn refresh(&self, key: &Key, copy: &Copy, now: Instant) {
        if now.saturating_duration_since(copy.meta.arrived) >= MIN_REFRESH {
            self.renew(key, copy, now);
        }
    }

    /// Starts to renew a copy, unless that is under way or failed a moment ago.
    fn renew(&self, key: &Key, copy: &Copy, now: Instant) {
        if let Some(writer) = self.0.flights.renew(key, || self.0.failures.may_retry(key, now)) {
            self.fly(writer, Some(copy.clone()));
        }
    }

    /// Joins the fetch under way, or starts one unless one failed a moment ago.
    fn join(&self, key: &Key, before: Option<Copy>, now: Instant) -> Found {
        let joined = self.0.flights.join(key, || {
            // A fetch may have ended between the look into the store and here.
            if let Some(copy) = self.0.store.copy(key, now).filter(|copy| self.0.is_servable(copy, now)) {
                let freshness = Freshness::of(&copy, now);
                return Some(Found::Copy(copy, freshness));
            }
            self.0.failures.recent(key, now).map(Found::Failed)
        });
        match joined {
            Join::Collapsed(flight) => Found::Flight(flight, Joined::Collapsed),
            Join::Instead(found) => found,
            Join::Started(flight, writer) => {
                self.fly(writer, before);
                Found::Flight(flight, Joined::Started)
            }
        }
    }
}

impl Inner {
    /// May a copy be served, fresh or stale?
    fn is_servable(&self, copy: &Copy, now: Instant) -> bool {
        copy.stale_here(now) <= self.stale_for
    }
}

/// How a copy came to serve a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It was there.
    Copy(Freshness),
    /// It was fetched.
    Fetched(Joined, Kept),
}

impl Freshness {
    fn of(copy: &Copy, now: Instant) -> Self {
        if copy.fresh_for(now).is_some() { Self::Fresh } else { Self::Stale }
    }
}
