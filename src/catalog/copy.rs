//! What is cached: one immutable copy of a feed, and the views made of it.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use tokio::time::Instant;

use super::encode::Encoding;
use super::freshness::Freshness;
use crate::feed::{FeedKind, categories, packages};
use crate::hex::hex;
use crate::news::Change;
use crate::whitelist::Whitelist;

/// The start of a SHA-256: equal bytes and nothing else have equal digests.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 16]);

/// A complete feed and where its elements stand. It never changes.
#[derive(Debug)]
pub struct Content {
    /// The decoded body as it came.
    pub body: Bytes,
    /// Of its kind and body.
    pub digest: Digest,
    /// Where its elements stand.
    pub index: Index,
}

/// The index of either feed.
#[derive(Debug)]
pub enum Index {
    /// Of a packages feed.
    Packages(packages::PackagesIndex),
    /// Of a categories feed.
    Categories(categories::CategoriesIndex),
}

/// The last good answer for a key.
#[derive(Debug, Clone)]
pub struct Copy {
    /// What it says.
    pub content: Arc<Content>,
    /// What the upstream said about it.
    pub meta: Meta,
}

/// What the upstream said about a copy, and when.
#[derive(Debug, Clone)]
pub struct Meta {
    /// For `If-None-Match`.
    pub etag: Option<HeaderValue>,
    /// For `If-Modified-Since`.
    pub last_modified: Option<HeaderValue>,
    /// The media type.
    pub content_type: Option<HeaderValue>,
    /// Freshness on arrival.
    pub freshness: Freshness,
    /// How long it was held by earlier processes.
    pub held: Duration,
    /// When it arrived, was last confirmed or was read from disk.
    pub arrived: Instant,
    /// How long after that it should be renewed ahead of its end.
    pub refresh_after: Duration,
    /// Changes of the catalog that only the last fetch shows. See [`super::changes`].
    pub unconfirmed: Arc<[Change]>,
}

/// What leaves: a feed as one whitelist shows it.
#[derive(Debug)]
pub struct View {
    /// The bytes.
    pub body: Bytes,
    /// Of the bytes.
    pub digest: Digest,
    /// Written once, not for every answer: of the plain body and of each coding.
    etags: [HeaderValue; 1 + Encoding::ALL.len()],
}

impl Meta {
    /// Returns about how many bytes it takes beside its own size.
    pub fn weight(&self) -> usize {
        let values = [&self.etag, &self.last_modified, &self.content_type];
        let values: usize = values.into_iter().flatten().map(HeaderValue::len).sum();
        values + self.unconfirmed.iter().map(Change::weight).sum::<usize>()
    }
}

impl View {
    fn new(body: Vec<u8>) -> Self {
        let digest = Digest::of(&body);
        let [zstd, gzip, brotli] =
            Encoding::ALL.map(|encoding| etag(format!("{digest}-{}", encoding.name())));
        Self { body: body.into(), digest, etags: [etag(digest.to_string()), zstd, gzip, brotli] }
    }

    /// Returns about how many bytes it takes in memory.
    pub fn weight(&self) -> usize {
        let etags: usize = self.etags.iter().map(HeaderValue::len).sum();
        size_of::<Self>() + etags + self.body.len()
    }

    /// Returns a strong validator: the same bytes have the same one, after a restart and on another replica.
    pub fn etag(&self, encoding: Option<Encoding>) -> &HeaderValue {
        &self.etags[encoding.map_or(0, |encoding| 1 + encoding as usize)]
    }
}

fn etag(text: String) -> HeaderValue {
    // Hexadecimal digits and names of codings are always fit.
    HeaderValue::try_from(format!("\"{text}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}

impl Digest {
    /// Computes the digest of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::of_all([bytes])
    }

    /// Computes the digest of some bytes in parts.
    fn of_all<const N: usize>(parts: [&[u8]; N]) -> Self {
        let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
        parts.iter().for_each(|part| hash.update(part));
        let mut start = [0; 16];
        start.copy_from_slice(&hash.finish().as_ref()[..16]);
        Self(start)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0).fmt(f)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Content {
    /// Wraps a complete, proved feed.
    ///
    /// SECURITY: its digest counts the kind as well. The same bytes as another kind of feed are filtered in
    /// another way, so they must never stand in for these.
    pub fn new(body: Bytes, index: Index) -> Self {
        let kind = match index {
            Index::Packages(_) => FeedKind::Packages,
            Index::Categories(_) => FeedKind::Categories,
        };
        Self { digest: Digest::of_all([kind.name().as_bytes(), b"\0", &body]), body, index }
    }

    /// Returns about how many bytes it takes in memory, the index included.
    pub fn weight(&self) -> usize {
        let index = match &self.index {
            Index::Packages(index) => index.weight(),
            Index::Categories(index) => index.weight(),
        };
        self.body.len() + index
    }

    /// Returns how many elements it has.
    pub fn len(&self) -> usize {
        match &self.index {
            Index::Packages(index) => index.entries.len(),
            Index::Categories(index) => index.categories,
        }
    }

    /// Has it no elements?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes the view of the feed for one list.
    ///
    /// A categories feed keeps the top packages that `packages` shows; without one it keeps none.
    pub fn view(&self, packages: Option<&Self>, list: &Whitelist) -> View {
        let body = match &self.index {
            Index::Packages(index) => index.filter(&self.body, |code| list.contains(code)),
            Index::Categories(index) => {
                let shown = packages.map(|packages| packages.shown(list)).unwrap_or_default();
                index.filter(&self.body, |code| shown.contains(code))
            }
        };
        View::new(body)
    }

    /// Counts the elements that are no objects, and those that have no string for a code.
    pub fn odd(&self) -> (usize, usize) {
        let Index::Packages(index) = &self.index else { return (0, 0) };
        let odd = index.entries.iter().filter(|entry| entry.package.code.is_none());
        let (objects, others): (Vec<_>, Vec<_>) =
            odd.partition(|entry| self.body.get(entry.span.start) == Some(&b'{'));
        (others.len(), objects.len())
    }

    /// Returns the codes of all packages.
    pub fn codes(&self) -> impl Iterator<Item = &str> {
        let entries = match &self.index {
            Index::Packages(index) => index.entries.as_slice(),
            Index::Categories(_) => &[],
        };
        entries.iter().filter_map(|entry| entry.package.code.as_deref())
    }

    /// Counts the packages that a list hides.
    pub fn hidden(&self, list: &Whitelist) -> usize {
        let Index::Packages(index) = &self.index else { return 0 };
        index.entries.iter().filter(|entry| !entry.package.is_shown(|code| list.contains(code))).count()
    }

    /// Returns the codes of the packages that a list shows.
    fn shown(&self, list: &Whitelist) -> HashSet<&str> {
        let Index::Packages(index) = &self.index else { return HashSet::new() };
        let shown = index.entries.iter().filter(|entry| entry.package.is_shown(|code| list.contains(code)));
        shown.filter_map(|entry| entry.package.code.as_deref()).collect()
    }
}

impl Copy {
    /// Returns its age (RFC 9111 §4.2.3).
    pub fn age(&self, now: Instant) -> Duration {
        self.meta.freshness.age + self.resident(now)
    }

    /// Returns how long it has been here.
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

    /// Returns how long it has been stale here: one that was old on arrival is the best there is all the
    /// same.
    pub fn stale_here(&self, now: Instant) -> Duration {
        self.stale_since(now).min(self.resident(now))
    }
}
