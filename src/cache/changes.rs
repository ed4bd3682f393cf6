//! What a renewed packages feed brings, compared with the copy before it and with the others of its version.
//!
//! A change shows in one copy after the other as they are renewed. It is told once: a package is new when the
//! first copy has it, gone when the last one lost it, and switched when the first one has the other seller.

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
use crate::digest::Digest;
use crate::feed;
use crate::feed::packages::IndexedPackage;
use crate::news::{Change, Kind, Report, SellerName};

/// Longest code that is told about; what is longer is no code.
const MAX_CODE: usize = 256;
/// Most characters of a name that are told.
const MAX_NAME: usize = 200;

/// Everything that a comparison takes.
#[derive(Debug)]
pub(super) struct Comparison {
    /// Version of the vendor's interface.
    api: &'static str,
    /// The copy before.
    before: Arc<Feed>,
    /// The renewed one.
    after: Arc<Feed>,
    /// The other copies of the version that are in use, as they were when the renewed one came.
    others: Vec<Arc<Feed>>,
}

impl Inner {
    /// Puts together what it takes to tell what is new, if that is to be told.
    pub(super) fn compare(
        &self,
        key: &Key,
        before: &CachedFeed,
        after: &CachedFeed,
        now: Instant,
    ) -> Option<Comparison> {
        self.news.as_ref()?;
        let api = key.version().filter(|_| key.kind() == feed::FeedKind::Packages)?;
        let of_version = |entry: &super::store::StoredFeed| {
            let same = entry.key.kind() == key.kind() && entry.key.version() == Some(api);
            same && entry.key != *key && entry.asked <= REFRESH_ASKED_WITHIN
        };
        let others = self.store.feeds(now).into_iter().filter(of_version);
        let others: HashMap<Digest, Arc<Feed>> =
            others.map(|entry| (entry.cached.feed.digest, entry.cached.feed)).collect();
        Some(Comparison {
            api,
            before: Arc::clone(&before.feed),
            after: Arc::clone(&after.feed),
            others: others.into_values().collect(),
        })
    }

    /// Tells what is new. Whoever waited for the fetch has been served.
    pub(super) async fn tell(&self, comparison: Comparison) {
        let (api, at) = (comparison.api, SystemTime::now());
        // Large feeds take a while to compare.
        let changes = blocking::run(move || comparison.changes()).await.unwrap_or_default();
        if let Some(news) = self.news.as_ref().filter(|_| !changes.is_empty()) {
            news.report(Report { api, at, changes });
        }
    }
}

impl Comparison {
    /// Finds the changes, sorted by kind and code. Takes a while for large feeds.
    fn changes(&self) -> Vec<Change> {
        let (before, after) = (packages(&self.before), packages(&self.after));
        let others: HashSet<(&str, SellerName)> = self
            .others
            .iter()
            .flat_map(|content| packages(content).into_iter().map(|(code, (seller, _))| (code, seller)))
            .collect();
        let codes: HashSet<&str> = others.iter().map(|(code, _)| *code).collect();
        let arrived = after.iter().filter_map(|(code, (seller, entry))| match before.get(code) {
            None => (!codes.contains(code))
                .then(|| change(Kind::New, code, *seller, None, name(&self.after, entry))),
            Some((was, _)) if was == seller || others.contains(&(*code, *seller)) => None,
            Some((was, _)) => {
                Some(change(Kind::Switched, code, *seller, Some(*was), name(&self.after, entry)))
            }
        });
        let left = before.iter().filter(|(code, _)| !after.contains_key(*code) && !codes.contains(*code));
        let left = left.map(|(code, (seller, entry))| {
            change(Kind::Gone, code, *seller, None, name(&self.before, entry))
        });
        let mut changes: Vec<_> = arrived.chain(left).collect();
        changes.sort_unstable_by(|a, b| (a.change, &a.code).cmp(&(b.change, &b.code)));
        changes
    }
}

/// Returns the packages by their codes; of two with the same code the last one counts.
fn packages(content: &Feed) -> HashMap<&str, (SellerName, &IndexedPackage)> {
    let FeedIndex::Packages(index) = &content.index else { return HashMap::new() };
    let packages = index.entries.iter().filter_map(|entry| {
        let code = entry.package.code.as_deref().filter(|code| code.len() <= MAX_CODE)?;
        Some((code, (entry.package.seller.into(), entry)))
    });
    packages.collect()
}

fn change(
    change: Kind,
    code: &str,
    seller: SellerName,
    was: Option<SellerName>,
    name: Option<String>,
) -> Change {
    Change { change, code: code.to_owned(), name, seller, was, whitelisted: false }
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

    #[test]
    fn every_change_is_told_by_one_copy() {
        let check = |before: &str, after: &str, others: &[&str], expected: &[&str]| {
            let comparison = Comparison {
                api: "v4",
                before: content(before),
                after: content(after),
                others: others.iter().map(|other| content(other)).collect(),
            };
            let told = |change: Change| {
                assert_eq!(change.name, Some(format!("The {}", change.code)));
                let was = change.was.map(|was| format!(" was {}", was.name())).unwrap_or_default();
                format!("{} {} {}{was}", change.change.name(), change.code, change.seller.name())
            };
            let told: Vec<_> = comparison.changes().into_iter().map(told).collect();
            assert_eq!(told, expected, "{before} -> {after} beside {others:?}");
        };
        check("a b$ c@", "c@ b$ a", &[], &[]);
        check("a", "a b$ c@ d", &[], &["new b plesk", "new c vendor", "new d free"]);
        check("a b$", "a", &[], &["gone b plesk"]);
        check("a", "a$", &[], &["switched a plesk was free"]);
        check("a$", "a@", &[], &["switched a vendor was plesk"]);
        check("b a$", "c a", &[], &["new c free", "gone b free", "switched a free was plesk"]);
        check("", "a", &[""], &["new a free"]);
        // The others: the first that has it tells what is new and who sells it now, the last what is gone.
        check("a", "a b", &["a"], &["new b free"]);
        check("a", "a b", &["a b"], &[]);
        check("a b", "a", &["a b"], &[]);
        check("a b", "a", &["a"], &["gone b free"]);
        check("a", "a$", &["a"], &["switched a plesk was free"]);
        check("a", "a$", &["a$"], &[]);
        check("a", "a$", &["b", "a@"], &["switched a plesk was free"]);
        // Of two with one code the last counts; what has no proper code is not told.
        check("a", "a a$", &[], &["switched a plesk was free"]);
        check("a", &format!("a {}", "x".repeat(MAX_CODE + 1)), &[], &[]);
    }

    #[test]
    fn knows_the_odd_elements() {
        assert_eq!(content("a b$").odd(), (1, 1));
    }
}
