//! Renewal of copies ahead of their end, for as long as clients ask for them.

use std::cmp::Reverse;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::Cache;
use super::store::StoredFeed;

/// Keys that a client asked for within so long are renewed ahead of their end: a night's burst finds what
/// the last one brought.
pub(super) const REFRESH_ASKED_WITHIN: Duration = Duration::from_hours(24);
/// Pause between two looks for keys that are due.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);
/// Shortest lifetime that is renewed ahead; less is as good as none.
const REFRESH_MIN_LIFETIME: Duration = Duration::from_secs(1);

impl Cache {
    /// Renews copies ahead of their end until `stop` is set, and saves those that the disk could not take before.
    pub async fn keep_fresh(self, mut stop: watch::Receiver<bool>) {
        let mut ticks = interval(REFRESH_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = ticks.tick() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            let now = Instant::now();
            let feeds = self.0.store.feeds(now);
            self.save_unsaved(&feeds);
            self.renew_due(feeds, now);
        }
    }

    fn save_unsaved(&self, feeds: &[StoredFeed]) {
        if let Some(disk) = &self.0.disk {
            let unsaved = disk.take_unsaved();
            for feed in feeds.iter().filter(|feed| unsaved.contains(&feed.key)) {
                disk.save(&feed.key, &feed.cached);
            }
        }
    }

    fn renew_due(&self, mut feeds: Vec<StoredFeed>, now: Instant) {
        let overdue = |feed: &StoredFeed| {
            let meta = &feed.cached.meta;
            now.saturating_duration_since(meta.arrived).checked_sub(meta.refresh_after)
        };
        feeds.retain(|feed| {
            let worth = feed.cached.meta.freshness.lifetime >= REFRESH_MIN_LIFETIME;
            worth && feed.asked <= REFRESH_ASKED_WITHIN && overdue(feed).is_some()
        });
        // There are few places, so those that are late come first.
        feeds.sort_by_key(|feed| Reverse(overdue(feed)));
        for feed in feeds {
            if self.0.flights.renewals_are_full() {
                break;
            }
            self.refresh(&feed.key, &feed.cached, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::{advance, sleep, timeout};

    use super::*;
    use crate::cache::tests::{Scripted, key, packages, settle};

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_copy_in_use_is_renewed_late_in_its_life_and_without_a_client() {
        let upstream = Scripted::default();
        let cache = upstream.cache();
        let (stop, stopped) = watch::channel(false);
        let keeper = tokio::spawn(cache.clone().keep_fresh(stopped));
        cache.look_up(&key(0)).found().await.expect("a copy");
        // It is fresh for ten minutes.
        sleep(Duration::from_mins(7)).await;
        assert_eq!(upstream.asked(), 1);
        sleep(Duration::from_mins(3)).await;
        assert_eq!(upstream.asked(), 2);
        stop.send(true).expect("a keeper");
        timeout(SECOND, keeper).await.expect("an end").expect("no panic");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_asks_for_or_is_stale_at_once_is_left_to_the_next_client() {
        let upstream = Scripted::default();
        let cache = upstream.cache();
        let keep = |n: usize, lifetime: Duration| {
            let mut copy = packages(format!("[{n}]"));
            copy.meta.freshness.lifetime = lifetime;
            cache.0.store.insert(&key(n), copy, Instant::now());
        };
        keep(0, REFRESH_MIN_LIFETIME);
        advance(SECOND).await;
        keep(1, REFRESH_MIN_LIFETIME);
        keep(2, REFRESH_MIN_LIFETIME / 2);
        advance(REFRESH_ASKED_WITHIN).await;
        let now = Instant::now();
        cache.renew_due(cache.0.store.feeds(now), now);
        settle().await;
        let is_renewed = |n: usize| cache.0.store.get(&key(n), now).expect("a copy").is_fresh(now);
        assert_eq!([0, 1, 2].map(is_renewed), [false, true, false]);
    }
}
