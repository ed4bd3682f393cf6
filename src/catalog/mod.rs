//! What to serve for a key now: a copy, fresh or stale, or the fetch that is under way.
//!
//! The raw feed is cached, never the filtered one; views are made per whitelist generation.

mod backoff;
pub mod copy;
mod decode;
pub mod fetch;
pub mod flight;
pub mod freshness;
pub mod store;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::uri::PathAndQuery;
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::config;
use crate::feed::Kind;
use crate::upstream::Upstream;
use crate::whitelist::Whitelist;
use backoff::Failures;
use copy::{Copy, View};
use fetch::{FetchError, Fetcher};
use flight::{Flight, Outcome};
use freshness::Policy;
use store::{Store, ViewKey};

/// Shortest time between two fetches of one key, whatever the upstream says: an upstream that forbids
/// caching must not be asked without pause.
const MIN_REFRESH: Duration = Duration::from_millis(200);

/// Which feed: its kind, path and query. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    kind: Kind,
    target: Arc<str>,
}

/// The cache; cloning shares it.
#[derive(Debug, Clone)]
pub struct Catalog(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    fetcher: Fetcher,
    store: Store,
    failures: Failures,
    stale_for: Duration,
    flights: Mutex<HashMap<Key, Flight>>,
    /// Views being made.
    making: Mutex<HashMap<ViewKey, Arc<OnceCell<Arc<View>>>>>,
}

/// What there is for a key.
#[derive(Debug)]
pub enum Found {
    /// A copy that may be served.
    Copy(Copy, Freshness),
    /// Nothing yet: a fetch to wait for.
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

impl Key {
    /// Makes a key of a canonical feed path and the query as the client wrote it.
    pub fn new(kind: Kind, target: &PathAndQuery) -> Self {
        // A copy of its own: the target shares memory with the whole head of the request.
        Self { kind, target: target.as_str().into() }
    }

    /// Returns which feed it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Returns path and query.
    pub fn as_str(&self) -> &str {
        &self.target
    }

    fn target(&self) -> PathAndQuery {
        // It was one before.
        self.target.parse().unwrap_or_else(|_| PathAndQuery::from_static("/"))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.target)
    }
}

impl Catalog {
    /// Makes an empty cache.
    pub fn new(upstream: Upstream, config: &config::Cache) -> Self {
        let policy = Policy { default: config.fresh_for, max: config.max_fresh_for };
        Self(Arc::new(Inner {
            fetcher: Fetcher::new(upstream, policy, config.max_feed_size),
            store: Store::new(config.size),
            failures: Failures::default(),
            stale_for: config.stale_for,
            flights: Mutex::default(),
            making: Mutex::default(),
        }))
    }

    /// Looks a key up; starts a fetch if there is none and one is due.
    ///
    /// Must be called within a runtime.
    pub fn look_up(&self, key: &Key) -> Found {
        let now = Instant::now();
        match self.0.store.copy(key) {
            Some(copy) if copy.fresh_for(now).is_some() => Found::Copy(copy, Freshness::Fresh),
            Some(copy) if copy.stale_since(now) <= self.0.stale_for => {
                self.refresh(key, &copy, now);
                Found::Copy(copy, Freshness::Stale)
            }
            before => self.join(key, before, now),
        }
    }

    /// Looks a key up and waits for a whole copy.
    ///
    /// # Errors
    /// If there is none and the fetch fails.
    pub async fn copy(&self, key: &Key) -> Result<(Copy, Option<Freshness>), FetchError> {
        match self.look_up(key) {
            Found::Copy(copy, freshness) => Ok((copy, Some(freshness))),
            Found::Flight(flight, _) => flight.finished().await.map(|copy| (copy, None)),
            Found::Failed(error) => Err(error),
        }
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
        let key = ViewKey {
            content: copy.content.digest,
            packages: packages.map(|packages| packages.content.digest),
            generation: list.generation,
        };
        if let Some(view) = self.0.store.view(key) {
            return Ok(view);
        }
        let cell = Arc::clone(lock(&self.0.making).entry(key).or_default());
        let view = cell
            .get_or_try_init(|| async {
                let content = Arc::clone(&copy.content);
                let packages = packages.map(|packages| Arc::clone(&packages.content));
                let list = Arc::clone(list);
                // Copying and hashing megabytes would hold up the other connections of this thread.
                let view = move || Arc::new(content.view(packages.as_deref(), &list));
                let view = tokio::task::spawn_blocking(view).await.map_err(|_| FetchError::Interrupted)?;
                self.0.store.insert_view(key, Arc::clone(&view));
                Ok(view)
            })
            .await
            .cloned();
        lock(&self.0.making).remove(&key);
        view
    }

    /// Starts to renew a stale copy, unless that is under way or failed a moment ago.
    fn refresh(&self, key: &Key, copy: &Copy, now: Instant) {
        let mut flights = lock(&self.0.flights);
        let too_soon = now.saturating_duration_since(copy.meta.arrived) < MIN_REFRESH;
        if !too_soon && !flights.contains_key(key) && self.0.failures.may_retry(key, now) {
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
        if let Some(copy) = self.0.store.copy(key).filter(|copy| copy.fresh_for(now).is_some()) {
            return Found::Copy(copy, Freshness::Fresh);
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
        let landing = Landing { inner: Arc::clone(&self.0), key: key.clone() };
        tokio::spawn(async move {
            let publish = |segment: &_| writer.publish(Clone::clone(segment));
            let started = Instant::now();
            let outcome = landing.inner.fetcher.fetch(&landing.key, before.as_ref(), publish).await;
            let outcome = landing.inner.settle(&landing.key, outcome, started.elapsed());
            drop(landing);
            writer.finish(outcome);
        });
        flight
    }
}

/// Takes a flight off the list when it ends, in whatever way.
struct Landing {
    inner: Arc<Inner>,
    key: Key,
}

impl Drop for Landing {
    fn drop(&mut self) {
        lock(&self.inner.flights).remove(&self.key);
    }
}

impl Inner {
    /// Keeps a good outcome, remembers a bad one.
    fn settle(&self, key: &Key, outcome: Outcome, elapsed: Duration) -> Outcome {
        match outcome {
            Ok(copy) => {
                let copy = self.store.insert(key.clone(), copy);
                self.failures.forget(key);
                info!(%key, elements = copy.content.len(), bytes = copy.content.body.len(), ?elapsed, "fetched");
                Ok(copy)
            }
            Err(error) => {
                let retry_in = self.failures.remember(key, &error, Instant::now());
                warn!(%key, %error, cause = error.chain(), ?elapsed, ?retry_in, "fetch failed");
                Err(error)
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Both maps hold whole entries only, so they are sound even after a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
