//! Whether an edit or a date changes what a shop's customers see.

use std::sync::Arc;

use super::Cache;
use super::cached_feed::Feed;
use crate::feed::FeedKind;
use crate::policy::{Rules, ViewKind, ViewRules};

impl Cache {
    /// Returns true if the shop view of a packages feed in the cache is another under `now` than under `before`. With no
    /// such feed, rules that differ at all count as a change.
    ///
    /// Walks over each feed for rules that it was not yet asked about, which takes a while for large ones.
    pub fn shop_view_changes(&self, before: &Arc<Rules>, now: &Arc<Rules>) -> bool {
        if before.digest == now.digest {
            return false;
        }
        let packages = self.0.store.contents(FeedKind::Packages);
        packages.is_empty() || packages.iter().any(|feed| feed.shop_view_changes(before, now))
    }
}

impl Feed {
    fn shop_view_changes(&self, before: &Arc<Rules>, now: &Arc<Rules>) -> bool {
        let view = |rules| self.decide(None, &ViewRules { rules: Arc::clone(rules), kind: ViewKind::Shop });
        view(before) != view(now)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::cache::tests::{Scripted, categories, key, packages};

    const BODY: &str = r#"[{"code":"a","buy_url":"https://go.plesk.com/"},{"code":"b","buy_url":"https://go.plesk.com/"},{"code":"f"}]"#;

    #[tokio::test]
    async fn only_packages_feeds_in_the_cache_are_asked() {
        let cache = Scripted::default().cache();
        let rules = |text: &str| Arc::new(Rules::of_text(text));
        let (before, other) = (rules("extensions = [\"a\"]"), rules("extensions = [\"a\", \"f\"]"));
        let changes = |now: &Arc<Rules>| cache.shop_view_changes(&before, now);
        let keep = |key, copy| drop(cache.0.store.insert(&key, copy, Instant::now()));
        keep(key(0).as_kind(FeedKind::Categories), categories("[]"));
        // Without one there is nothing to tell by.
        assert_eq!((changes(&before), changes(&other)), (false, true));
        keep(key(0), packages(BODY));
        assert_eq!((changes(&before), changes(&other)), (false, false));
        assert!(changes(&rules("extensions = [\"b\"]")));
    }

    #[test]
    fn only_what_the_shop_view_shows_counts() {
        let feed = packages(BODY).feed;
        let rules = |text: &str| Arc::new(Rules::of_text(text));
        let before = rules("extensions = [\"a\"]");
        let check = |text: &str, expected: bool| {
            assert_eq!(feed.shop_view_changes(&before, &rules(text)), expected, "{text}");
        };
        check("extensions = [\"a\"] # comment", false);
        check("extensions = [\"a\", \"f\", \"not-there\"]", false);
        check("extensions = [\"a\"]\nretired = [\"b\"]\nhidden = [\"not-there\"]", false);
        check("extensions = [\"a\"]\nunlisted = \"retired\"", false);
        check("extensions = [\"b\"]", true);
        check("extensions = [\"*\"]", true);
        check("extensions = []\nretired = [\"a\"]", true);
        check("extensions = [\"a\"]\nretired = [\"f\"]", true);
    }
}
