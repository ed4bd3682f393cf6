//! Changes by code and by uuid: two fetches of a key, and several keys, against tables and plain rules.

use std::time::{Duration, UNIX_EPOCH};

use http::uri::PathAndQuery;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample;

use super::comparison::MAX_UNCONFIRMED;
use super::rows::MAX_CODE_BYTES;
use super::*;
use crate::cache::cached_feed::{FeedIndex, Meta};
use crate::cache::tests::{Scripted, categories};
use crate::feed::listing::MAX_UUID_BYTES;
use crate::feed::packages::PackagesIndex;
use crate::news::history::History;

/// A feed of packages written as `code` (free), `code$` (by Plesk) or `code@` (by a vendor). A uuid stands between: as
/// in `code#uuid$`, or `code#=json$` for what is no string.
fn content(packages: &str) -> Arc<Feed> {
    let element = |package: &str| {
        let (code, uuid) = match package.trim_end_matches(['$', '@']).split_once('#') {
            None => (package.trim_end_matches(['$', '@']), String::new()),
            Some((code, uuid)) => match uuid.strip_prefix('=') {
                Some(json) => (code, format!(r#""uuid":{json},"#)),
                None => (code, format!(r#""uuid":"{uuid}","#)),
            },
        };
        let link = match package.chars().last() {
            Some('$') => "https://go.plesk.com/x",
            Some('@') => "https://shop.example/x",
            _ => "",
        };
        format!(r#"{{{uuid}"code":"{code}","name":"The {code}","buy_url":"{link}"}}"#)
    };
    let odd = ["1", "{}"].map(str::to_owned);
    let elements: Vec<_> = packages.split_whitespace().map(element).chain(odd).collect();
    let body = format!("[{}]", elements.join(",")).into();
    let index = PackagesIndex::of(&body).expect("a feed");
    Arc::new(Feed::new(body, FeedIndex::Packages(index)))
}

/// The copies of some keys, each renewed by fetches of its own, and what they have told.
struct Keys(HashMap<&'static str, (Arc<Feed>, Arc<KeyChanges>)>, History);

impl Default for Keys {
    fn default() -> Self {
        Self(HashMap::new(), History::open(None))
    }
}

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
        let mut told = confirmed.told();
        told.retain(|change| !self.1.ends_with("v4", change));
        // The time only tells reports apart.
        self.1.push("v4", UNIX_EPOCH + Duration::from_secs(fastrand::u64(..1 << 32)), &told);
        told.into_iter().map(words).collect()
    }
}

fn packages_key() -> Key {
    Key::new(feed::FeedKind::Packages, &PathAndQuery::from_static("/api/v4/packages"))
}

fn words(change: Change) -> String {
    assert_eq!(change.name, Some(format!("The {}", change.code)));
    let was = change.was.map(|was| format!(" was {}", was.name())).unwrap_or_default();
    let old = change.renamed_from.map(|old| format!(" {old} ->")).unwrap_or_default();
    format!("{}{old} {} {}{was}", change.change.name(), change.code, change.seller.name())
}

/// Checks what the fetches of several keys tell, after the first fetch of each.
fn check_keys(first: &[(&'static str, &str)], fetches: &[(&'static str, &str, &[&str])]) {
    let mut keys = Keys::default();
    for (key, feed) in first {
        keys.fetch(key, feed);
    }
    for (n, (key, feed, expected)) in fetches.iter().enumerate() {
        assert_eq!(keys.fetch(key, feed), *expected, "fetch {n} of {fetches:?} after {first:?}");
    }
}

/// Checks what the fetches of one key tell.
fn check_key(fetches: &[(&str, &[&str])]) {
    let mut keys = Keys::default();
    for (n, (feed, expected)) in fetches.iter().enumerate() {
        assert_eq!(keys.fetch("key", feed), *expected, "fetch {n} of {fetches:?}");
    }
}

#[test]
fn a_change_is_told_when_two_fetches_agree() {
    check_key(&[("a b$ c@", &[]), ("c@ b$ a", &[]), ("a b$ c@", &[])]);
    let new = ["new b plesk", "new c vendor", "new d free"];
    check_key(&[("a", &[]), ("a b$ c@ d", &[]), ("a b$ c@ d", &new), ("a b$ c@ d", &[])]);
    check_key(&[("a b$", &[]), ("a", &[]), ("a", &["gone b plesk"]), ("a", &[])]);
    check_key(&[("a", &[]), ("a$", &[]), ("a$", &["switched a plesk was free"])]);
    check_key(&[("a$", &[]), ("a@", &[]), ("a@", &["switched a vendor was plesk"])]);
    let all = ["new c free", "gone b free", "switched a free was plesk"];
    check_key(&[("b a$", &[]), ("c a", &[]), ("c a", &all)]);
    // Two servers that disagree have nothing told.
    check_key(&[("a", &[]), ("a b", &[]), ("a", &[]), ("a b", &[]), ("a", &[]), ("a", &[])]);
    check_key(&[("a", &[]), ("a$", &[]), ("a", &[]), ("a$", &[]), ("a", &[])]);
    // What they agree about is told all the same.
    check_key(&[("a", &[]), ("a b c", &[]), ("a c", &["new c free"]), ("a b c", &[]), ("a c", &[])]);
    // A third state needs a second fetch of its own, and is told against what was known before.
    check_key(&[("a", &[]), ("a$", &[]), ("a@", &[]), ("a@", &["switched a vendor was free"])]);
    check_key(&[("a", &[]), ("a$", &[]), ("", &[]), ("", &["gone a free"])]);
    check_key(&[("", &[]), ("a$", &[]), ("a@", &[]), ("a@", &["new a vendor"])]);
    // Of two with one code the last counts; what has no proper code is not told.
    check_key(&[("a", &[]), ("a a$", &[]), ("a a$", &["switched a plesk was free"])]);
    let long = format!("a {}", "x".repeat(MAX_CODE_BYTES + 1));
    check_key(&[("a", &[]), (&long, &[]), (&long, &[])]);
}

#[test]
fn every_change_is_told_by_one_key() {
    let two = [("one", "a b$"), ("two", "a b$")];
    // Both have seen it before either confirms it: the first to confirm tells what is new, the last what is gone.
    let new: &[&str] = &["new c free"];
    let (gone, switched): (&[&str], &[&str]) = (&["gone b plesk"], &["switched b free was plesk"]);
    check_keys(
        &two,
        &[("one", "a b$ c", &[]), ("two", "a b$ c", &[]), ("one", "a b$ c", new), ("two", "a b$ c", &[])],
    );
    check_keys(&two, &[("one", "a", &[]), ("two", "a", &[]), ("one", "a", &[]), ("two", "a", gone)]);
    check_keys(
        &two,
        &[("one", "a b", &[]), ("two", "a b", &[]), ("two", "a b", switched), ("one", "a b", &[])],
    );
    // One key is renewed twice before the other.
    check_keys(
        &two,
        &[("one", "a b$ c", &[]), ("one", "a b$ c", new), ("two", "a b$ c", &[]), ("two", "a b$ c", &[])],
    );
    check_keys(&two, &[("one", "a", &[]), ("one", "a", &[]), ("two", "a", &[]), ("two", "a", gone)]);
    // A key that had it from its first fetch on.
    check_keys(&[("one", "a"), ("two", "a b")], &[("one", "a b", &[]), ("one", "a b", &[])]);
    check_keys(
        &[("one", "a"), ("two", "b a@")],
        &[("one", "a$", &[]), ("one", "a$", &["switched a plesk was free"])],
    );
}

#[tokio::test(start_paused = true)]
async fn the_other_keys_of_the_version_are_those_in_use_each_feed_once() {
    let cache = Scripted::default().cache();
    let changes = Comparison::new("v4", &content("a"), &KeyChanges::default(), &content("a b")).unconfirmed;
    let copy = |feed: &str, unconfirmed: &KeyChanges| CachedFeed {
        feed: content(feed),
        meta: Meta { unconfirmed: Arc::new(unconfirmed.clone()), ..Meta::bare() },
    };
    let keep = |key: Key, copy: CachedFeed| drop(cache.0.store.insert(&key, copy, Instant::now()));
    let packages = |version: &str, query| Key::of(feed::FeedKind::Packages, version, Some(query));
    let none = KeyChanges::default();
    keep(packages("4", "unused"), copy("unused", &none));
    tokio::time::advance(REFRESH_ASKED_WITHIN + Duration::from_secs(1)).await;
    keep(packages("4", "own"), copy("own", &none));
    keep(packages("5", "other version"), copy("other", &none));
    keep(Key::of(feed::FeedKind::Categories, "4", None), categories("[]"));
    keep(packages("4", "1"), copy("a", &none));
    keep(packages("4", "2"), copy("a", &none));
    // What it has yet to tell counts, though another one has its feed.
    keep(packages("4", "3"), copy("a", &changes));
    let comparison = Comparison { api: "v4", confirmed: changes, unconfirmed: none.clone() };
    let mut after = copy("own", &none);
    let confirmed = cache.0.confirm(&packages("4", "own"), comparison, &mut after, Instant::now());
    let others = confirmed.expect("changes").others;
    let others: Vec<_> = others.iter().map(|other| (other.feed.digest, other.unconfirmed.len())).collect();
    let digest = content("a").digest;
    assert_eq!(others, [(digest, 0), (digest, 1)]);
}

#[test]
fn what_cannot_wait_is_told_at_once() {
    let many: Vec<String> = (0..=MAX_UNCONFIRMED).map(|n| format!("p{n:04}")).collect();
    let mut keys = Keys::default();
    keys.fetch("key", "");
    assert_eq!(keys.fetch("key", &many.join(" ")), [format!("new p{MAX_UNCONFIRMED} free")]);
    assert_eq!(keys.fetch("key", &many.join(" ")).len(), MAX_UNCONFIRMED);
}

#[test]
fn a_package_with_another_code_is_renamed() {
    // From one feed to another.
    let told = |before: &str, after: &str, expected: &[&str]| {
        check_key(&[(before, &[]), (after, &[]), (after, expected), (after, &[]), (after, &[])]);
        // Something else changes between the two fetches.
        let (later, after) = (format!("{after} other"), format!("other {after}"));
        check_key(&[(&format!("{before} other"), &[]), (&later, &[]), (&after, expected), (&after, &[])]);
    };
    told("a#u", "b#u", &["renamed a -> b free"]);
    told("a#u c", "c b#u", &["renamed a -> b free"]);
    told("a#u$", "b#u@", &["renamed a -> b vendor was plesk"]);
    told("a#u b#v", "c#u d#v", &["renamed a -> c free", "renamed b -> d free"]);
    told("a#u b#v", "c#u d#w", &["new d free", "gone b free", "renamed a -> c free"]);
    // Swapped codes, with and without their sellers; codes that go round; a code that another package takes.
    told("a#u b#v", "a#v b#u", &["renamed b -> a free", "renamed a -> b free"]);
    told("a#u b#v$", "a#v$ b#u", &["renamed b -> a plesk", "renamed a -> b free"]);
    told("a#u b#v$", "a#v b#u$", &["renamed b -> a free was plesk", "renamed a -> b plesk was free"]);
    told("a#u b#v", "b#u c#v", &["renamed a -> b free", "renamed b -> c free"]);
    told(
        "a#u b#v$ c#w",
        "b#u c#v$ a#w",
        &["renamed c -> a free", "renamed a -> b free", "renamed b -> c plesk"],
    );
    told("a#u", "b#u a#v", &["renamed a -> b free"]);
    told("a#u", "b#u a#v$", &["switched a plesk was free", "renamed a -> b free"]);
    told("a#u b#v", "b#u", &["renamed a -> b free"]);
    told("a#u b#v$", "b#u", &["renamed a -> b free"]);
    // A code that moves to another uuid is the code that it was.
    told("a#u", "a#v", &[]);
    told("a#u", "a#v$", &["switched a plesk was free"]);
    told("a#u", "a", &[]);
    told("a", "a#u", &[]);
    // A uuid is the same in any case and with blanks around it; the nil UUID and what is no string are none.
    told("a#00d002A7", "b#00D002a7", &["renamed a -> b free"]);
    told(r#"a#="\tu""#, "b#u", &["renamed a -> b free"]);
    let uuid = "u".repeat(MAX_UUID_BYTES);
    told(&format!("a#{uuid}"), &format!("b#{uuid}"), &["renamed a -> b free"]);
    let nothing = &["new b free", "gone a free"];
    for uuid in ["", "=null", "=7", "=[\"u\"]", "=true", "00000000-0000", &format!("{uuid}u"), "=\"\\t\""] {
        told(&format!("a#{uuid}"), &format!("b#{uuid}"), nothing);
    }
    told("a", "b", nothing);
    told("a#u", "b", nothing);
    told("a", "b#u", nothing);
    told("a#u", "b#v", nothing);
    // A uuid that several codes have identifies none; one row twice is one row, and of two rows with a code the last
    // counts.
    told("a#u c#u", "b#u c#u", nothing);
    told("a#u", "b#u c#u", &["new b free", "new c free", "gone a free"]);
    told("a#u c#u", "b#u", &["new b free", "gone a free", "gone c free"]);
    told("a#u a#u", "b#u b#u", &["renamed a -> b free"]);
    told("a#u a#v", "b#u a#v", &["new b free"]);
    told("a#u a#v", "b#v", &["renamed a -> b free"]);
    let long = "x".repeat(MAX_CODE_BYTES + 1);
    told("a#u", &format!("{long}#u"), &["gone a free"]);
    told(&format!("{long}#u"), "a#u", &["new a free"]);
}

#[test]
fn a_rename_is_told_when_two_fetches_agree() {
    // Two servers that disagree have nothing told.
    check_key(&[("a#u", &[]), ("b#u", &[]), ("a#u", &[]), ("b#u", &[]), ("a#u", &[]), ("a#u", &[])]);
    check_key(&[("a#u b#v", &[]), ("a#v b#u", &[]), ("a#u b#v", &[]), ("b#v a#u", &[])]);
    // A third code or seller needs a second fetch of its own, and is told against what was known before.
    let (renamed, with_seller) = (&["renamed a -> c free"], &["renamed a -> b plesk was free"]);
    check_key(&[("a#u", &[]), ("b#u", &[]), ("c#u", &[]), ("c#u", renamed), ("c#u", &[])]);
    check_key(&[("a#u", &[]), ("b#u", &[]), ("c#u", &[]), ("b#u", &[]), ("c#u", &[]), ("c#u", renamed)]);
    check_key(&[("a#u", &[]), ("b#u", &[]), ("b#u$", &[]), ("b#u$", with_seller), ("b#u$", &[])]);
    check_key(&[("a#u", &[]), ("a#u$", &[]), ("b#u$", &[]), ("b#u$", with_seller), ("b#u$", &[])]);
    check_key(&[("a#u", &[]), ("b#u", &[]), ("", &["gone a free"]), ("", &[])]);
    check_key(&[("a#u", &[]), ("b#u", &[]), ("b", &["new b free", "gone a free"]), ("b", &[])]);
    // What never counted was never called so.
    check_key(&[("", &[]), ("a#u", &[]), ("b#u", &[]), ("b#u", &["new b free"]), ("b#u", &[])]);
    // There and back again.
    let (there, back) = (&["renamed a -> b free"], &["renamed b -> a free"]);
    check_key(&[
        ("a#u", &[]),
        ("b#u", &[]),
        ("b#u", there),
        ("a#u", &[]),
        ("a#u", back),
        ("b#u", &[]),
        ("b#u", there),
    ]);
    // Both codes for a while: the new one is new, and then the old one is gone.
    let (new, gone) = (&["new b free"], &["gone a free"]);
    check_key(&[("a#u", &[]), ("a#u b#u", &[]), ("a#u b#u", new), ("b#u", &[]), ("b#u", gone)]);
}

#[test]
fn a_rename_is_told_once_whatever_keys_see_it() {
    let told: &[&str] = &["renamed a -> b free"];
    let both = [("one", "a#u"), ("two", "a#u")];
    let (one, two) = (("one", "b#u", &[][..]), ("two", "b#u", &[][..]));
    check_keys(&both, &[one, two, ("one", "b#u", told), two, one, two]);
    check_keys(&both, &[one, ("one", "b#u", told), two, two, two]);
    check_keys(&both, &[one, two, ("two", "b#u", told), one]);
    // The other key changes its seller between.
    let switched: &[&str] = &["switched b plesk was free"];
    check_keys(
        &both,
        &[one, ("one", "b#u", told), ("one", "b#u$", &[]), ("one", "b#u$", switched), two, two],
    );
    // One key had the new code from its first fetch on, so nobody has told it.
    check_keys(&[("one", "b#u"), ("two", "a#u")], &[two, ("two", "b#u", told), one]);
    // One key loses the package, or has no uuids.
    check_keys(&both, &[one, ("one", "b#u", told), ("two", "", &[]), ("two", "", &[])]);
    check_keys(
        &[("one", "a#u"), ("two", "a")],
        &[one, ("one", "b#u", told), ("two", "b", &[]), ("two", "b", &[])],
    );
    // Swapped codes.
    let swapped: &[&str] = &["renamed b -> a free", "renamed a -> b free"];
    let (both, swap) = ([("one", "a#u b#v"), ("two", "a#u b#v")], "a#v b#u");
    check_keys(&both, &[("one", swap, &[]), ("one", swap, swapped), ("two", swap, &[]), ("two", swap, &[])]);
}

#[test]
fn renames_that_cannot_wait_are_told_at_once() {
    let feed = |prefix: &str, count: usize| -> String {
        (0..count).map(|n| format!("{prefix}{n:04}#u{n} ")).collect()
    };
    let mut keys = Keys::default();
    // Gone and new ones beside each rename, so that half as many are too many.
    let count = MAX_UNCONFIRMED / 2 + 1;
    keys.fetch("key", &feed("a", count));
    let told = keys.fetch("key", &feed("b", count));
    assert_eq!((told.len(), &*told[7]), (count, "renamed a0007 -> b0007 free"));
    assert!(keys.0["key"].1.is_empty(), "nothing of them waits");
    assert_eq!(keys.fetch("key", &feed("b", count)), [""; 0]);
    assert_eq!(keys.fetch("key", &feed("c", count - 2)), [""; 0]);
    let told = keys.fetch("key", &feed("c", count - 2));
    assert_eq!((told.len(), &*told[0], &*told[2]), (count, "gone b0499 free", "renamed b0000 -> c0000 free"));
}

proptest! {
    /// The plain rule for one uuid: a code's seller counts when two fetches in a row have it. A code that the package
    /// left for another one, without being away in between, is where it was renamed from once the other one counts.
    #[test]
    fn renames_agree_with_the_plain_rule(
        fetches in vec(sample::select(&["", "a#u", "a#u$", "b#u", "b#u$", "c#u@"][..]), 1..12),
    ) {
        let package = |feed: &'static str| feed.split_once("#u");
        let seller = |mark: &str| match mark { "$" => "plesk", "@" => "vendor", _ => "free" };
        let mut keys = Keys::default();
        keys.fetch("key", fetches[0]);
        let mut counted: HashMap<&str, &str> = package(fetches[0]).into_iter().collect();
        let mut left: Option<(&str, &str)> = None;
        for (n, pair) in fetches.windows(2).enumerate() {
            let (before, after) = (package(pair[0]), package(pair[1]));
            left = match (left, before, after) {
                (None, Some((old, _)), Some((new, _))) if old != new => counted.get_key_value(old).map(|(c, s)| (*c, *s)),
                (Some((old, _)), Some(_), Some((new, _))) if old != new => left,
                _ => None,
            };
            let renamed = left.zip(after.filter(|_| before == after));
            let mut expected = Vec::new();
            if let Some(((old, was), (new, is))) = renamed {
                let was = if was == is { String::new() } else { format!(" was {}", seller(was)) };
                expected.push(format!("renamed {old} -> {new} {}{was}", seller(is)));
            }
            for code in ["a", "b", "c"] {
                let mark = |package: Option<(&str, &'static str)>| package.filter(|(c, _)| *c == code).map(|(_, m)| m);
                let (is, was) = (mark(after), counted.get(code).copied());
                let waits = renamed.is_none() && left.is_some_and(|(old, _)| old == code);
                if mark(before) != is || is == was || waits {
                    continue;
                }
                match is {
                    Some(mark) => counted.insert(code, mark),
                    None => counted.remove(code),
                };
                match (was, is) {
                    _ if renamed.is_some_and(|((old, _), (new, _))| old == code || new == code) => {}
                    (None, Some(is)) => expected.push(format!("new {code} {}", seller(is))),
                    (Some(was), None) => expected.push(format!("gone {code} {}", seller(was))),
                    (Some(was), Some(is)) => {
                        expected.push(format!("switched {code} {} was {}", seller(is), seller(was)));
                    }
                    (None, None) => {}
                }
            }
            left = left.filter(|_| renamed.is_none());
            let mut told = keys.fetch("key", pair[1]);
            told.sort();
            expected.sort();
            prop_assert_eq!(told, expected, "fetch {} of {:?}", n + 1, fetches);
        }
    }

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
fn a_rename_weighs_what_its_texts_do() {
    let text = |len: usize| "x".repeat(len);
    let seller = crate::news::SellerName::Free;
    let (uuid, from, to, name) = (text(1), text(10), text(100), Some(text(1000)));
    let rename = Rename { uuid, from, seller_before: seller, to, seller, name };
    let weight = size_of::<Rename>() + 1111;
    assert_eq!(rename.weight(), weight);
    let changes = KeyChanges { renames: vec![rename.clone(), rename], ..KeyChanges::default() };
    assert_eq!(changes.weight(), 2 * weight);
}

#[test]
fn knows_the_odd_elements() {
    assert_eq!(content("a b$").odd(), (1, 1));
}
