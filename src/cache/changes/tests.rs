use http::uri::PathAndQuery;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample;

use super::comparison::MAX_UNCONFIRMED;
use super::rows::MAX_CODE;
use super::*;
use crate::cache::cached_feed::FeedIndex;
use crate::feed::packages::PackagesIndex;

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
    let index = PackagesIndex::of(&body).expect("a feed");
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
    check(&two, &[("one", "a b", &[]), ("two", "a b", &[]), ("two", "a b", switched), ("one", "a b", &[])]);
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
