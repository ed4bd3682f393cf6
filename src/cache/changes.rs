//! What a renewed packages feed brings, compared with the copy before it and with the others of its version.
//!
//! A change counts once two fetches of a key in a row agree about it, for the servers behind the vendor's host name can
//! disagree for a while, and each fetch may reach another one. Until then it is unconfirmed: it is kept with the copy, in
//! memory and on disk, so that a restart between the two fetches loses nothing.
//!
//! A change shows in one copy after the other as they are renewed. It is told once: a package is new when the
//! first key has confirmed it, gone when the last one has, and switched when the first one has the other seller.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::SystemTime;

use serde::Deserialize;
use tokio::time::Instant;

use super::cached_feed::{CachedFeed, Feed, FeedIndex};
use super::refresh::REFRESH_ASKED_WITHIN;
use super::{Inner, Key};
use crate::blocking;
use crate::feed;
use crate::feed::packages::IndexedPackage;
use crate::news::{Change, Kind, Report, SellerName};

/// Longest code that is told about; what is longer is no code.
const MAX_CODE: usize = 256;
/// Most characters of a name that are told.
const MAX_NAME: usize = 200;

/// Most changes of one key that wait for a second fetch, for they are kept with the copy in memory and on disk. Those
/// beyond are told at once, so that none is lost.
const MAX_UNCONFIRMED: usize = 1000;

/// What a fetch shows about the changes of its key.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Comparison {
    /// Version of the vendor's interface.
    api: &'static str,
    /// Changes that this fetch and the one before agree about.
    confirmed: Vec<Change>,
    /// Changes that only this fetch shows.
    unconfirmed: Vec<Change>,
}

/// Confirmed changes of one key, and what is known about the other keys of the version.
#[derive(Debug)]
pub(super) struct Confirmed {
    key: Key,
    api: &'static str,
    changes: Vec<Change>,
    others: Vec<Other>,
}

/// The copy of another key. Its unconfirmed changes count as not there, for that key has yet to tell them.
#[derive(Debug)]
struct Other {
    feed: Arc<Feed>,
    unconfirmed: Arc<[Change]>,
}

impl Inner {
    /// Compares a fetched feed with the copy before, if its changes are to be told and there can be any.
    pub(super) async fn compare(
        &self,
        key: &Key,
        before: Option<&CachedFeed>,
        after: &CachedFeed,
    ) -> Option<Comparison> {
        self.news.as_ref()?;
        let before = before?;
        let api = key.version().filter(|_| key.kind() == feed::FeedKind::Packages)?;
        let unconfirmed = Arc::clone(&before.meta.unconfirmed);
        let changed = before.feed.digest != after.feed.digest;
        if !changed && unconfirmed.is_empty() {
            return None;
        }
        let (before, after) = (Arc::clone(&before.feed), Arc::clone(&after.feed));
        // Large feeds take a while to compare.
        blocking::run(move || Comparison::new(api, &before, &unconfirmed, &after)).await.ok()
    }

    /// Keeps the unconfirmed changes with the new copy and returns the confirmed ones, if there are any.
    ///
    /// Called with [`Inner::order`] held: of two keys that confirm the same change, the second one must see that the
    /// first one has.
    pub(super) fn confirm(
        &self,
        key: &Key,
        comparison: Comparison,
        after: &mut CachedFeed,
        now: Instant,
    ) -> Option<Confirmed> {
        let Comparison { api, confirmed: changes, unconfirmed } = comparison;
        after.meta.unconfirmed = unconfirmed.into();
        if changes.is_empty() {
            return None;
        }
        let mut seen = HashSet::new();
        let of_version = |entry: &super::store::StoredFeed| {
            let same = entry.key.kind() == key.kind() && entry.key.version() == Some(api);
            same && entry.key != *key && entry.asked <= REFRESH_ASKED_WITHIN
        };
        let others = self.store.feeds(now).into_iter().filter(of_version).filter_map(|entry| {
            let CachedFeed { feed, meta } = entry.cached;
            // Keys often share a feed.
            let worth = !meta.unconfirmed.is_empty() || seen.insert(feed.digest);
            worth.then_some(Other { feed, unconfirmed: meta.unconfirmed })
        });
        Some(Confirmed { key: key.clone(), api, changes, others: others.collect() })
    }

    /// Tells what is new, then saves the copy on disk. Whoever waited for the fetch has been served.
    ///
    /// INVARIANT: the copy on disk has these changes as unconfirmed until they are told. A process that ends in between
    /// leaves them to the next one, and the history knows if they were told after all.
    pub(super) async fn tell(&self, confirmed: Confirmed, copy: &CachedFeed) {
        let (key, api, at) = (confirmed.key.clone(), confirmed.api, SystemTime::now());
        let changes = blocking::run(move || confirmed.told()).await.unwrap_or_default();
        if let Some(news) = self.news.as_ref().filter(|_| !changes.is_empty()) {
            news.report(Report { api, at, changes });
        }
        if let Some(disk) = &self.disk {
            disk.save(&key, copy);
        }
    }
}

impl Comparison {
    /// Compares two feeds that were fetched one after the other; `unconfirmed` are the changes that only the first of
    /// them showed. Takes a while for large feeds.
    fn new(api: &'static str, before: &Feed, unconfirmed: &[Change], after: &Feed) -> Self {
        if before.digest == after.digest {
            return Self { api, confirmed: unconfirmed.to_vec(), unconfirmed: Vec::new() };
        }
        let (old, new) = (packages(before), packages(after));
        let seller = |packages: &Packages<'_>, code: &str| packages.get(code).map(|(seller, _)| *seller);
        let (mut confirmed, mut pending) = (Vec::new(), Vec::new());
        for change in unconfirmed {
            let now = seller(&new, &change.code);
            if now == change.seller_after() {
                confirmed.push(change.clone());
            } else {
                // None if the change was taken back: then nothing happened.
                pending.extend(Change::between(
                    &change.code,
                    change.name.clone(),
                    change.seller_before(),
                    now,
                ));
            }
        }
        let known: HashSet<&str> = unconfirmed.iter().map(|change| &*change.code).collect();
        let codes = new.keys().chain(old.keys().filter(|code| !new.contains_key(*code)));
        for code in codes.filter(|code| !known.contains(*code)) {
            let (was, now) = (seller(&old, code), seller(&new, code));
            if was != now {
                let name = match new.get(code) {
                    Some((_, package)) => name(after, package),
                    None => old.get(code).and_then(|(_, package)| name(before, package)),
                };
                pending.extend(Change::between(code, name, was, now));
            }
        }
        sort(&mut pending);
        confirmed.extend(pending.drain(pending.len().min(MAX_UNCONFIRMED)..));
        Self { api, confirmed, unconfirmed: pending }
    }
}

impl Confirmed {
    /// Returns the changes that no other key tells, sorted by kind and code. Takes a while for large feeds.
    fn told(mut self) -> Vec<Change> {
        let mut elsewhere: HashSet<(&str, SellerName)> = HashSet::new();
        for other in &self.others {
            let packages = packages(&other.feed);
            let unconfirmed: HashMap<&str, &Change> =
                other.unconfirmed.iter().map(|change| (&*change.code, change)).collect();
            for Change { code, .. } in &self.changes {
                let seller = match unconfirmed.get(&**code) {
                    Some(change) => change.seller_before(),
                    None => packages.get(&**code).map(|(seller, _)| *seller),
                };
                elsewhere.extend(seller.map(|seller| (&**code, seller)));
            }
        }
        let codes: HashSet<&str> = elsewhere.iter().map(|(code, _)| *code).collect();
        let is_told = |change: &Change| match change.change {
            Kind::New | Kind::Gone => !codes.contains(&*change.code),
            Kind::Switched => !elsewhere.contains(&(&*change.code, change.seller)),
        };
        let told: Vec<bool> = self.changes.iter().map(is_told).collect();
        let mut told = told.into_iter();
        self.changes.retain(|_| told.next().unwrap_or(false));
        sort(&mut self.changes);
        self.changes
    }
}

fn sort(changes: &mut [Change]) {
    changes.sort_unstable_by(|a, b| (a.change, &a.code).cmp(&(b.change, &b.code)));
}

/// The packages of a feed by their codes.
type Packages<'a> = HashMap<&'a str, (SellerName, &'a IndexedPackage)>;

/// Returns the packages by their codes; of two with the same code the last one counts.
fn packages(content: &Feed) -> Packages<'_> {
    let FeedIndex::Packages(index) = &content.index else { return HashMap::new() };
    let packages = index.entries.iter().filter_map(|entry| {
        let code = entry.package.code.as_deref().filter(|code| code.len() <= MAX_CODE)?;
        Some((code, (entry.package.seller.into(), entry)))
    });
    packages.collect()
}

/// Reads a package's name.
fn name(content: &Feed, entry: &IndexedPackage) -> Option<String> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        name: Cow<'a, str>,
    }
    let named: Named<'_> = serde_json::from_slice(content.body.get(entry.span.clone())?).ok()?;
    Some(named.name.chars().take(MAX_NAME).collect())
}

#[cfg(test)]
mod tests {
    use http::uri::PathAndQuery;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample;

    use crate::feed::packages;

    use super::*;

    /// A feed of packages written as `code` (free), `code$` (by Plesk) or `code@` (by a vendor).
    fn content(packages: &str) -> Arc<Feed> {
        let element = |package: &str| {
            let code = package.trim_end_matches(['$', '@']);
            let link = match package.chars().last() {
                Some('$') => "https://go.plesk.com/x",
                Some('@') => "https://shop.example/x",
                _ => "",
            };
            format!(r#"{{"code":"{code}","name":"The {code}","buy_url":"{link}"}}"#)
        };
        let odd = ["1", "{}"].map(str::to_owned);
        let elements: Vec<_> = packages.split_whitespace().map(element).chain(odd).collect();
        let body = format!("[{}]", elements.join(",")).into();
        let index = packages::PackagesIndex::of(&body).expect("a feed");
        Arc::new(Feed::new(body, FeedIndex::Packages(index)))
    }

    /// The copies of some keys, each renewed by fetches of its own.
    #[derive(Default)]
    struct Keys(HashMap<&'static str, (Arc<Feed>, Arc<[Change]>)>);

    impl Keys {
        /// Fetches a feed for a key; returns what is told.
        fn fetch(&mut self, key: &'static str, feed: &str) -> Vec<String> {
            let after = content(feed);
            let Some((before, unconfirmed)) = self.0.remove(key) else {
                self.0.insert(key, (after, Arc::default()));
                return Vec::new();
            };
            let comparison = Comparison::new("v4", &before, &unconfirmed, &after);
            let others = self.0.values().map(|(content, unconfirmed)| Other {
                feed: Arc::clone(content),
                unconfirmed: Arc::clone(unconfirmed),
            });
            let (changes, others) = (comparison.confirmed, others.collect());
            let confirmed = Confirmed { key: packages_key(), api: "v4", changes, others };
            self.0.insert(key, (after, comparison.unconfirmed.into()));
            confirmed.told().into_iter().map(words).collect()
        }
    }

    fn packages_key() -> Key {
        Key::new(feed::FeedKind::Packages, &PathAndQuery::from_static("/api/v4/packages"))
    }

    fn words(change: Change) -> String {
        assert_eq!(change.name, Some(format!("The {}", change.code)));
        let was = change.was.map(|was| format!(" was {}", was.name())).unwrap_or_default();
        format!("{} {} {}{was}", change.change.name(), change.code, change.seller.name())
    }

    #[test]
    fn a_change_is_told_when_two_fetches_agree() {
        // One key; each row is a fetch and what it has told.
        let check = |fetches: &[(&str, &[&str])]| {
            let mut keys = Keys::default();
            for (n, (feed, expected)) in fetches.iter().enumerate() {
                assert_eq!(keys.fetch("key", feed), *expected, "fetch {n} of {fetches:?}");
            }
        };
        check(&[("a b$ c@", &[]), ("c@ b$ a", &[]), ("a b$ c@", &[])]);
        let new = ["new b plesk", "new c vendor", "new d free"];
        check(&[("a", &[]), ("a b$ c@ d", &[]), ("a b$ c@ d", &new), ("a b$ c@ d", &[])]);
        check(&[("a b$", &[]), ("a", &[]), ("a", &["gone b plesk"]), ("a", &[])]);
        check(&[("a", &[]), ("a$", &[]), ("a$", &["switched a plesk was free"])]);
        check(&[("a$", &[]), ("a@", &[]), ("a@", &["switched a vendor was plesk"])]);
        let all = ["new c free", "gone b free", "switched a free was plesk"];
        check(&[("b a$", &[]), ("c a", &[]), ("c a", &all)]);
        // Two servers that disagree have nothing told.
        check(&[("a", &[]), ("a b", &[]), ("a", &[]), ("a b", &[]), ("a", &[]), ("a", &[])]);
        check(&[("a", &[]), ("a$", &[]), ("a", &[]), ("a$", &[]), ("a", &[])]);
        // What they agree about is told all the same.
        check(&[("a", &[]), ("a b c", &[]), ("a c", &["new c free"]), ("a b c", &[]), ("a c", &[])]);
        // A third state needs a second fetch of its own, and is told against what was known before.
        check(&[("a", &[]), ("a$", &[]), ("a@", &[]), ("a@", &["switched a vendor was free"])]);
        check(&[("a", &[]), ("a$", &[]), ("", &[]), ("", &["gone a free"])]);
        check(&[("", &[]), ("a$", &[]), ("a@", &[]), ("a@", &["new a vendor"])]);
        // Of two with one code the last counts; what has no proper code is not told.
        check(&[("a", &[]), ("a a$", &[]), ("a a$", &["switched a plesk was free"])]);
        let long = format!("a {}", "x".repeat(MAX_CODE + 1));
        check(&[("a", &[]), (&long, &[]), (&long, &[])]);
    }

    #[test]
    fn every_change_is_told_by_one_key() {
        let check = |first: &[(&'static str, &str)], fetches: &[(&'static str, &str, &[&str])]| {
            let mut keys = Keys::default();
            for (key, feed) in first {
                keys.fetch(key, feed);
            }
            for (n, (key, feed, expected)) in fetches.iter().enumerate() {
                assert_eq!(keys.fetch(key, feed), *expected, "fetch {n} of {fetches:?} after {first:?}");
            }
        };
        let two = [("one", "a b$"), ("two", "a b$")];
        // Both have seen it before either confirms it: the first to confirm tells what is new, the last what is gone.
        let new: &[&str] = &["new c free"];
        let (gone, switched): (&[&str], &[&str]) = (&["gone b plesk"], &["switched b free was plesk"]);
        check(
            &two,
            &[("one", "a b$ c", &[]), ("two", "a b$ c", &[]), ("one", "a b$ c", new), ("two", "a b$ c", &[])],
        );
        check(&two, &[("one", "a", &[]), ("two", "a", &[]), ("one", "a", &[]), ("two", "a", gone)]);
        check(
            &two,
            &[("one", "a b", &[]), ("two", "a b", &[]), ("two", "a b", switched), ("one", "a b", &[])],
        );
        // One key is renewed twice before the other.
        check(
            &two,
            &[("one", "a b$ c", &[]), ("one", "a b$ c", new), ("two", "a b$ c", &[]), ("two", "a b$ c", &[])],
        );
        check(&two, &[("one", "a", &[]), ("one", "a", &[]), ("two", "a", &[]), ("two", "a", gone)]);
        // A key that had it from its first fetch on.
        check(&[("one", "a"), ("two", "a b")], &[("one", "a b", &[]), ("one", "a b", &[])]);
        check(
            &[("one", "a"), ("two", "b a@")],
            &[("one", "a$", &[]), ("one", "a$", &["switched a plesk was free"])],
        );
    }

    #[test]
    fn what_cannot_wait_is_told_at_once() {
        let many: Vec<String> = (0..=MAX_UNCONFIRMED).map(|n| format!("p{n:04}")).collect();
        let mut keys = Keys::default();
        keys.fetch("key", "");
        assert_eq!(keys.fetch("key", &many.join(" ")), [format!("new p{MAX_UNCONFIRMED} free")]);
        assert_eq!(keys.fetch("key", &many.join(" ")).len(), MAX_UNCONFIRMED);
    }

    proptest! {
        /// The plain rule: a package's state counts when two fetches in a row have it, and is told when it is another
        /// one than the last that counted.
        #[test]
        fn agrees_with_the_plain_rule(fetches in vec(sample::select(&["", "a", "a$", "a@"][..]), 1..12)) {
            let mut keys = Keys::default();
            let mut counts = fetches[0];
            for (n, feed) in fetches.iter().enumerate() {
                let told = keys.fetch("key", feed);
                let agreed = n > 0 && fetches[n - 1] == *feed;
                prop_assert_eq!(told.len(), usize::from(agreed && counts != *feed), "fetch {} of {:?}", n, fetches);
                counts = if agreed { feed } else { counts };
            }
        }
    }

    #[test]
    fn knows_the_odd_elements() {
        assert_eq!(content("a b$").odd(), (1, 1));
    }
}
