//! Two feeds of one key that were fetched one after the other.

use std::collections::HashSet;

use super::KeyChanges;
use super::rename::FoundRenames;
use super::rows::{Packages, name, packages};
use crate::cache::cached_feed::Feed;
use crate::news::{Change, Kind};

/// Most changes of one key that wait for a second fetch, and most renames, for they are kept with the copy in memory and
/// on disk. Those beyond are told at once, so that none is lost.
pub(super) const MAX_UNCONFIRMED: usize = 1000;

/// What a fetch shows about the changes of its key.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cache) struct Comparison {
    /// Version of the vendor's interface.
    pub(super) api: &'static str,
    /// Changes that this fetch and the one before agree about. A rename takes the place of what its codes show.
    pub(super) confirmed: KeyChanges,
    /// Changes that only this fetch shows. A rename stands beside what its codes show.
    pub(super) unconfirmed: KeyChanges,
}

impl Comparison {
    /// Compares two feeds that were fetched one after the other; `unconfirmed` are the changes that only the first of
    /// them showed. Takes a while for large feeds.
    pub(super) fn new(api: &'static str, before: &Feed, unconfirmed: &KeyChanges, after: &Feed) -> Self {
        if before.digest == after.digest {
            let mut confirmed = unconfirmed.clone();
            confirmed.absorb();
            return Self { api, confirmed, unconfirmed: KeyChanges::default() };
        }
        let (old, new) = (packages(before), packages(after));
        let renames = FoundRenames::new((before, &old), unconfirmed, (after, &new));
        let mut confirmed = KeyChanges { by_code: Vec::new(), renames: renames.confirmed };
        let mut pending = KeyChanges { by_code: Vec::new(), renames: renames.unconfirmed };
        let seller = |packages: &Packages<'_>, code: &str| packages.get(code).map(|(seller, _)| *seller);
        let leaving: HashSet<&str> = pending.renames.iter().map(|rename| &*rename.from).collect();
        for change in &unconfirmed.by_code {
            let now = seller(&new, &change.code);
            // A package that is about to have a third code is not gone.
            let waits = change.change == Kind::Gone && leaving.contains(&*change.code);
            if now == change.seller_after() && !waits {
                confirmed.by_code.push(change.clone());
            } else {
                // None if the change was taken back: then nothing happened.
                pending.by_code.extend(Change::between(
                    &change.code,
                    change.name.clone(),
                    change.seller_before(),
                    now,
                ));
            }
        }
        let known: HashSet<&str> = unconfirmed.by_code.iter().map(|change| &*change.code).collect();
        let codes = new.keys().chain(old.keys().filter(|code| !new.contains_key(*code)));
        for code in codes.filter(|code| !known.contains(*code)) {
            let (was, now) = (seller(&old, code), seller(&new, code));
            if was != now {
                let name = match new.get(code) {
                    Some((_, package)) => name(after, package),
                    None => old.get(code).and_then(|(_, package)| name(before, package)),
                };
                pending.by_code.extend(Change::between(code, name, was, now));
            }
        }
        if pending.by_code.len().max(pending.renames.len()) > MAX_UNCONFIRMED {
            // Renames first: a half of what one shows must not wait without the other.
            pending.absorb();
            confirmed.renames.append(&mut pending.renames);
            sort(&mut pending.by_code);
            let kept = pending.by_code.len().min(MAX_UNCONFIRMED);
            confirmed.by_code.extend(pending.by_code.drain(kept..));
        }
        sort(&mut pending.by_code);
        confirmed.absorb();
        Self { api, confirmed, unconfirmed: pending }
    }
}

/// Sorts changes by kind and code.
pub(super) fn sort(changes: &mut [Change]) {
    changes.sort_unstable_by(|a, b| (a.change, &a.code).cmp(&(b.change, &b.code)));
}
