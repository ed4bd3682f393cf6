//! The memory of the cache: contents, views and their encoded forms within one bound, least recently used
//! out first.
//!
//! Keys with equal bodies share one [`Content`], since version, locale and country often change nothing.

use std::mem::size_of;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;

use super::Key;
use super::copy::{Content, Copy, Digest, Meta, View};
use super::encode::Encoding;
use super::flight::Kept;
use crate::feed::scan::MAX_ELEMENTS;
use crate::whitelist::Whitelist;

/// Part of the bound that goes to what is known about keys; the rest is for bodies.
const META_SHARE: u64 = 16;

/// What an entry takes beside its bytes, about.
const OVERHEAD: usize = 300;

/// Part of the room for bodies that one view or encoded form may take; larger ones are made for each request. Then a
/// feed is never driven out by what is made of it.
const FORM_SHARE: u64 = 3;

/// What the index of a feed with the most elements takes, about: a hundred bytes each.
pub(super) const MAX_INDEX: u64 = 100 * MAX_ELEMENTS as u64;

fn room_for_bodies(size: u64) -> u64 {
    size - size / META_SHARE
}

/// A bounded store; cloning shares it.
#[derive(Debug, Clone)]
pub struct Store {
    records: Cache<Key, Record>,
    bodies: Cache<BodyKey, Body>,
    start: Instant,
    size: u64,
}

/// What a view was made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ViewKey {
    /// The feed's content.
    pub content: Digest,
    /// For categories, the packages feed's content.
    pub packages: Option<Digest>,
    /// The whitelist.
    pub generation: u64,
}

impl ViewKey {
    /// Names the view of a copy for a list. See [`Content::view`].
    pub fn new(copy: &Copy, packages: Option<&Copy>, list: &Whitelist) -> Self {
        Self {
            content: copy.content.digest,
            packages: packages.map(|packages| packages.content.digest),
            generation: list.generation,
        }
    }
}

/// What is known about one key.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key.
    pub key: Key,
    /// Its copy.
    pub copy: Copy,
    /// How long ago a client asked for it.
    pub asked: Duration,
}

/// A copy that was inserted.
#[derive(Debug)]
pub struct Inserted {
    /// The copy, with the content that equal ones share.
    pub copy: Copy,
    /// Whether the store has it.
    pub kept: Kept,
}

#[derive(Debug, Clone)]
struct Record {
    /// The content is the store's to drop, however many keys have it.
    content: Weak<Content>,
    meta: Meta,
    /// When a client last asked, in seconds after the start.
    asked: Arc<AtomicU64>,
}

#[derive(Debug, PartialEq, Eq, Hash)]
enum BodyKey {
    Content(Digest),
    View(ViewKey),
    Encoded(Digest, Encoding),
}

#[derive(Debug, Clone)]
enum Body {
    Content(Arc<Content>),
    View(Arc<View>),
    Encoded(Bytes),
}

impl Store {
    /// Makes a store of at most `size` bytes, which counts what it drops for want of room.
    pub fn new(size: u64, evictions: Counter) -> Self {
        let weigh = |_: &BodyKey, body: &Body| {
            let bytes = match body {
                Body::Content(content) => content.weight(),
                Body::View(view) => view.weight(),
                Body::Encoded(bytes) => bytes.len(),
            };
            u32::try_from(bytes + OVERHEAD).unwrap_or(u32::MAX)
        };
        Self {
            // Recency alone decides: a new key is worth more than one that was popular long ago.
            records: Cache::builder()
                .max_capacity(size / META_SHARE)
                .weigher(|key: &Key, record: &Record| {
                    // The key is there twice, in the map and in the order of use.
                    let bytes =
                        OVERHEAD + size_of::<Record>() + 2 * key.as_str().len() + record.meta.weight();
                    u32::try_from(bytes).unwrap_or(u32::MAX)
                })
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            bodies: Cache::builder()
                .max_capacity(room_for_bodies(size))
                .weigher(weigh)
                .eviction_listener(move |_, _, cause| {
                    if cause == RemovalCause::Size {
                        evictions.inc();
                    }
                })
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            start: Instant::now(),
            size,
        }
    }

    /// Returns how many bytes there are, and their bound.
    pub fn usage(&self) -> (u64, u64) {
        (self.records.weighted_size() + self.bodies.weighted_size(), self.size)
    }

    /// Returns the copy for a key that a client asks for.
    pub fn copy(&self, key: &Key, now: Instant) -> Option<Copy> {
        let record = self.records.get(key)?;
        let content = record.content.upgrade()?;
        let now = self.seconds(now);
        // Tells the store that it is in use; once a second is enough.
        if record.asked.swap(now, Ordering::Relaxed) != now {
            self.bodies.get(&BodyKey::Content(content.digest))?;
        }
        Some(Copy { content, meta: record.meta })
    }

    /// Keeps a copy, if there is room at all; its content is shared with an equal one.
    pub fn insert(&self, key: &Key, mut copy: Copy, now: Instant) -> Inserted {
        let digest = copy.content.digest;
        match self.bodies.get(&BodyKey::Content(digest)) {
            Some(Body::Content(content)) => copy.content = content,
            _ => self.insert_body(BodyKey::Content(digest), Body::Content(Arc::clone(&copy.content))),
        }
        let asked = match self.records.get(key) {
            Some(record) => record.asked,
            None => Arc::new(AtomicU64::new(self.seconds(now))),
        };
        let record = Record { content: Arc::downgrade(&copy.content), meta: copy.meta.clone(), asked };
        self.records.insert(key.clone(), record);
        // Evicts now rather than some time later, so that the bound holds in a flood of new keys.
        self.records.run_pending_tasks();
        let stored = self.records.contains_key(key) && self.bodies.contains_key(&BodyKey::Content(digest));
        let kept = if stored { Kept::Stored } else { Kept::NotStored };
        Inserted { copy, kept }
    }

    /// Returns true if any key and its copy pass `test`, without touching them.
    pub fn any(&self, test: impl Fn(&Key, &Copy) -> bool) -> bool {
        self.records.iter().any(|(key, Record { content, meta, .. })| {
            content.upgrade().is_some_and(|content| test(&key, &Copy { content, meta }))
        })
    }

    /// Returns what there is, without touching it.
    pub fn entries(&self, now: Instant) -> Vec<Entry> {
        let entry = |(key, record): (Arc<Key>, Record)| {
            let asked = Duration::from_secs(record.asked.load(Ordering::Relaxed));
            Some(Entry {
                key: Key::clone(&key),
                copy: Copy { content: record.content.upgrade()?, meta: record.meta },
                asked: now.saturating_duration_since(self.start).saturating_sub(asked),
            })
        };
        self.records.iter().filter_map(entry).collect()
    }

    /// Returns a view made before.
    pub fn view(&self, key: ViewKey) -> Option<Arc<View>> {
        match self.bodies.get(&BodyKey::View(key))? {
            Body::View(view) => Some(view),
            Body::Content(_) | Body::Encoded(_) => None,
        }
    }

    /// Keeps a view.
    pub fn insert_view(&self, key: ViewKey, view: Arc<View>) {
        if self.may_keep(view.weight()) {
            self.insert_body(BodyKey::View(key), Body::View(view));
        }
    }

    /// Returns the encoded form, made before, of the view with this digest.
    pub fn encoded(&self, view: Digest, encoding: Encoding) -> Option<Bytes> {
        match self.bodies.get(&BodyKey::Encoded(view, encoding))? {
            Body::Encoded(bytes) => Some(bytes),
            Body::Content(_) | Body::View(_) => None,
        }
    }

    /// Keeps an encoded form.
    pub fn insert_encoded(&self, view: Digest, encoding: Encoding, bytes: Bytes) {
        if self.may_keep(bytes.len()) {
            self.insert_body(BodyKey::Encoded(view, encoding), Body::Encoded(bytes));
        }
    }

    /// Returns true if a view or an encoded form is small enough to be kept.
    fn may_keep(&self, bytes: usize) -> bool {
        (bytes + OVERHEAD) as u64 <= room_for_bodies(self.size) / FORM_SHARE
    }

    fn insert_body(&self, key: BodyKey, body: Body) {
        self.bodies.insert(key, body);
        // Evicts now rather than some time later, so that the bound holds in a flood of new keys.
        self.bodies.run_pending_tasks();
    }

    fn seconds(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.start).as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::copy::Index;
    use crate::catalog::freshness::Freshness;
    use crate::feed::{FeedKind, packages};

    fn key(n: usize) -> Key {
        Key::new(FeedKind::Packages, &format!("/api/v4/packages?{n}").parse().expect("a target"))
    }

    fn copy(body: String) -> Copy {
        let body = Bytes::from(body);
        let index = Index::Packages(packages::PackagesIndex::of(&body).expect("a feed"));
        let meta = Meta {
            etag: None,
            last_modified: None,
            content_type: None,
            freshness: Freshness { lifetime: Duration::from_secs(600), age: Duration::ZERO },
            held: Duration::ZERO,
            arrived: Instant::now(),
            refresh_after: Duration::ZERO,
        };
        Copy { content: Arc::new(Content::new(body, index)), meta }
    }

    #[test]
    fn knows_what_it_has_no_room_for() {
        let check = |size: u64, body: usize, expected: Kept| {
            let store = Store::new(size, Counter::default());
            let inserted = store.insert(&key(0), copy(format!("[{:?}]", "x".repeat(body))), Instant::now());
            assert_eq!(inserted.kept, expected, "{body} bytes in {size}");
            drop(inserted);
            let found = store.copy(&key(0), Instant::now());
            assert_eq!(found.is_some(), expected == Kept::Stored);
            assert!(store.usage().0 <= size, "{:?}", store.usage());
        };
        check(1 << 20, 10, Kept::Stored);
        check(1 << 20, 900 << 10, Kept::Stored);
        check(1 << 20, 1 << 20, Kept::NotStored);
        check(256, 10, Kept::NotStored);
        check(0, 10, Kept::NotStored);
    }

    #[test]
    fn counts_the_index() {
        const SIZE: u64 = 1 << 20;
        let store = Store::new(SIZE, Counter::default());
        // Two bytes an element, and an entry of the index each.
        let numbers = format!("[{}1]", "1,".repeat(20_000));
        assert!(numbers.len() < 64 << 10);
        assert!(copy(numbers.clone()).content.weight() > 800 << 10);
        // And one with long codes.
        let codes = format!(r#"[{{"code":{:?}}}]"#, "x".repeat(100 << 10));
        assert!(copy(codes).content.weight() > 200 << 10);
        for n in 0..10 {
            store.insert(&key(n), copy(format!("[{n},{}1]", "1,".repeat(20_000))), Instant::now());
        }
        assert!(store.usage().0 <= SIZE);
        assert_eq!(store.entries(Instant::now()).len(), 1, "one fits");
    }

    #[test]
    fn what_is_made_of_a_feed_does_not_drive_it_out() {
        let store = Store::new(1 << 20, Counter::default());
        let whitelist = Whitelist::parse(b"extensions = []", 1).expect("a list").0;
        let copy = store.insert(&key(0), copy(format!("[{:?}]", "x".repeat(600 << 10))), Instant::now()).copy;
        let view = Arc::new(copy.content.view(None, &whitelist));
        store.insert_view(ViewKey::new(&copy, None, &whitelist), Arc::clone(&view));
        store.insert_encoded(view.digest, Encoding::Gzip, view.body.clone());
        drop(copy);
        assert!(store.copy(&key(0), Instant::now()).is_some());
        assert!(store.encoded(view.digest, Encoding::Gzip).is_none(), "too large to keep");
    }
}
