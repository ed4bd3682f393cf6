//! Warm start: what the process before had in use is loaded from disk, and without that the usual feeds are fetched, so
//! that the first clients after a start wait for nobody.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::info;

use super::disk::Disk;
use super::lookup::Lookup;
use super::{Cache, Key};
use crate::feed::FeedKind;
use crate::printable::millis;

/// Queries of the packages feed that every Plesk server or tool asks for. The shop window's has the server's version,
/// language and country, so it is not known before a server has asked.
const USUAL_QUERIES: [Option<&str>; 2] = [Some("platform=unix&with-hidden&with-unstable"), None];
/// Version of the vendor's API that Plesk asks.
const USUAL_VERSION: &str = "4";
/// Most keys on disk that are fetched when none of their copies can be served any more.
const MAX_USUAL_KEYS: usize = 8;
/// Pause between two tries. A try asks the upstream only when the key's own backoff is over.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Longest wait for the cache directory: a process that ends has it for as long as its answers run.
const DIRECTORY_WAIT: Duration = Duration::from_secs(15);
/// Pause between two looks whether the directory is there.
const DIRECTORY_PAUSE: Duration = Duration::from_millis(100);

impl Cache {
    /// Fills the cache until a packages feed can be served, or `stop` is set. The listeners do not wait for it.
    ///
    /// Without copies on disk it fetches nothing until somebody asks whether the cache is warm, as a readiness probe does:
    /// where nobody does, the first client names the feeds that are needed.
    pub async fn warm_up(self, mut stop: watch::Receiver<bool>) {
        let warmed = async {
            let keys = match &self.0.disk {
                Some(disk) => self.load_copies(disk).await,
                None => Vec::new(),
            };
            if keys.is_empty() {
                self.0.warmth_wanted.notified().await;
            }
            if !self.is_warm() {
                self.fetch_usual(keys).await;
            }
        };
        tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => {}
            () = warmed => {}
        }
    }

    /// Returns true if there is a packages feed that may be served, and has one fetched if that was not begun.
    pub fn ask_for_warmth(&self) -> bool {
        let is_warm = self.is_warm();
        if !is_warm {
            self.0.warmth_wanted.notify_one();
        }
        is_warm
    }

    /// Loads the copies that were in use until the process before ended, the one confirmed last first, as far as there is
    /// room. Returns their keys, those of copies that are too old to be served included. Renewing them is the business of
    /// [`Cache::keep_fresh`].
    async fn load_copies(&self, disk: &Disk) -> Vec<Key> {
        let started = Instant::now();
        while !disk.is_claimed() {
            if self.is_warm() || started.elapsed() > DIRECTORY_WAIT {
                return Vec::new();
            }
            sleep(DIRECTORY_PAUSE).await;
        }
        let (mut keys, mut copies, mut bytes) = (Vec::new(), 0_usize, 0_u64);
        for file in disk.recent_files() {
            let (used, size) = self.0.store.usage();
            // What the index takes beside the feed is not known before; what is too much would drive out newer ones.
            if used + file.len + file.len / 4 > size {
                break;
            }
            let Some((key, mut cached)) = disk.load_file(file.name).await else { continue };
            let now = Instant::now();
            cached.meta.freshness = cached.meta.freshness.bounded(self.0.fetcher.limits());
            // A client may have come first.
            if self.0.store.get(&key, now).is_none() && self.0.is_servable(&cached, now) {
                self.0.store.insert(&key, cached, now);
                (copies, bytes) = (copies + 1, bytes + file.len);
            }
            keys.push(key);
        }
        info!(copies, bytes, elapsed_ms = millis(started.elapsed()), "copies loaded from disk");
        keys
    }

    /// Fetches `keys`, or usual ones if there are none, one after the other until a packages feed can be served.
    async fn fetch_usual(&self, keys: Vec<Key>) {
        let usual = || USUAL_QUERIES.map(|query| Key::of(FeedKind::Packages, USUAL_VERSION, query)).into();
        let mut keys: Vec<Key> = if keys.is_empty() { usual() } else { keys };
        keys.truncate(MAX_USUAL_KEYS);
        loop {
            for key in &keys {
                if let Lookup::InFlight(flight) = self.look_up(key) {
                    // It has told of its failure.
                    drop(flight.finished().await);
                }
            }
            if self.is_warm() {
                return;
            }
            sleep(RETRY_PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;
    use crate::cache::tests::{Scripted, disk_with, key, packages, settle};
    use crate::config::CacheConfig;

    #[tokio::test(start_paused = true)]
    async fn without_copies_on_disk_nothing_is_fetched_until_somebody_asks_for_warmth() {
        let upstream = Scripted::default();
        let cache = upstream.cache();
        let (_stop, stopped) = watch::channel(false);
        let warming = tokio::spawn(cache.clone().warm_up(stopped));
        settle().await;
        assert_eq!(upstream.asked(), 0);
        assert!(!cache.ask_for_warmth());
        timeout(Duration::from_mins(1), warming).await.expect("an end").expect("no panic");
        assert!(cache.ask_for_warmth());
    }

    #[tokio::test]
    async fn copies_on_disk_are_loaded_as_far_as_there_is_room() {
        let path = tempfile::tempdir().expect("a directory");
        let disk = disk_with(path.path(), &[(key(0), packages(format!("{:1000}", "[1]")))]).await;
        let len = disk.recent_files()[0].len;
        for (size, expected) in [(len + len / 4, 1), (len + len / 4 - 1, 0)] {
            let config = CacheConfig { size: size.into(), ..CacheConfig::default() };
            let cache = Scripted::default().cache_with(&config, None, None);
            assert_eq!(cache.load_copies(&disk).await.len(), expected);
        }
    }

    #[tokio::test]
    async fn a_copy_on_disk_does_not_take_the_place_of_one_in_memory() {
        let path = tempfile::tempdir().expect("a directory");
        let disk = disk_with(path.path(), &[(key(0), packages("[1]")), (key(1), packages("[1]"))]).await;
        let cache = Scripted::default().cache();
        cache.0.store.insert(&key(0), packages("[2]"), Instant::now());
        assert_eq!(cache.load_copies(&disk).await.len(), 2);
        let bodies =
            [0, 1].map(|n| cache.0.store.get(&key(n), Instant::now()).expect("a copy").feed.body.clone());
        assert_eq!(bodies, ["[2]", "[1]"]);
    }
}
