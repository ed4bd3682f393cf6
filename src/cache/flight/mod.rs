//! A fetch's whole life: it starts, waits for a place, runs, is judged and ends.
//!
//! The fetch is a task of its own, so no client's end breaks it off for the others. What arrives grows in shared
//! segments, and every client goes through them at its own pace; one that stalls or hangs up harms no other.
//!
//! Waiting has an end on both sides. A client waits at most [`PATIENCE`] for its first byte. A flight waits for its
//! place only as long as a client waits for it, and one that runs without readers gives its place up to any other
//! (unless it renews a copy). See [`table`] for the places and [`reader`] for the clients.

mod reader;
pub(super) mod table;
#[cfg(test)]
mod tests;

use std::time::{Duration, UNIX_EPOCH};

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::cached_feed::CachedFeed;
use super::changes::{Comparison, Confirmed};
use super::fetch::Arrived;
use super::fetch_error::FetchError;
use super::lookup::Found;
use super::store::Inserted;
use super::{Cache, Inner, Key, shrink_guard};
use crate::cache_status::CacheOutcome;
use crate::metrics::{Failed, FeedName, Fetch};
use crate::panics;
use crate::printable::millis;
use crate::wall_clock;
pub use reader::{Begun, Flight, FlightEnd};
use table::{FlightWriter, QueueFull};

/// Most flights that run at once and renew nothing: the upstream must not see a burst of ours.
pub(super) const MAX_RUNNING: usize = 16;
/// Most flights that wait for a place: sixteen rounds, of which all but the last ones come in time.
pub(super) const MAX_WAITING: usize = 256;
/// Most flights that renew a copy. They have places of their own, so that neither new keys keep old copies from
/// being renewed nor the other way round.
pub(super) const MAX_RENEWING: usize = 4;
/// Longest time that a client waits for the first byte, the queue included: Plesk itself gives up after some 30 s
/// and asks for two feeds.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// The phase of a fetch that ended well, in metrics.
const DONE: &str = "done";

/// What a flight's work came to.
enum Work {
    /// The copy on disk will do.
    Restored(CachedFeed),
    /// There was no room to wait.
    Refused,
    /// The upstream was asked, and the answer was judged.
    Settled(FlightEnd, Option<Confirmed>),
}

impl Cache {
    /// Spawns the task of a flight. `last` is the copy that it is to renew, if there is one.
    pub(super) fn fly(&self, writer: FlightWriter, last: Option<CachedFeed>) {
        let panics = self.0.metrics.panics("flight");
        tokio::spawn(panics::catch_task("flight", panics, self.clone().flight(writer, last)));
    }

    async fn flight(self, mut writer: FlightWriter, last: Option<CachedFeed>) {
        let unwanted = writer.ended();
        let work = tokio::select! {
            biased;
            // Nothing is remembered of it.
            () = unwanted => return,
            work = self.work(&writer, last) => work,
        };
        match work {
            Work::Restored(cached) => {
                let (key, now) = (writer.key().clone(), Instant::now());
                let fresh = cached.is_fresh(now);
                // It was there all the time.
                let outcome = if fresh { CacheOutcome::Hit } else { CacheOutcome::Stale };
                writer.finish(Ok(Found { cached: cached.clone(), outcome }));
                if !fresh {
                    self.renew(&key, &cached, now);
                }
            }
            Work::Refused => writer.finish(Err(FetchError::Busy)),
            Work::Settled(ended, confirmed) => {
                let cached = ended.as_ref().ok().map(|found| found.cached.clone());
                writer.finish(ended);
                if let (Some(confirmed), Some(cached)) = (confirmed, cached) {
                    self.0.tell(confirmed, &cached).await;
                }
            }
        }
    }

    async fn work(&self, writer: &FlightWriter, mut last: Option<CachedFeed>) -> Work {
        let (inner, key) = (&self.0, writer.key());
        if last.is_none()
            && let Some(cached) = inner.read(key).await
        {
            let now = Instant::now();
            if inner.is_servable(&cached, now) {
                info!(%key, elements = cached.feed.elements(), age_ms = millis(cached.age(now)), "restored from disk");
                return Work::Restored(inner.store.insert(key, cached, now).cached);
            }
            // Too old to be served, but the upstream may confirm it, and it shows what is new.
            last = Some(cached);
        }
        if let Err(QueueFull) = writer.place().await {
            return Work::Refused;
        }
        let publish = |arrived: Arrived<'_>| match arrived {
            Arrived::Head(meta) => writer.begin(meta.clone()),
            Arrived::Segment(segment) => writer.publish(segment.clone()),
        };
        let started = Instant::now();
        let fetched = inner.fetcher.fetch(key, last.as_ref(), publish).await;
        let comparison = match &fetched {
            Ok(cached) => inner.compare(key, last.as_ref(), cached).await,
            Err(_) => None,
        };
        // INVARIANT: no await from here to the end of the flight, so what was judged is also told.
        let (ended, confirmed) = inner.settle(key, last.as_ref(), fetched, comparison, started);
        Work::Settled(ended, confirmed)
    }
}

impl Inner {
    /// Reads a copy from disk, if there is one and the disk answers.
    async fn read(&self, key: &Key) -> Option<CachedFeed> {
        let disk = self.disk.as_ref().filter(|disk| disk.contains(key))?;
        let mut cached = disk.load(key).await?;
        // The bounds may be others than when it was stored.
        cached.meta.freshness = cached.meta.freshness.bounded(self.fetcher.limits());
        Some(cached)
    }

    /// Counts a fetch that ended.
    fn count(&self, key: &Key, ended: Failed, elapsed: Duration) {
        let (feed, Failed { outcome, phase }) = (key.kind().name(), ended);
        self.metrics.fetches.get_or_create(&Fetch { feed, outcome, phase }).inc();
        self.metrics.fetch_durations.get_or_create(&FeedName { feed }).observe(elapsed.as_secs_f64());
        if phase == DONE {
            let now = wall_clock::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.metrics.last_fetches.get_or_create(&key.feed()).set(now.as_secs() as i64);
        }
    }

    /// Judges what was fetched: stores a good feed, remembers a failure.
    fn settle(
        &self,
        key: &Key,
        last: Option<&CachedFeed>,
        fetched: Result<CachedFeed, FetchError>,
        comparison: Option<Comparison>,
        started: Instant,
    ) -> (FlightEnd, Option<Confirmed>) {
        let now = Instant::now();
        let elapsed = now - started;
        let judged = fetched.and_then(|cached| match last.filter(|last| self.is_servable(last, now)) {
            Some(last) => {
                let last_error = self.failures.last(key);
                shrink_guard::judge(last.feed.elements(), cached.feed.elements(), last_error.as_ref())
                    .map(|()| cached)
            }
            None => Ok(cached),
        });
        match judged {
            Ok(cached) => {
                let changed = last.is_none_or(|last| last.feed.digest != cached.feed.digest);
                let (found, confirmed) = self.keep(key, cached, comparison, changed, elapsed);
                (Ok(found), confirmed)
            }
            Err(error) => {
                self.count(key, error.failed(), elapsed);
                let lifetime = last.map_or(Duration::ZERO, |last| last.meta.freshness.lifetime);
                let retry_in = self.failures.remember(key, &error, lifetime, now);
                let (elapsed_ms, retry_in_ms) = (millis(elapsed), millis(retry_in));
                warn!(%key, %error, cause = error.chain(), elapsed_ms, retry_in_ms, "fetch failed");
                (Err(error), None)
            }
        }
    }

    /// Stores a good feed, has it written to disk, and returns what it takes to tell what is new.
    fn keep(
        &self,
        key: &Key,
        mut cached: CachedFeed,
        comparison: Option<Comparison>,
        changed: bool,
        elapsed: Duration,
    ) -> (Found, Option<Confirmed>) {
        let now = Instant::now();
        let (inserted, confirmed) = {
            let _order = self.order.lock();
            let confirmed = comparison.and_then(|comparison| self.confirm(key, comparison, &mut cached, now));
            (self.store.insert(key, cached, now), confirmed)
        };
        let Inserted { cached, stored } = inserted;
        self.failures.forget(key);
        // What has news is saved when they are told.
        if let Some(disk) = self.disk.as_ref().filter(|_| confirmed.is_none()) {
            disk.save(key, &cached);
        }
        let (elements, bytes) = (cached.feed.elements(), cached.feed.body.len());
        let outcome = if changed { "changed" } else { "unchanged" };
        self.count(key, Failed { outcome, phase: DONE }, elapsed);
        let elapsed_ms = millis(elapsed);
        // Most fetches bring what is there already; the metrics count them.
        match changed {
            true => info!(%key, elements, bytes, changed, elapsed_ms, "fetched"),
            false => debug!(%key, elements, bytes, changed, elapsed_ms, "fetched"),
        }
        if !stored {
            warn!(%key, bytes, "the feed is larger than the cache, so it is fetched for each request");
        }
        let outcome = if stored { CacheOutcome::Stored } else { CacheOutcome::Miss };
        (Found { cached, outcome }, confirmed)
    }
}
