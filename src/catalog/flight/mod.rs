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

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;
use tracing::{info, warn};

use super::changes::{Comparison, Confirmed};
use super::copy::Copy;
use super::fetch::FetchError;
use super::{Arrival, Catalog, Freshness, Inner, Joined, Key};
use crate::metrics::{Failed, FeedName, Fetch};
use crate::printable::millis;
pub use reader::{Begun, Flight, Kept, Landed, Outcome, Source};
use table::{QueueFull, Writer};

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
enum Flown {
    /// The copy on disk will do.
    Restored(Copy),
    /// There was no room to wait.
    Refused,
    /// The upstream was asked, and the answer was judged.
    Settled(Outcome, Option<Confirmed>),
}

impl Catalog {
    /// Spawns the task of a flight.
    pub(super) fn fly(&self, writer: Writer, before: Option<Copy>) {
        tokio::spawn(self.clone().flight(writer, before));
    }

    async fn flight(self, mut writer: Writer, before: Option<Copy>) {
        let ended = writer.ended();
        let flown = tokio::select! {
            biased;
            // Nobody wants it any more. Nothing is remembered of it.
            () = ended => return,
            flown = self.work(&writer, before) => flown,
        };
        match flown {
            Flown::Restored(copy) => {
                let key = writer.key().clone();
                writer.finish(Ok(Landed { copy: copy.clone(), source: Source::Disk }));
                if Freshness::of(&copy, Instant::now()) == Freshness::Stale {
                    self.renew(&key, &copy, Instant::now());
                }
            }
            Flown::Refused => writer.finish(Err(FetchError::Busy)),
            Flown::Settled(outcome, confirmed) => {
                let copy = outcome.as_ref().ok().map(|landed| landed.copy.clone());
                writer.finish(outcome);
                if let (Some(confirmed), Some(copy)) = (confirmed, copy) {
                    self.0.tell(confirmed, &copy).await;
                }
            }
        }
    }

    async fn work(&self, writer: &Writer, mut before: Option<Copy>) -> Flown {
        let (inner, key) = (&self.0, writer.key());
        if before.is_none()
            && let Some(copy) = inner.read(key).await
        {
            let now = Instant::now();
            if inner.is_servable(&copy, now) {
                info!(%key, elements = copy.content.len(), age_ms = millis(copy.age(now)), "restored from disk");
                return Flown::Restored(inner.store.insert(key, copy, now).copy);
            }
            // Too old to be served, but the upstream may confirm it, and it shows what is new.
            before = Some(copy);
        }
        if let Err(QueueFull) = writer.place().await {
            return Flown::Refused;
        }
        let publish = |segment: &_| writer.publish(Clone::clone(segment));
        let started = Instant::now();
        let fetched = inner.fetcher.fetch(key, before.as_ref(), publish).await;
        let comparison = match &fetched {
            Ok(after) => inner.compare(key, before.as_ref(), after).await,
            Err(_) => None,
        };
        // INVARIANT: no await from here to the end of the flight, so what was judged is also told.
        let (outcome, confirmed) = inner.settle(key, before.as_ref(), fetched, comparison, started);
        Flown::Settled(outcome, confirmed)
    }
}

impl Inner {
    /// Reads a copy from disk, if there is one and the disk answers.
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
        comparison: Option<Comparison>,
        started: Instant,
    ) -> (Outcome, Option<Confirmed>) {
        let now = Instant::now();
        let elapsed = now - started;
        let judged = fetched.and_then(|copy| match before {
            Some(before) if self.is_servable(before, now) => {
                self.failures.judge(key, before.content.len(), copy.content.len()).map(|()| copy)
            }
            _ => Ok(copy),
        });
        match judged {
            Ok(mut copy) => {
                let changed = before.is_none_or(|before| before.content.digest != copy.content.digest);
                let (inserted, confirmed) = {
                    let _order = self.order.lock();
                    let confirmed =
                        comparison.and_then(|comparison| self.confirm(key, comparison, &mut copy, now));
                    (self.store.insert(key, copy, now), confirmed)
                };
                let (copy, kept) = (inserted.copy, inserted.kept);
                self.failures.forget(key);
                // What has news is saved when they are told.
                if let Some(disk) = self.disk.as_ref().filter(|_| confirmed.is_none()) {
                    disk.save(key, &copy);
                }
                let (elements, bytes) = (copy.content.len(), copy.content.body.len());
                let outcome = if changed { "changed" } else { "unchanged" };
                self.count(key, Failed { outcome, phase: DONE }, elapsed);
                info!(%key, elements, bytes, changed, elapsed_ms = millis(elapsed), "fetched");
                if kept == Kept::NotStored {
                    warn!(%key, bytes, "the feed is larger than the cache, so it is fetched for each request");
                }
                (Ok(Landed { copy, source: Source::Upstream(kept) }), confirmed)
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

impl Landed {
    /// Tells how a flight served one who joined it: a copy from disk was there all the time.
    pub fn arrival(self, joined: Joined) -> (Copy, Arrival) {
        let arrival = match self.source {
            Source::Upstream(kept) => Arrival::Fetched(joined, kept),
            Source::Disk => Arrival::Copy(Freshness::of(&self.copy, Instant::now())),
        };
        (self.copy, arrival)
    }
}
