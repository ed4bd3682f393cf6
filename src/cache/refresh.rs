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
