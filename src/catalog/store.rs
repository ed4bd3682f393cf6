//! The memory of the cache: copies and views within one bound, least recently used out first.
//!
//! Keys with equal bodies share one [`Content`], since version, locale and country often change nothing.

use std::sync::Arc;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;

use super::Key;
use super::copy::{Content, Copy, Digest, Meta, View};

/// Part of the bound that goes to what is known about keys; the rest is for bodies.
const META_SHARE: u64 = 16;

/// What one entry takes beside its bytes, roughly.
const OVERHEAD: usize = 300;

/// A bounded store; cloning shares it.
#[derive(Debug, Clone)]
pub struct Store {
    metas: Cache<Key, (Digest, Meta)>,
    bodies: Cache<BodyKey, Stored>,
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

#[derive(Debug, PartialEq, Eq, Hash)]
enum BodyKey {
    Content(Digest),
    View(ViewKey),
}

#[derive(Debug, Clone)]
enum Stored {
    Content(Arc<Content>),
    View(Arc<View>),
}

impl Store {
    /// Makes a store of at most `size` bytes.
    pub fn new(size: u64) -> Self {
        let weigh = |_: &BodyKey, stored: &Stored| {
            let bytes = match stored {
                Stored::Content(content) => content.weight(),
                Stored::View(view) => view.body.len(),
            };
            u32::try_from(bytes + OVERHEAD).unwrap_or(u32::MAX)
        };
        Self {
            metas: Cache::builder()
                .max_capacity(size / META_SHARE)
                .weigher(|key: &Key, _| u32::try_from(key.as_str().len() + OVERHEAD).unwrap_or(u32::MAX))
                // A new key is worth more than one asked for often long ago: a burst brings its own keys.
                .eviction_policy(EvictionPolicy::lru())
                .build(),
            bodies: Cache::builder()
                .max_capacity(size - size / META_SHARE)
                .weigher(weigh)
                .eviction_policy(EvictionPolicy::lru())
                .build(),
        }
    }

    /// Returns the copy for a key.
    pub fn copy(&self, key: &Key) -> Option<Copy> {
        let (digest, meta) = self.metas.get(key)?;
        let content = self.content(digest)?;
        Some(Copy { content, meta })
    }

    /// Keeps a copy; its content is shared with an equal one. Returns what is kept.
    pub fn insert(&self, key: Key, mut copy: Copy) -> Copy {
        let digest = copy.content.digest;
        match self.content(digest) {
            Some(content) => copy.content = content,
            None => {
                let stored = Stored::Content(Arc::clone(&copy.content));
                self.bodies.insert(BodyKey::Content(digest), stored);
            }
        }
        self.metas.insert(key, (digest, copy.meta.clone()));
        // Evicts now rather than some time later, so that the bound holds in a flood of new keys.
        self.bodies.run_pending_tasks();
        copy
    }

    /// Returns a view made before.
    pub fn view(&self, key: ViewKey) -> Option<Arc<View>> {
        match self.bodies.get(&BodyKey::View(key))? {
            Stored::View(view) => Some(view),
            Stored::Content(_) => None,
        }
    }

    /// Keeps a view.
    pub fn insert_view(&self, key: ViewKey, view: Arc<View>) {
        self.bodies.insert(BodyKey::View(key), Stored::View(view));
        self.bodies.run_pending_tasks();
    }

    fn content(&self, digest: Digest) -> Option<Arc<Content>> {
        match self.bodies.get(&BodyKey::Content(digest))? {
            Stored::Content(content) => Some(content),
            Stored::View(_) => None,
        }
    }
}
