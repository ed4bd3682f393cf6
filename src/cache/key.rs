//! The key of a cached feed: its path and query.

use std::fmt;
use std::sync::Arc;

use http::uri::PathAndQuery;

use crate::feed::FeedKind;
use crate::metrics::FeedLabels;

/// Path and query of a feed, the path in its canonical form. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    kind: FeedKind,
    target: Arc<str>,
}

impl Key {
    /// Makes a key from a target whose path is canonical. The query stays as the client wrote it.
    pub fn new(kind: FeedKind, target: &PathAndQuery) -> Self {
        // Copied, because the target shares memory with the whole head of the request.
        Self { kind, target: target.as_str().into() }
    }

    /// Makes the key of a feed in one version of the vendor's API. The query stays as the client wrote it.
    pub fn of(kind: FeedKind, version: &str, query: Option<&str>) -> Self {
        let mark = if query.is_some() { "?" } else { "" };
        let target = ["/api/v", version, "/", kind.name(), mark, query.unwrap_or_default()].concat();
        Self { kind, target: target.into() }
    }

    /// Returns the key that [`Key::as_str`] has given, or `None` if no key of this kind gives it.
    pub(super) fn stored(kind: FeedKind, target: &str) -> Option<Self> {
        let parsed: PathAndQuery = target.parse().ok()?;
        let version = parsed.path().strip_prefix("/api/v")?.strip_suffix(kind.name())?.strip_suffix('/')?;
        let is_version = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
        let key = is_version.then(|| Self::of(kind, version, parsed.query()))?;
        (key.as_str() == target).then_some(key)
    }

    /// Returns the key of the other kind of feed with the same version and query.
    pub(crate) fn as_kind(&self, kind: FeedKind) -> Self {
        Self { kind, target: self.target.replacen(self.kind.name(), kind.name(), 1).into() }
    }

    /// Returns the kind of the feed.
    pub fn kind(&self) -> FeedKind {
        self.kind
    }

    /// Returns path and query.
    pub fn as_str(&self) -> &str {
        &self.target
    }

    /// Returns the feed's metric labels. SECURITY: never more than these; a client chooses the query.
    pub fn feed(&self) -> FeedLabels {
        FeedLabels { feed: self.kind.name(), version: self.version().unwrap_or("other") }
    }

    /// Returns the version of the vendor's API, `v1` to `v9`, or `None` for one that only a client made up.
    pub fn version(&self) -> Option<&'static str> {
        const KNOWN: [&str; 9] = ["v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9"];
        let version = self.target.strip_prefix("/api/")?.split('/').next()?;
        KNOWN.into_iter().find(|known| *known == version)
    }

    pub(super) fn target(&self) -> PathAndQuery {
        // A key is only ever made from a valid target, so the root is never asked for.
        self.target.parse().unwrap_or_else(|_| PathAndQuery::from_static("/"))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_key_is_one_that_was_given() {
        let check = |target: &str, expected: bool| {
            let key = Key::stored(FeedKind::Packages, target);
            assert_eq!(key.is_some(), expected, "{target}");
            assert!(key.is_none_or(|key| key.as_str() == target && key.kind() == FeedKind::Packages));
        };
        check("/api/v4/packages", true);
        check("/api/v4/packages?", true);
        check("/api/v4/packages?platform=unix&with-hidden", true);
        check("/api/v4/categories", false);
        check("/api/v/packages", false);
        check("/api/v4x/packages", false);
        check("/other", false);
        check("/api/v4/packages#x", false);
        check("https://elsewhere.example/api/v4/packages", false);
        check("", false);
    }

    #[test]
    fn knows_versions_that_there_could_be() {
        let check = |target: &str, expected: Option<&str>| {
            let key = Key::new(FeedKind::Packages, &target.parse().expect("a target"));
            assert_eq!(key.version(), expected, "{target}");
        };
        check("/api/v4/packages?version=18.0.64", Some("v4"));
        check("/api/v9/categories", Some("v9"));
        check("/api/v0/packages", None);
        check("/api/v04/packages", None);
        check("/api/v44/packages", None);
        check("/api/v12345678901234567890/packages", None);
    }
}
