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
        let mut coverage = CoverageWatch::default();
        loop {
            tokio::select! {
                biased;
                _ = ticks.tick() => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
            // Looking makes a date that has come take effect, and logs it, also while nobody asks.
            let lists = shops.current().rules();
            let now = Instant::now();
            let Some(packages) = coverage.due(&lists, now, || self.0.store.feeds(now)) else { continue };
            // Large feeds take a while.
            let judged = blocking::run(move || {
                coverage.judge(&lists, &packages);
                coverage
            });
            // A panic is in the log; the next look begins anew.
            coverage = judged.await.unwrap_or_default();
        }
    }
}

/// What was judged last, and when the feeds are looked at next.
#[derive(Debug, Default)]
struct CoverageWatch {
    judges: BTreeMap<ShopName, CoverageJudge>,
    /// Feeds that the lists were judged by.
    judged_by: HashSet<Digest>,
    next_look: Option<Instant>,
}

impl CoverageWatch {
    /// Returns the packages feeds to judge the lists by, unless neither these nor the lists are others than before.
    fn due(
        &mut self,
        lists: &[(ShopName, Arc<Rules>)],
        now: Instant,
        feeds: impl FnOnce() -> Vec<StoredFeed>,
    ) -> Option<Vec<Arc<Feed>>> {
        let is_judged = lists.len() == self.judges.len()
            && lists.iter().all(|(name, list)| {
                self.judges.get(name).is_some_and(|judge| judge.judged() == Some(list.digest))
            });
        if is_judged && self.next_look.is_some_and(|next| now < next) {
            return None;
        }
        self.next_look = Some(now + FEEDS_INTERVAL);
        let packages = packages_in_use(&feeds());
        let digests: HashSet<Digest> = packages.iter().map(|content| content.digest).collect();
        if packages.is_empty() || (is_judged && digests == self.judged_by) {
            return None;
        }
        self.judged_by = digests;
        Some(packages)
    }

    /// Judges the lists, and logs what is to be warned about.
    fn judge(&mut self, lists: &[(ShopName, Arc<Rules>)], packages: &[Arc<Feed>]) {
        let known = codes(packages);
        self.judges.retain(|name, _| lists.iter().any(|(other, _)| other == name));
        for (name, list) in lists {
            let judge = self.judges.entry(name.clone()).or_default();
            if let Some(unknown) = judge.judge(list, &known) {
                log(name, list, packages.len(), &unknown);
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::Key;
    use crate::cache::tests::{categories, packages};
    use crate::shops::Shops;

    const NOW: Duration = Duration::ZERO;

    fn stored(kind: FeedKind, body: &'static str, asked: Duration) -> StoredFeed {
        let cached = match kind {
            FeedKind::Packages => packages(body),
            FeedKind::Categories => categories(body),
        };
        StoredFeed { key: Key::of(kind, "4", None), cached, asked }
    }

    #[tokio::test]
    async fn packages_feeds_that_nobody_asked_for_within_a_day_are_not_in_use() {
        let late = REFRESH_ASKED_WITHIN + Duration::from_secs(1);
        let entries = [
            stored(FeedKind::Packages, "[1]", REFRESH_ASKED_WITHIN),
            stored(FeedKind::Packages, "[1]", NOW),
            stored(FeedKind::Packages, "[2]", late),
            stored(FeedKind::Categories, "[]", NOW),
        ];
        let used = packages_in_use(&entries);
        assert_eq!(used.iter().map(|feed| &feed.body[..]).collect::<Vec<_>>(), [b"[1]"]);
    }

    #[tokio::test(start_paused = true)]
    async fn lists_are_judged_when_they_are_others_and_now_and_then_when_the_feeds_are() {
        let start = Instant::now();
        let mut coverage = CoverageWatch::default();
        let mut check = |seconds: u64, shops: &[(&str, &str)], feeds: &[&'static str], is_due: bool| {
            let texts = shops.iter().map(|(name, code)| (*name, format!("extensions = [{code:?}]")));
            let texts: Vec<_> = texts.collect();
            let texts: Vec<_> = texts.iter().map(|(name, text)| (*name, text.as_str())).collect();
            let lists = Shops::of_texts(None, &texts).expect("shops").rules();
            let stored = || feeds.iter().map(|body| stored(FeedKind::Packages, body, NOW)).collect();
            let due = coverage.due(&lists, start + Duration::from_secs(seconds), stored);
            assert_eq!(due.as_ref().map(Vec::len), is_due.then_some(feeds.len()), "after {seconds} s");
            if let Some(packages) = due {
                coverage.judge(&lists, &packages);
            }
        };
        let both = [("gold", "a"), ("silver", "a")];
        check(0, &both, &[], false);
        check(1, &both, &["[1]"], true);
        // Feeds are looked at again after ten seconds, and then they count if they are others.
        check(2, &both, &["[1]", "[2]"], false);
        check(11, &both, &["[1]", "[2]"], true);
        check(21, &both, &["[2]", "[1]"], false);
        // Lists count at once.
        let edited = [("gold", "b"), ("silver", "a")];
        check(22, &edited, &["[1]"], true);
        check(23, &edited[..1], &["[1]"], true);
        check(24, &edited, &["[1]"], true);
        check(25, &edited, &["[1]"], false);
    }
}
