//! What is cached: a feed with its index, and what the upstream said about it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Version};
use tokio::time::Instant;

use super::changes::KeyChanges;
use super::freshness::Freshness;
use super::view::Decisions;
use crate::digest::Digest;
use crate::feed::packages::IndexedPackage;
use crate::feed::{FeedKind, categories, packages};
use crate::policy::{Rules, Verdict, VerdictCounts};

/// The parsed body of one upstream answer with its index. It never changes.
#[derive(Debug)]
pub struct Feed {
    /// The decoded body as it came.
    pub body: Bytes,
    /// Digest of its kind and body.
    pub digest: Digest,
    /// Where its elements stand.
    pub index: FeedIndex,
    /// What whitelists decide for it, as far as they were asked.
    pub(super) decisions: Decisions,
}

/// The index of either feed.
#[derive(Debug)]
pub enum FeedIndex {
    /// Of a packages feed.
    Packages(packages::PackagesIndex),
    /// Of a categories feed.
    Categories(categories::CategoriesIndex),
}

/// A feed with what the upstream said about it, and when.
#[derive(Debug, Clone)]
pub struct CachedFeed {
    /// What it says.
    pub feed: Arc<Feed>,
    /// What the upstream said about it.
    pub meta: Meta,
}

/// What the upstream said about a feed, and when.
#[derive(Debug, Clone)]
pub struct Meta {
    /// For `If-None-Match`.
    pub etag: Option<HeaderValue>,
    /// For `If-Modified-Since`.
    pub last_modified: Option<HeaderValue>,
    /// The media type.
    pub content_type: Option<HeaderValue>,
    /// HTTP version of the response that brought or confirmed it.
    pub version: Version,
    /// Freshness on arrival.
    pub freshness: Freshness,
    /// How long it was held by earlier processes.
    pub held: Duration,
    /// When it arrived, was last confirmed or was read from disk.
    pub arrived: Instant,
    /// How long after that it should be renewed ahead of its end.
    pub refresh_after: Duration,
    /// Changes of the catalog that only the last fetch shows. See [`super::changes`].
    pub unconfirmed: Arc<KeyChanges>,
}

impl Meta {
    /// Returns about how many bytes it takes beside its own size.
    pub fn weight(&self) -> usize {
        let values = [&self.etag, &self.last_modified, &self.content_type];
        let values: usize = values.into_iter().flatten().map(HeaderValue::len).sum();
        values + self.unconfirmed.weight()
    }
}

#[cfg(test)]
impl Meta {
    /// Of a response that says nothing, arrived now and fresh for ten minutes.
    pub(crate) fn bare() -> Self {
        Self {
            etag: None,
            last_modified: None,
            content_type: None,
            version: Version::HTTP_11,
            freshness: Freshness { lifetime: Duration::from_mins(10), age: Duration::ZERO },
            held: Duration::ZERO,
            arrived: Instant::now(),
            refresh_after: Duration::ZERO,
            unconfirmed: Arc::default(),
        }
    }
}

impl Feed {
    /// Wraps a complete, proved feed.
    ///
    /// SECURITY: its digest counts the kind as well. The same bytes as another kind of feed are filtered in
    /// another way, so they must never stand in for these.
    pub fn new(body: Bytes, index: FeedIndex) -> Self {
        let kind = match index {
            FeedIndex::Packages(_) => FeedKind::Packages,
            FeedIndex::Categories(_) => FeedKind::Categories,
        };
        Self {
            digest: Digest::of_parts([kind.name().as_bytes(), &body]),
            decisions: Decisions::default(),
            body,
            index,
        }
    }

    /// Returns about how many bytes it takes in memory, the index included.
    pub fn weight(&self) -> usize {
        let index = match &self.index {
            FeedIndex::Packages(index) => index.weight(),
            FeedIndex::Categories(index) => index.weight(),
        };
        self.body.len() + index + Decisions::MAX_WEIGHT
    }

    /// Returns how many elements it has.
    pub fn elements(&self) -> usize {
        match &self.index {
            FeedIndex::Packages(index) => index.entries.len(),
            FeedIndex::Categories(index) => index.categories,
        }
    }

    /// Counts the elements that are no objects, and those that have no string for a code.
    pub fn odd(&self) -> (usize, usize) {
        let FeedIndex::Packages(index) = &self.index else { return (0, 0) };
        let odd = index.entries.iter().filter(|entry| entry.package.code.is_none());
        let (objects, others): (Vec<_>, Vec<_>) =
            odd.partition(|entry| self.body.get(entry.span.start) == Some(&b'{'));
        (others.len(), objects.len())
    }

    /// Returns the codes of all packages.
    pub fn codes(&self) -> impl Iterator<Item = &str> {
        let entries = match &self.index {
            FeedIndex::Packages(index) => index.entries.as_slice(),
            FeedIndex::Categories(_) => &[],
        };
        entries.iter().filter_map(|entry| entry.package.code.as_deref())
    }

    /// Counts the packages that some rules show, retire and hide.
    pub fn counts(&self, rules: &Rules) -> VerdictCounts {
        let mut counts = VerdictCounts::default();
        let FeedIndex::Packages(index) = &self.index else { return counts };
        for IndexedPackage { package, .. } in &index.entries {
            match rules.verdict(package.code.as_deref(), package.seller) {
                Verdict::Shown => counts.shown += 1,
                Verdict::Retired => counts.retired += 1,
                Verdict::Hidden => counts.hidden += 1,
            }
        }
        counts
    }
}

impl CachedFeed {
    /// Returns its age, what it spent in other caches included (RFC 9111 §4.2.3).
    pub fn age(&self, now: Instant) -> Duration {
        self.meta.freshness.age + self.resident(now)
    }

    /// Returns how long ago it was fetched or last validated, by this process or an earlier one.
    pub fn resident(&self, now: Instant) -> Duration {
        self.meta.held + now.saturating_duration_since(self.meta.arrived)
    }

    /// Returns how long it will be fresh; nothing if it is stale.
    pub fn fresh_for(&self, now: Instant) -> Option<Duration> {
        self.meta.freshness.lifetime.checked_sub(self.age(now)).filter(|left| !left.is_zero())
    }

    /// Returns how long it has been stale.
    pub fn stale_since(&self, now: Instant) -> Duration {
        self.age(now).saturating_sub(self.meta.freshness.lifetime)
    }

    /// Returns how long it has been stale here. A response can be stale on arrival; only the time spent in this cache
    /// counts against `stale_for`.
    pub fn stale_here(&self, now: Instant) -> Duration {
        self.stale_since(now).min(self.resident(now))
    }

    /// Returns what is left of its freshness lifetime in whole seconds. It is negative as soon as the lifetime is over.
    pub fn ttl(&self, now: Instant) -> i64 {
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        self.fresh_for(now).map_or_else(|| -seconds(self.stale_since(now)).max(1), seconds)
    }

    /// Returns true if it is within its freshness lifetime.
    pub fn is_fresh(&self, now: Instant) -> bool {
        self.fresh_for(now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::packages::PackagesIndex;

    fn feed(body: &'static str) -> Feed {
        let body = Bytes::from_static(body.as_bytes());
        let index = PackagesIndex::of(&body).expect("a feed");
        Feed::new(body, FeedIndex::Packages(index))
    }

    #[test]
    fn tells_what_is_in_a_feed() {
        let empty = feed("[]");
        assert_eq!((empty.elements(), empty.odd(), empty.codes().count()), (0, (0, 0), 0));
        let sold = r#""buy_url":"https://go.plesk.com/x""#;
        let body = format!(
            r#"[{{"code":"a",{sold}}},1,"x",null,{{}},{{"code":2}},{{"code":"b",{sold}}},{{"code":"c"}}]"#
        );
        let feed = feed(body.leak());
        assert_eq!((feed.elements(), feed.odd()), (8, (3, 2)));
        assert_eq!(feed.codes().collect::<Vec<_>>(), ["a", "b", "c"]);
        let counts = feed.counts(&Rules::of_text("extensions = [\"a\"]\nretired = [\"c\"]"));
        assert_eq!((counts.shown, counts.retired, counts.hidden), (6, 1, 1));
    }

    #[test]
    fn a_copy_weighs_what_its_fields_do() {
        let value = |len: usize| Some(HeaderValue::from_bytes(&vec![b'x'; len]).expect("a value"));
        let meta =
            Meta { etag: value(1), last_modified: value(10), content_type: value(100), ..Meta::bare() };
        assert_eq!(meta.weight(), 111 + meta.unconfirmed.weight());
    }
}
