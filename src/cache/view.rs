//! Views: feeds as one whitelist shows them, named by what the whitelist decides.
//!
//! A view's key is the digest of its feed and the digest of the decision. Whitelists that decide the same share one
//! view with its encodings and ETags, so an edit that changes nothing makes nothing.

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;
use http::HeaderValue;
use parking_lot::RwLock;

use super::cached_feed::{Feed, FeedIndex};
use super::encode::Encoding;
use crate::digest::Digest;
use crate::whitelist::Whitelist;

/// What leaves: a feed as one whitelist shows it.
#[derive(Debug)]
pub struct View {
    pub body: Bytes,
    /// Digest of the body.
    pub digest: Digest,
    /// Of the plain body and of each coding. Written once: making them for each 304 costs half as many instructions again.
    etags: [HeaderValue; 1 + Encoding::ALL.len()],
}

/// What a view is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ViewKey {
    /// Digest of the feed.
    pub feed: Digest,
    /// Digest of what decides which of its elements are shown.
    pub decision: Digest,
}

/// What one whitelist decides for a packages feed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decision {
    /// Digest of which elements are shown: it decides the view of the feed itself.
    elements: Digest,
    /// Digest of the codes that are shown: it decides the view of a categories feed.
    codes: Digest,
}

/// The decisions of the whitelists that asked last, by the digests of these.
#[derive(Debug, Default)]
pub(super) struct Decisions(RwLock<VecDeque<(Digest, Decision)>>);

impl Decisions {
    /// Most decisions that a feed remembers.
    const MAX_COUNT: usize = 16;
    /// What they take in memory, in bytes.
    pub(super) const MAX_WEIGHT: usize = Self::MAX_COUNT * size_of::<(Digest, Decision)>();

    fn get(&self, list: Digest) -> Option<Decision> {
        self.0.read().iter().find(|(of, _)| *of == list).map(|(_, decision)| *decision)
    }

    fn insert(&self, list: Digest, decision: Decision) {
        let mut decisions = self.0.write();
        decisions.truncate(Self::MAX_COUNT - 1);
        decisions.push_front((list, decision));
    }
}

impl View {
    pub(super) fn new(body: Vec<u8>) -> Self {
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

impl Feed {
    /// Returns the key of the view for a list if that was decided before. See [`Feed::view`].
    pub(super) fn decided(&self, packages: Option<&Self>, list: &Whitelist) -> Option<ViewKey> {
        let decisions = &packages.unwrap_or(self).decisions;
        Some(self.view_key(packages, decisions.get(list.digest)?))
    }

    /// Decides what a list shows, and returns the key of that view. Takes a while for large feeds.
    pub(super) fn decide(&self, packages: Option<&Self>, list: &Whitelist) -> ViewKey {
        let decider = packages.unwrap_or(self);
        let decision = decider.decisions.get(list.digest).unwrap_or_else(|| {
            let decision = decider.decision(list);
            decider.decisions.insert(list.digest, decision);
            decision
        });
        self.view_key(packages, decision)
    }

    fn view_key(&self, packages: Option<&Self>, decision: Decision) -> ViewKey {
        let decision = if packages.is_some() { decision.codes } else { decision.elements };
        ViewKey { feed: self.digest, decision }
    }

    fn decision(&self, list: &Whitelist) -> Decision {
        let elements: Vec<u8> = match &self.index {
            FeedIndex::Packages(index) => {
                let shown =
                    index.entries.iter().map(|entry| entry.package.is_shown(|code| list.contains(code)));
                shown.map(u8::from).collect()
            }
            // On its own a categories feed shows no package at all, whatever the list says.
            FeedIndex::Categories(_) => Vec::new(),
        };
        let mut codes: Vec<&str> = self.shown(list).into_iter().collect();
        codes.sort_unstable();
        Decision {
            elements: Digest::of(&elements),
            codes: Digest::of_parts(codes.into_iter().map(str::as_bytes)),
        }
    }

    /// Makes the view of the feed for one list.
    ///
    /// A categories feed keeps the top packages that `packages` shows; without one it keeps none.
    pub fn view(&self, packages: Option<&Self>, list: &Whitelist) -> View {
        let body = match &self.index {
            FeedIndex::Packages(index) => index.filter(&self.body, |code| list.contains(code)),
            FeedIndex::Categories(index) => {
                let shown = packages.map(|packages| packages.shown(list)).unwrap_or_default();
                index.filter(&self.body, |code| shown.contains(code))
            }
        };
        View::new(body)
    }

    /// Returns the codes of the packages that a list shows.
    fn shown(&self, list: &Whitelist) -> HashSet<&str> {
        let FeedIndex::Packages(index) = &self.index else { return HashSet::new() };
        let shown = index.entries.iter().filter(|entry| entry.package.is_shown(|code| list.contains(code)));
        shown.filter_map(|entry| entry.package.code.as_deref()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feed::{categories, packages};

    fn packages(body: &'static str) -> Feed {
        let body = Bytes::from(body);
        let index = packages::PackagesIndex::of(&body).expect("a feed");
        Feed::new(body, FeedIndex::Packages(index))
    }

    fn categories(body: &'static str) -> Feed {
        let mut indexer = categories::CategoriesIndexer::default();
        indexer.push(body.as_bytes()).expect("a feed");
        let (body, index) = indexer.finish().expect("a feed");
        Feed::new(body.into(), FeedIndex::Categories(index))
    }

    fn list(codes: &[&str]) -> Whitelist {
        Whitelist::parse(format!("extensions = {codes:?}").as_bytes()).expect("a list").0
    }

    const PLESK: &str = r#"[{"code":"a","buy_url":"https://go.plesk.com/a"},
        {"code":"b","buy_url":"https://go.plesk.com/b"},{"code":"f"}]"#;

    #[test]
    fn lists_that_decide_the_same_share_a_key() {
        let feed = packages(PLESK);
        let key = |codes: &[&str]| feed.decide(None, &list(codes));
        assert_eq!(key(&["a"]), key(&["a", "not-there"]));
        // A free package is shown in any case.
        assert_eq!(key(&["a"]), key(&["a", "f"]));
        assert_ne!(key(&["a"]), key(&["b"]));
        assert_ne!(key(&[]), key(&["a"]));
        assert_ne!(key(&["a"]), packages("[]").decide(None, &list(&["a"])), "another feed");
    }

    #[test]
    fn equal_codes_are_not_equal_elements() {
        let feed = packages(r#"[{"code":"a"},{"code":"a","buy_url":"https://go.plesk.com/a"}]"#);
        let (with, without) = (list(&["a"]), list(&[]));
        assert_eq!(feed.shown(&with), feed.shown(&without));
        assert_ne!(feed.decide(None, &with), feed.decide(None, &without));
        assert_ne!(feed.view(None, &with).body, feed.view(None, &without).body);
    }

    #[test]
    fn categories_depend_on_the_codes_that_are_shown_alone() {
        let tree = categories(r#"[{"top_packages":[{"code":"a"},{"code":"b"}]}]"#);
        let other =
            packages(r#"[{"code":"f","name":"renamed"},{"code":"a","buy_url":"https://go.plesk.com/"}]"#);
        let (feed, list_a) = (packages(PLESK), list(&["a"]));
        assert_eq!(tree.decide(Some(&feed), &list_a), tree.decide(Some(&other), &list_a));
        assert_ne!(tree.decide(Some(&feed), &list_a), tree.decide(Some(&feed), &list(&["b"])));
    }

    #[test]
    fn a_feed_remembers_the_decisions_of_the_lists_that_asked_last() {
        let feed = packages(PLESK);
        let lists: Vec<_> = (0..=Decisions::MAX_COUNT).map(|n| list(&[&n.to_string()])).collect();
        assert_eq!(feed.decided(None, &lists[0]), None);
        for list in &lists {
            let key = feed.decide(None, list);
            assert_eq!(feed.decided(None, list), Some(key));
        }
        assert_eq!(feed.decided(None, &lists[0]), None);
        assert_eq!(feed.decisions.0.read().len(), Decisions::MAX_COUNT);
    }
}
