//! The memory of the cache: contents, views and their encoded forms within one bound, least recently used
//! out first.
//!
//! Keys with equal bodies share one [`Content`], since version, locale and country often change nothing.

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
use crate::whitelist::Whitelist;

/// Part of the bound that goes to what is known about keys; the rest is for bodies.
const META_SHARE: u64 = 16;

/// What one entry takes beside its bytes, roughly.
const OVERHEAD: usize = 300;

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
                Body::View(view) => view.body.len(),
                Body::Encoded(bytes) => bytes.len(),
            };
            u32::try_from(bytes + OVERHEAD).unwrap_or(u32::MAX)
        };
        Self {
            // Recency alone decides: a new key is worth more than one that was popular long ago.
            records: Cache::builder()
                .max_capacity(size / META_SHARE)
                .weigher(|key: &Key, _| u32::try_from(key.as_str().len() + OVERHEAD).unwrap_or(u32::MAX))
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            bodies: Cache::builder()
                .max_capacity(size - size / META_SHARE)
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

    /// Keeps a copy; its content is shared with an equal one. Returns what is kept.
    pub fn insert(&self, key: &Key, mut copy: Copy, now: Instant) -> Copy {
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
        copy
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
        self.insert_body(BodyKey::View(key), Body::View(view));
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
        self.insert_body(BodyKey::Encoded(view, encoding), Body::Encoded(bytes));
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
