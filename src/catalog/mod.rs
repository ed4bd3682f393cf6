//! What to serve for a key now: a copy, fresh or stale, or the fetch that is under way.
//!
//! The raw feed is cached, never the filtered one; views are made per whitelist generation.

mod backoff;
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
mod views;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::config;
use crate::metrics::{Failed, FeedName, Fetch, Metrics};
use crate::news::News;
use crate::printable::millis;
use crate::upstream::Upstream;
use crate::whitelist::Whitelist;
use backoff::Failures;
use changes::Comparison;
use copy::{Copy, View};
use disk::Disk;
use encode::Encoding;
use fetch::{FetchError, Fetcher};
use flight::{Flight, Landed, Outcome, Source, Writer};
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
/// Most fetches under way at which another one is started ahead: clients without a copy come first.
const REFRESH_FLIGHTS: usize = 8;
/// Shortest lifetime that is renewed ahead; less is as good as none.
const REFRESH_MIN_LIFETIME: Duration = Duration::from_secs(1);

/// The phase of a fetch that ended well, in metrics.
const DONE: &str = "done";

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
    flights: Mutex<HashMap<Key, Flight>>,
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
        let policy = Policy { default: *config.fresh_for, max: config.max_fresh_for };
        let store = Store::new(*config.size, metrics.evictions.clone());
        Self(Arc::new(Inner {
            fetcher: Fetcher::new(upstream, policy, *config.max_feed_size),
            views: Views::new(store.clone()),
            store,
            disk,
            news,
            order: Mutex::default(),
            failures: Failures::default(),
            metrics,
            stale_for: *config.stale_for,
            flights: Mutex::default(),
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
            let unsaved = self.0.disk.as_ref().map(|disk| disk.take_unsaved()).unwrap_or_default();
            for entry in self.0.store.entries(now) {
                if unsaved.contains(&entry.key)
                    && let Some(disk) = &self.0.disk
                {
                    disk.save(&entry.key, &entry.copy);
                }
                let meta = &entry.copy.meta;
                let due = now.saturating_duration_since(meta.arrived) >= meta.refresh_after;
                let wanted =
                    entry.asked <= REFRESH_ASKED_WITHIN && meta.freshness.lifetime >= REFRESH_MIN_LIFETIME;
                if due && wanted && lock(&self.0.flights).len() < REFRESH_FLIGHTS {
                    self.refresh(&entry.key, &entry.copy, now);
                }
            }
        }
    }

    /// Writes to disk what is queued, tells what is new, ends both, and leaves the cache directory to the next process.
    ///
    /// Called when the listeners close, not when the last answer has ended: what is fetched from then on is served, but
    /// no more written or compared, so that whoever has the directory next finds the change.
    pub async fn close(&self) {
        let inner = Arc::clone(&self.0);
        let closing = spawn_blocking(move || {
            inner.disk.as_ref().map(|disk| disk.close());
            inner.news.as_ref().map(News::close);
            inner.disk.as_ref().map(|disk| disk.give_up());
        });
        if closing.await.is_err() {
            warn!("copies may not all be on disk");
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
        let mut flights = lock(&self.0.flights);
        if !flights.contains_key(key) && self.0.failures.may_retry(key, now) {
            self.start(&mut flights, key, Some(copy.clone()));
        }
    }

    /// Joins the fetch under way, or starts one unless one failed a moment ago.
    fn join(&self, key: &Key, before: Option<Copy>, now: Instant) -> Found {
        let mut flights = lock(&self.0.flights);
        if let Some(flight) = flights.get(key) {
            return Found::Flight(flight.clone(), Joined::Collapsed);
        }
        // A fetch may have ended between the look into the store and here.
        if let Some(copy) = self.0.store.copy(key, now).filter(|copy| self.0.is_servable(copy, now)) {
            let freshness = Freshness::of(&copy, now);
            return Found::Copy(copy, freshness);
        }
        if let Some(error) = self.0.failures.recent(key, now) {
            return Found::Failed(error);
        }
        Found::Flight(self.start(&mut flights, key, before), Joined::Started)
    }

    fn start(
        &self,
        flights: &mut MutexGuard<'_, HashMap<Key, Flight>>,
        key: &Key,
        before: Option<Copy>,
    ) -> Flight {
        let (writer, flight) = flight::start();
        flights.insert(key.clone(), flight.clone());
        let landing = Landing { catalog: self.clone(), key: key.clone() };
        tokio::spawn(landing.fly(writer, before));
        flight
    }
}

/// A flight on its way; takes itself off the list when it ends, in whatever way.
struct Landing {
    catalog: Catalog,
    key: Key,
}

impl Landing {
    async fn fly(self, writer: Writer, mut before: Option<Copy>) {
        let (catalog, key) = (self.catalog.clone(), self.key.clone());
        let inner = &catalog.0;
        if before.is_none()
            && let Some(copy) = inner.read(&key).await
        {
            let now = Instant::now();
            if inner.is_servable(&copy, now) {
                info!(%key, elements = copy.content.len(), age_ms = millis(copy.age(now)), "restored from disk");
                let copy = inner.store.insert(&key, copy, now);
                drop(self);
                writer.finish(Ok(Landed { copy: copy.clone(), source: Source::Disk }));
                if Freshness::of(&copy, now) == Freshness::Stale {
                    catalog.renew(&key, &copy, now);
                }
                return;
            }
            // Too old to be served, but the upstream may confirm it, and it shows what is new.
            before = Some(copy);
        }
        let publish = |segment: &_| writer.publish(Clone::clone(segment));
        let started = Instant::now();
        let fetched = inner.fetcher.fetch(&key, before.as_ref(), publish).await;
        let (outcome, comparison) = inner.settle(&key, before.as_ref(), fetched, started);
        drop(self);
        writer.finish(outcome);
        if let Some(comparison) = comparison {
            inner.tell(comparison).await;
        }
    }
}

impl Drop for Landing {
    fn drop(&mut self) {
        lock(&self.catalog.0.flights).remove(&self.key);
    }
}

impl Inner {
    /// May a copy be served, fresh or stale?
    fn is_servable(&self, copy: &Copy, now: Instant) -> bool {
        copy.stale_here(now) <= self.stale_for
    }

    /// Reads a copy from disk, if there is one.
    async fn read(&self, key: &Key) -> Option<Copy> {
        let disk = self.disk.as_ref().filter(|disk| disk.contains(key))?;
        let mut copy = disk.load(key).await?;
        // The bound may be another one than when it was stored.
        copy.meta.freshness = copy.meta.freshness.bounded(self.fetcher.policy());
        Some(copy)
    }

    /// Counts a fetch that ended.
    fn count(&self, key: &Key, ended: Failed, elapsed: Duration) {
        let (feed, Failed { outcome, phase }) = (key.kind().name(), ended);
        self.metrics.fetches.get_or_create(&Fetch { feed, outcome, phase }).inc();
        self.metrics.fetch_durations.get_or_create(&FeedName { feed }).observe(elapsed.as_secs_f64());
        if phase == DONE {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.metrics.last_fetches.get_or_create(&key.feed()).set(now.as_secs() as i64);
        }
    }

    /// Keeps a good outcome, remembers a bad one.
    fn settle(
        &self,
        key: &Key,
        before: Option<&Copy>,
        fetched: Result<Copy, FetchError>,
        started: Instant,
    ) -> (Outcome, Option<Comparison>) {
        let now = Instant::now();
        let elapsed = now - started;
        let judged = fetched.and_then(|copy| match before {
            Some(before) if self.is_servable(before, now) => {
                self.failures.judge(key, before.content.len(), copy.content.len()).map(|()| copy)
            }
            _ => Ok(copy),
        });
        match judged {
            Ok(copy) => {
                let changed = before.is_none_or(|before| before.content.digest != copy.content.digest);
                let (copy, comparison) = {
                    let _order = lock(&self.order);
                    let comparison =
                        before.filter(|_| changed).and_then(|before| self.compare(key, before, &copy, now));
                    (self.store.insert(key, copy, now), comparison)
                };
                self.failures.forget(key);
                if let Some(disk) = &self.disk {
                    disk.save(key, &copy);
                }
                let (elements, bytes) = (copy.content.len(), copy.content.body.len());
                let outcome = if changed { "changed" } else { "unchanged" };
                self.count(key, Failed { outcome, phase: DONE }, elapsed);
                info!(%key, elements, bytes, changed, elapsed_ms = millis(elapsed), "fetched");
                (Ok(Landed { copy, source: Source::Upstream }), comparison)
            }
            Err(error) => {
                self.count(key, error.failed(), elapsed);
                let lifetime = before.map_or(Duration::ZERO, |before| before.meta.freshness.lifetime);
                let retry_in = self.failures.remember(key, &error, lifetime, now);
                let (elapsed_ms, retry_in_ms) = (millis(elapsed), millis(retry_in));
                warn!(%key, %error, cause = error.chain(), elapsed_ms, retry_in_ms, "fetch failed");
                (Err(error), None)
            }
        }
    }
}

/// How a copy came to serve a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It was there.
    Copy(Freshness),
    /// It was fetched.
    Fetched(Joined),
}

impl Landed {
    /// Tells how a flight served one who joined it: a copy from disk was there all the time.
    pub fn arrival(self, joined: Joined) -> (Copy, Arrival) {
        let arrival = match self.source {
            Source::Upstream => Arrival::Fetched(joined),
            Source::Disk => Arrival::Copy(Freshness::of(&self.copy, Instant::now())),
        };
        (self.copy, arrival)
    }
}

impl Freshness {
    fn of(copy: &Copy, now: Instant) -> Self {
        if copy.fresh_for(now).is_some() { Self::Fresh } else { Self::Stale }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // All that is locked here holds whole entries only, so it is sound even after a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
