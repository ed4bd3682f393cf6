//! Views: feeds as a policy shows them, named by what it decides.
//!
//! A view's key is the digest of its feed and the digest of the decision. Policies, days and kinds of views that decide
//! the same share one view with its encodings and ETags, so an edit that changes nothing makes nothing.

use std::collections::{HashSet, VecDeque};

use bytes::Bytes;
use http::HeaderValue;
use parking_lot::RwLock;

use super::cached_feed::{Feed, FeedIndex};
use super::encode::Encoding;
use crate::digest::Digest;
use crate::feed::package::Package;
use crate::policy::{ViewKind, ViewRules};
use crate::shops::MAX_SHOPS;

/// What leaves: a feed as a policy shows it.
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

/// What rules decide for a packages feed and one kind of view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Decision {
    /// Digest of which elements are shown: it decides the view of the feed itself.
    elements: Digest,
    /// Digest of the codes that are shown: it decides the view of a categories feed.
    codes: Digest,
}

/// Identifies what decides: the digest of the rules and the kind of view.
type Decider = (Digest, ViewKind);

/// The decisions that were asked for last.
#[derive(Debug, Default)]
pub(super) struct Decisions(RwLock<VecDeque<(Decider, Decision)>>);

impl Decisions {
    /// Most decisions that a feed remembers: two views for each shop and the one at `/`. One that is forgotten costs the
    /// next request a walk over the feed.
    const MAX_COUNT: usize = 2 * (MAX_SHOPS + 1);
    /// What they take in memory, in bytes.
    pub(super) const MAX_WEIGHT: usize = Self::MAX_COUNT * size_of::<(Decider, Decision)>();

    fn get(&self, rules: &ViewRules) -> Option<Decision> {
        let decider = (rules.rules.digest, rules.kind);
        self.0.read().iter().find(|(of, _)| *of == decider).map(|(_, decision)| *decision)
    }

    fn insert(&self, rules: &ViewRules, decision: Decision) {
        let mut decisions = self.0.write();
        decisions.truncate(Self::MAX_COUNT - 1);
        decisions.push_front(((rules.rules.digest, rules.kind), decision));
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
    /// Returns the key of the view if that was decided before. See [`Feed::view`].
    pub(super) fn decided(&self, packages: Option<&Self>, rules: &ViewRules) -> Option<ViewKey> {
        let decisions = &packages.unwrap_or(self).decisions;
        Some(self.view_key(packages, decisions.get(rules)?))
    }

    /// Decides what a view shows, and returns its key. Takes a while for large feeds.
    pub(super) fn decide(&self, packages: Option<&Self>, rules: &ViewRules) -> ViewKey {
        let decider = packages.unwrap_or(self);
        let decision = decider.decisions.get(rules).unwrap_or_else(|| {
            let decision = decider.decision(rules);
            decider.decisions.insert(rules, decision);
            decision
        });
        self.view_key(packages, decision)
    }

    fn view_key(&self, packages: Option<&Self>, decision: Decision) -> ViewKey {
        let decision = if packages.is_some() { decision.codes } else { decision.elements };
        ViewKey { feed: self.digest, decision }
    }

    fn decision(&self, rules: &ViewRules) -> Decision {
        let elements: Vec<u8> = match &self.index {
            FeedIndex::Packages(index) => {
                index.entries.iter().map(|entry| u8::from(shows(rules, &entry.package))).collect()
            }
            // On its own a categories feed shows no package at all, whatever the rules say.
            FeedIndex::Categories(_) => Vec::new(),
        };
        let mut codes: Vec<&str> = self.shown(rules).into_iter().collect();
        codes.sort_unstable();
        Decision {
            elements: Digest::of(&elements),
            codes: Digest::of_parts(codes.into_iter().map(str::as_bytes)),
        }
    }

    /// Makes the view of the feed.
    ///
    /// A categories feed keeps the top packages that `packages` shows; without one it keeps none.
    pub fn view(&self, packages: Option<&Self>, rules: &ViewRules) -> View {
        let body = match &self.index {
            FeedIndex::Packages(index) => index.filter(&self.body, |package| shows(rules, package)),
            FeedIndex::Categories(index) => {
                let shown = packages.map(|packages| packages.shown(rules)).unwrap_or_default();
                index.filter(&self.body, |code| shown.contains(code))
            }
        };
        View::new(body)
    }

    /// Returns the codes of the packages that a view shows.
    fn shown(&self, rules: &ViewRules) -> HashSet<&str> {
        let FeedIndex::Packages(index) = &self.index else { return HashSet::new() };
        let shown = index.entries.iter().filter(|entry| shows(rules, &entry.package));
        shown.filter_map(|entry| entry.package.code.as_deref()).collect()
    }
}

fn shows(rules: &ViewRules, package: &Package) -> bool {
    rules.show(package.code.as_deref(), package.seller)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::feed::{categories, packages};
    use crate::policy::{Day, HostsKey, Policy, Verdict, model};
    use crate::seller::Seller;

    fn packages(body: &'static str) -> Feed {
        let body = Bytes::from(body);
        let index = packages::PackagesIndex::of(&body).expect("a feed");
        Feed::new(body, FeedIndex::Packages(index))
    }

    fn categories(body: &str) -> Feed {
        let mut indexer = categories::CategoriesIndexer::default();
        indexer.push(body.as_bytes()).expect("a feed");
        let (body, index) = indexer.finish().expect("a feed");
        Feed::new(body.into(), FeedIndex::Categories(index))
    }

    fn list(codes: &[&str]) -> ViewRules {
        ViewRules::of_text(&format!("extensions = {codes:?}"), ViewKind::Shop)
    }

    const PLESK: &str = r#"[{"code":"a","buy_url":"https://go.plesk.com/a"},
        {"code":"b","buy_url":"https://go.plesk.com/b"},{"code":"f"}]"#;

    #[test]
    fn a_view_weighs_its_body_and_has_an_etag_for_each_coding() {
        let view = View::new(vec![b'x'; 1000]);
        let digest = view.digest;
        let etags = [None, Some(Encoding::Zstd), Some(Encoding::Gzip), Some(Encoding::Brotli)];
        let etags = etags.map(|encoding| view.etag(encoding).clone());
        let expected = ["", "-zstd", "-gzip", "-br"].map(|coding| format!("\"{digest}{coding}\""));
        assert_eq!(etags, expected);
        let texts: usize = expected.iter().map(String::len).sum();
        assert_eq!(view.weight(), size_of::<View>() + texts + 1000);
    }

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
    fn views_of_both_kinds_share_what_is_equal() {
        let feed = packages(PLESK);
        let rules = |text: &str, kind| ViewRules::of_text(text, kind);
        let key = |text: &str, kind| feed.decide(None, &rules(text, kind));
        let (plain, retired) = ("extensions = [\"a\"]", "extensions = [\"a\"]\nretired = [\"b\"]");
        assert_eq!(key(plain, ViewKind::Shop), key(plain, ViewKind::Update));
        // An edit of what is retired changes the update view alone.
        assert_eq!(key(plain, ViewKind::Shop), key(retired, ViewKind::Shop));
        assert_ne!(key(plain, ViewKind::Update), key(retired, ViewKind::Update));
        let body = |kind| feed.view(None, &rules(retired, kind)).body;
        assert_eq!(body(ViewKind::Update), feed.body);
        assert!(!body(ViewKind::Shop).windows(3).any(|bytes| bytes == b"\"b\""));
        // Categories show what the shop view of the packages shows.
        let tree = categories(r#"[{"top_packages":[{"code":"a"},{"code":"b"}]}]"#);
        let view = tree.view(Some(&feed), &rules(retired, ViewKind::Shop)).body;
        assert_eq!(view, r#"[{"top_packages":[{"code":"a"}]}]"#);
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

    /// Element of a made-up feed as it is written, with what it is judged by.
    type Element = (String, Option<String>, Seller);

    fn element((code, kind, blanks): (String, usize, usize)) -> Element {
        let (seller, link) = match kind % 3 {
            0 => (Seller::Free, "null"),
            1 => (Seller::Vendor, r#""https:\/\/shop.example\/?to=go.plesk.com""#),
            _ => (Seller::Plesk, r#""https:\/\/go.plesk.com\/x""#),
        };
        let code = (kind < 9).then_some(code);
        let member = code.as_ref().map(|code| format!(r#""code" :"{code}", "#)).unwrap_or_default();
        (format!(r#"{{{}{member}"n":1.0e0,"buy_url":{link}}}"#, " ".repeat(blanks)), code, seller)
    }

    proptest::proptest! {
        #[test]
        fn a_view_is_what_the_model_keeps(
            lines in model::lines(),
            retire_unlisted: bool,
            elements in proptest::collection::vec(("[ab]{0,4}", 0..12usize, 0..3usize), 0..12),
            number in 1..12u32,
        ) {
            let text = model::write(&lines, retire_unlisted);
            let Ok((policy, _)) = Policy::parse(text.as_bytes(), HostsKey::Refused) else { return Ok(()) };
            let day = Day::parse(&format!("2026-12-{number:02}")).expect("a day");
            let rules = Arc::new(policy.on(day));
            let elements: Vec<_> = elements.into_iter().map(element).collect();
            let array = |elements: Vec<&str>| format!("[{}]", elements.join(" ,"));
            let body = Bytes::from(array(elements.iter().map(|(json, ..)| json.as_str()).collect()));
            let index = packages::PackagesIndex::of(&body).expect("a feed");
            let feed = Feed::new(body.clone(), FeedIndex::Packages(index));
            for (kind, kept) in [
                (ViewKind::Shop, &[Verdict::Shown][..]),
                (ViewKind::Update, &[Verdict::Shown, Verdict::Retired]),
            ] {
                let is_kept = |(_, code, seller): &&Element| {
                    kept.contains(&model::verdict(&lines, retire_unlisted, code.as_deref(), *seller, number))
                };
                let shown: Vec<_> = elements.iter().filter(is_kept).collect();
                let rules = ViewRules { rules: Arc::clone(&rules), kind };
                let view = feed.view(None, &rules).body;
                // Separators between what is kept are the feed's own, or a comma.
                let squeezed = |text: &str| text.replace(" ,", ",");
                let expected = array(shown.iter().map(|(json, ..)| json.as_str()).collect());
                proptest::prop_assert_eq!(
                    squeezed(std::str::from_utf8(&view).expect("UTF-8")), squeezed(&expected), "{}", text
                );
                if shown.len() == elements.len() {
                    proptest::prop_assert_eq!(&view, &body);
                }
                // Categories show what the shop view does.
                let codes: std::collections::BTreeSet<_> = shown.iter().filter_map(|(_, code, _)| code.as_deref()).collect();
                let tree = categories_of(elements.iter().filter_map(|(_, code, _)| code.as_deref()));
                let view = tree.view(Some(&feed), &rules).body;
                let view: serde_json::Value = serde_json::from_slice(&view).expect("JSON");
                let left = view[0]["top_packages"].as_array().expect("an array");
                let expected: Vec<_> =
                    elements.iter().filter_map(|(_, code, _)| code.as_deref()).filter(|code| codes.contains(code)).collect();
                proptest::prop_assert_eq!(left.iter().map(|package| package["code"].as_str().expect("a code")).collect::<Vec<_>>(), expected);
            }
        }
    }

    fn categories_of<'a>(codes: impl Iterator<Item = &'a str>) -> Feed {
        let packages: Vec<_> = codes.map(|code| format!(r#"{{"code":"{code}"}}"#)).collect();
        categories(&format!(r#"[{{"top_packages":[{}]}}]"#, packages.join(",")))
    }
}
