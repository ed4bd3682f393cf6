//! Two feeds of one key that were fetched one after the other.

use std::collections::HashSet;

use super::rows::{Packages, name, packages};
use crate::cache::cached_feed::Feed;
use crate::news::Change;

/// Most changes of one key that wait for a second fetch, for they are kept with the copy in memory and on disk. Those
/// beyond are told at once, so that none is lost.
pub(super) const MAX_UNCONFIRMED: usize = 1000;

/// What a fetch shows about the changes of its key.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cache) struct Comparison {
    /// Version of the vendor's interface.
    pub(super) api: &'static str,
    /// Changes that this fetch and the one before agree about.
    pub(super) confirmed: Vec<Change>,
    /// Changes that only this fetch shows.
    pub(super) unconfirmed: Vec<Change>,
}

impl Comparison {
    /// Compares two feeds that were fetched one after the other; `unconfirmed` are the changes that only the first of
    /// them showed. Takes a while for large feeds.
    pub(super) fn new(api: &'static str, before: &Feed, unconfirmed: &[Change], after: &Feed) -> Self {
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

/// Sorts changes by kind and code.
pub(super) fn sort(changes: &mut [Change]) {
    changes.sort_unstable_by(|a, b| (a.change, &a.code).cmp(&(b.change, &b.code)));
}
