//! Watches whether the catalog knows the whitelist, for the log.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::warn;

use super::Cache;
use super::cached_feed::Feed;
use super::refresh::REFRESH_ASKED_WITHIN;
use super::store::StoredFeed;
use crate::blocking;
use crate::digest::Digest;
use crate::feed::FeedKind;
use crate::policy::Rules;
use crate::shops::{ShopName, WatchedShops};
use crate::whitelist::coverage::{CoverageJudge, UnknownCodes, WarningReason};

/// How often the whitelist is looked at: who has just edited it should find the warning in the log.
const LIST_INTERVAL: Duration = Duration::from_secs(1);
/// How often the feeds are looked at. They change a few times a day.
const FEEDS_INTERVAL: Duration = Duration::from_secs(10);

/// Returns the packages feeds that clients asked for within a day, each content once. Others are not renewed, so what
/// they say may be old.
pub(super) fn packages_in_use(entries: &[StoredFeed]) -> Vec<Arc<Feed>> {
    let mut seen = HashSet::new();
    let used = entries
        .iter()
        .filter(|entry| entry.key.kind() == FeedKind::Packages && entry.asked <= REFRESH_ASKED_WITHIN);
    let contents = used.map(|entry| &entry.cached.feed).filter(|content| seen.insert(content.digest));
    contents.map(Arc::clone).collect()
}

/// Returns all codes of some feeds: what only one platform has is in the catalog as well.
pub(super) fn codes(packages: &[Arc<Feed>]) -> BTreeSet<&str> {
    packages.iter().flat_map(|content| content.codes()).collect()
}

impl Cache {
    /// Warns about each shop's list that the catalog hardly knows, until `stop` is set. Nothing is said while no packages
    /// feed is in the cache.
    pub async fn watch_coverage(self, shops: Arc<WatchedShops>, mut stop: watch::Receiver<bool>) {
        let mut ticks = interval(LIST_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut judges = BTreeMap::<ShopName, CoverageJudge>::new();
        let mut judged_by: HashSet<Digest> = HashSet::new();
        let mut next_look = Instant::now();
        loop {
            tokio::select! {
                biased;
                _ = ticks.tick() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            // Looking makes a date that has come take effect, and logs it, also while nobody asks.
            let lists = shops.current().rules();
            let now = Instant::now();
            let is_judged = lists.len() == judges.len()
                && lists.iter().all(|(name, list)| {
                    judges.get(name).is_some_and(|judge| judge.judged() == Some(list.digest))
                });
            if is_judged && now < next_look {
                continue;
            }
            next_look = now + FEEDS_INTERVAL;
            let packages = packages_in_use(&self.0.store.feeds(now));
            let digests: HashSet<Digest> = packages.iter().map(|content| content.digest).collect();
            if packages.is_empty() || (is_judged && digests == judged_by) {
                continue;
            }
            judged_by = digests;
            // Large feeds take a while.
            let judged = blocking::run(move || {
                let known = codes(&packages);
                judges.retain(|name, _| lists.iter().any(|(other, _)| other == name));
                for (name, list) in &lists {
                    let judge = judges.entry(name.clone()).or_default();
                    if let Some(unknown) = judge.judge(list, &known) {
                        log(name, list, packages.len(), &unknown);
                    }
                }
                judges
            });
            // A panic is in the log; the next look begins anew.
            judges = judged.await.unwrap_or_default();
        }
    }
}

fn log(shop: &ShopName, list: &Rules, feeds: usize, unknown: &UnknownCodes<'_>) {
    let message = match unknown.reason {
        WarningReason::HardlyKnown => "the catalog knows less than half of the whitelist's codes",
        WarningReason::Added => "the catalog does not know codes that were added to the whitelist",
    };
    let extensions = list.codes().count();
    warn!(%shop, extensions, feeds, unknown = unknown.len(), codes = %unknown, "{message}");
}
