//! The memory of the cache: feeds, views and their encoded forms within one bound.
//!
//! Keys with equal bodies share one [`Feed`], since version, locale and country often change nothing.

use std::collections::HashSet;
use std::mem::size_of;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;

use super::Key;
use super::bodies::{Bodies, Evicted, FormKey, KeptForm};
use super::cached_feed::{CachedFeed, Feed, Meta};
use super::encode::Encoding;
use super::view::{View, ViewKey};
use crate::digest::Digest;
use crate::feed::FeedKind;
use crate::feed::scan::MAX_ELEMENTS;

/// Part of the bound that goes to what is known about keys; the rest is for bodies.
const META_SHARE: u64 = 16;

/// What an entry takes beside its bytes, about.
const OVERHEAD: usize = 300;

/// What the index of a feed with the most elements takes, about: a hundred bytes each.
pub(super) const MAX_INDEX: u64 = 100 * MAX_ELEMENTS as u64;

/// A bounded store; cloning shares it.
#[derive(Debug, Clone)]
pub(super) struct Store {
    records: Cache<Key, Record>,
    /// Held for a look into maps only. Records are never used while it is held, since what they drop takes it.
    bodies: Arc<Mutex<Bodies>>,
    evictions: Counter,
    start: Instant,
    size: u64,
}

/// What is known about one key.
#[derive(Debug, Clone)]
pub(super) struct StoredFeed {
    pub key: Key,
    pub cached: CachedFeed,
    /// How long ago a client asked for it.
    pub asked: Duration,
}

/// A feed that was inserted.
#[derive(Debug)]
pub(super) struct Inserted {
    /// The feed, which equal ones share.
    pub cached: CachedFeed,
    /// True if the store has it, false if there is no room for it.
    pub stored: bool,
}

#[derive(Debug, Clone)]
struct Record {
    /// The feed is the store's to drop, however many keys have it.
    feed: Weak<Feed>,
    meta: Meta,
    /// When a client last asked, in seconds after the start.
    asked: Arc<AtomicU64>,
}

impl Store {
    /// Makes a store of at most `size` bytes, which counts what it drops for want of room.
    pub(super) fn new(size: u64, evictions: Counter) -> Self {
        let room_for_records = size / META_SHARE;
        let bodies = Arc::new(Mutex::new(Bodies::new(size - room_for_records)));
        let of_records = Arc::clone(&bodies);
        Self {
            // Recency alone decides: a new key is worth more than one that was popular long ago.
            records: Cache::builder()
                .max_capacity(room_for_records)
                .weigher(|key: &Key, record: &Record| {
                    // The key is there twice, in the map and in the order of use.
                    let bytes =
                        OVERHEAD + size_of::<Record>() + 2 * key.as_str().len() + record.meta.weight();
                    u32::try_from(bytes).unwrap_or(u32::MAX)
                })
                .eviction_listener(move |_, record: Record, _| {
                    if let Some(feed) = record.feed.upgrade() {
                        let released = of_records.lock().release(&feed);
                        // Freed here, after the lock.
                        drop(released);
                    }
                })
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            bodies,
            evictions,
            start: Instant::now(),
            size,
        }
    }

    /// Returns how many bytes there are, and their bound.
    pub(super) fn usage(&self) -> (u64, u64) {
        (self.records.weighted_size() + self.bodies.lock().used(), self.size)
    }

    /// Returns the feed for a key that a client asks for.
    pub(super) fn get(&self, key: &Key, now: Instant) -> Option<CachedFeed> {
        let record = self.records.get(key)?;
        let feed = record.feed.upgrade()?;
        let now = self.seconds(now);
        // Tells the store that it is in use; once a second is enough.
        if record.asked.swap(now, Ordering::Relaxed) != now && !self.bodies.lock().touch(feed.digest) {
            return None;
        }
        Some(CachedFeed { feed, meta: record.meta })
    }

    /// Keeps a feed, if there is room at all; equal ones are shared.
    pub(super) fn insert(&self, key: &Key, mut cached: CachedFeed, now: Instant) -> Inserted {
        if let Some(feed) = self.change(|bodies, evicted| bodies.claim(&cached.feed, evicted)) {
            cached.feed = feed;
        }
        let asked = match self.records.get(key) {
            Some(record) => record.asked,
            None => Arc::new(AtomicU64::new(self.seconds(now))),
        };
        let record = Record { feed: Arc::downgrade(&cached.feed), meta: cached.meta.clone(), asked };
        self.records.insert(key.clone(), record);
        // Evicts now rather than some time later, so that the bound holds in a flood of new keys.
        self.records.run_pending_tasks();
        let stored = self.records.contains_key(key) && self.bodies.lock().has(cached.feed.digest);
        Inserted { cached, stored }
    }

    /// Returns true if any key and its feed pass `test`, without touching them.
    pub(super) fn any(&self, test: impl Fn(&Key, &CachedFeed) -> bool) -> bool {
        self.records.iter().any(|(key, Record { feed, meta, .. })| {
            feed.upgrade().is_some_and(|feed| test(&key, &CachedFeed { feed, meta }))
        })
    }

    /// Returns all feeds in the order of their keys, without touching them.
    pub(super) fn feeds(&self, now: Instant) -> Vec<StoredFeed> {
        let stored = |(key, record): (Arc<Key>, Record)| {
            let asked = Duration::from_secs(record.asked.load(Ordering::Relaxed));
            Some(StoredFeed {
                key: Key::clone(&key),
                cached: CachedFeed { feed: record.feed.upgrade()?, meta: record.meta },
                asked: now.saturating_duration_since(self.start).saturating_sub(asked),
            })
        };
        let mut feeds: Vec<_> = self.records.iter().filter_map(stored).collect();
        feeds.sort_unstable_by(|a: &StoredFeed, b| a.key.as_str().cmp(b.key.as_str()));
        feeds
    }

    /// Returns the feeds of a kind, each content once, without touching them.
    pub(super) fn contents(&self, kind: FeedKind) -> Vec<Arc<Feed>> {
        let mut seen = HashSet::new();
        let stored = self.records.iter().filter(|(key, _)| key.kind() == kind);
        let feeds = stored.filter_map(|(_, record)| record.feed.upgrade());
        feeds.filter(|feed| seen.insert(feed.digest)).collect()
    }

    /// Returns a view made before.
    pub(super) fn view(&self, key: ViewKey) -> Option<Arc<View>> {
        match self.bodies.lock().form(&FormKey::View(key))? {
            KeptForm::View(view) => Some(Arc::clone(view)),
            KeptForm::Encoded(_) => None,
        }
    }

    /// Keeps a view, if feeds leave room for it.
    pub(super) fn insert_view(&self, key: ViewKey, view: Arc<View>) {
        self.change(|bodies, evicted| bodies.insert_form(FormKey::View(key), KeptForm::View(view), evicted));
    }

    /// Returns the encoded form, made before, of the view with this digest.
    pub(super) fn encoded(&self, view: Digest, encoding: Encoding) -> Option<Bytes> {
        match self.bodies.lock().form(&FormKey::Encoded(view, encoding))? {
            KeptForm::Encoded(bytes) => Some(bytes.clone()),
            KeptForm::View(_) => None,
        }
    }

    /// Keeps an encoded form, if feeds leave room for it.
    pub(super) fn insert_encoded(&self, view: Digest, encoding: Encoding, bytes: Bytes) {
        let key = FormKey::Encoded(view, encoding);
        self.change(|bodies, evicted| bodies.insert_form(key, KeptForm::Encoded(bytes), evicted));
    }

    /// Returns how many bytes the feeds leave to views and encoded forms.
    pub(super) fn room_for_forms(&self) -> u64 {
        self.bodies.lock().room_for_forms()
    }

    /// Changes the bodies, and counts what that drove out.
    fn change<R>(&self, change: impl FnOnce(&mut Bodies, &mut Evicted) -> R) -> R {
        let mut evicted = Evicted::default();
        let result = change(&mut self.bodies.lock(), &mut evicted);
        self.evictions.inc_by(evicted.len() as u64);
        result
    }

    fn seconds(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::tests::{key, packages as copy};
    use crate::policy::{ViewKind, ViewRules};

    #[test]
    fn knows_what_it_has_no_room_for() {
        let check = |size: u64, body: usize, expected: bool| {
            let store = Store::new(size, Counter::default());
            let inserted = store.insert(&key(0), copy(format!("[{:?}]", "x".repeat(body))), Instant::now());
            assert_eq!(inserted.stored, expected, "{body} bytes in {size}");
            drop(inserted);
            let found = store.get(&key(0), Instant::now());
            assert_eq!(found.is_some(), expected);
            let (used, bound) = store.usage();
            assert!(used <= size && bound == size, "{used} of {bound}");
        };
        check(1 << 20, 10, true);
        check(1 << 20, 900 << 10, true);
        check(1 << 20, 1 << 20, false);
        check(256, 10, false);
        check(0, 10, false);
    }

    #[tokio::test(start_paused = true)]
    async fn the_feed_that_nobody_asked_for_longest_makes_room() {
        let store = Store::new(1 << 20, Counter::default());
        let insert = |n: usize| {
            store.insert(&key(n), copy(format!("[{n},{:?}]", "x".repeat(400 << 10))), Instant::now())
        };
        insert(0);
        insert(1);
        tokio::time::advance(Duration::from_secs(100)).await;
        assert!(store.get(&key(0), Instant::now()).is_some());
        tokio::time::advance(Duration::from_secs(50)).await;
        let asked: Vec<_> = store.feeds(Instant::now()).iter().map(|feed| feed.asked.as_secs()).collect();
        assert_eq!(asked, [50, 150]);
        insert(2);
        let left = [0, 1, 2].map(|n| store.get(&key(n), Instant::now()).is_some());
        assert_eq!(left, [true, false, true]);
    }

    #[test]
    fn counts_the_index() {
        const SIZE: u64 = 1 << 20;
        let store = Store::new(SIZE, Counter::default());
        // Two bytes an element, and an entry of the index each.
        let numbers = format!("[{}1]", "1,".repeat(20_000));
        assert!(numbers.len() < 64 << 10);
        assert!(copy(numbers.clone()).feed.weight() > 800 << 10);
        // And one with long codes.
        let codes = format!(r#"[{{"code":{:?}}}]"#, "x".repeat(100 << 10));
        assert!(copy(codes).feed.weight() > 200 << 10);
        for n in 0..10 {
            store.insert(&key(n), copy(format!("[{n},{}1]", "1,".repeat(20_000))), Instant::now());
        }
        assert!(store.usage().0 <= SIZE);
        assert_eq!(store.feeds(Instant::now()).len(), 1, "one fits");
    }

    #[test]
    fn what_is_made_of_a_feed_does_not_drive_it_out() {
        let store = Store::new(1 << 20, Counter::default());
        let whitelist = ViewRules::of_text("extensions = []", ViewKind::Shop);
        let copy =
            store.insert(&key(0), copy(format!("[{:?}]", "x".repeat(600 << 10))), Instant::now()).cached;
        let view = Arc::new(copy.feed.view(None, &whitelist));
        store.insert_view(copy.feed.decide(None, &whitelist), Arc::clone(&view));
        store.insert_encoded(view.digest, Encoding::Gzip, view.body.clone());
        drop(copy);
        assert!(store.get(&key(0), Instant::now()).is_some());
        assert!(store.encoded(view.digest, Encoding::Gzip).is_none(), "too large to keep");
    }

    #[test]
    fn a_flood_of_views_drives_out_views_only() {
        const SIZE: u64 = 1 << 20;
        let evictions = Counter::default();
        let store = Store::new(SIZE, evictions.clone());
        let whitelist = ViewRules::of_text("extensions = []", ViewKind::Shop);
        for n in 0..4 {
            store.insert(&key(n), copy(format!("[{n},{:?}]", "x".repeat(100 << 10))), Instant::now());
        }
        for shop in 0..200_u64 {
            let feed = store.get(&key(0), Instant::now()).expect("a feed").feed;
            let of_shop = ViewKey { decision: Digest::of(&shop.to_le_bytes()), feed: feed.digest };
            store.insert_view(of_shop, Arc::new(feed.view(None, &whitelist)));
            assert!(store.view(of_shop).is_some());
            assert!(store.usage().0 <= SIZE, "{:?}", store.usage());
        }
        assert_eq!(store.feeds(Instant::now()).len(), 4);
        assert!(evictions.get() > 190, "{}", evictions.get());
        // A flood of feeds drives out views first.
        for n in 4..8 {
            store.insert(&key(n), copy(format!("[{n},{:?}]", "x".repeat(100 << 10))), Instant::now());
            assert!(store.usage().0 <= SIZE, "{:?}", store.usage());
        }
        assert_eq!(store.feeds(Instant::now()).len(), 8);
    }

    #[test]
    fn former_feeds_do_not_take_the_room_of_views() {
        let store = Store::new(1 << 20, Counter::default());
        let room = store.room_for_forms();
        let feed = |n: usize| copy(format!("[{n},{:?}]", "x".repeat(100 << 10)));
        for n in 0..20 {
            store.insert(&key(0), feed(n), Instant::now());
            store.insert(&key(1), feed(n), Instant::now());
        }
        let one = feed(19).feed.weight() as u64;
        assert_eq!(store.room_for_forms(), room - one - OVERHEAD as u64);
        // A confirmation keeps it.
        store.insert(&key(0), feed(19), Instant::now());
        assert!(store.get(&key(0), Instant::now()).is_some());
        // With its keys it goes.
        for n in 2..1000 {
            store.insert(&key(n), feed(20), Instant::now());
        }
        assert!(store.get(&key(0), Instant::now()).is_none());
        assert_eq!(store.room_for_forms(), room - one - OVERHEAD as u64);
    }
}
