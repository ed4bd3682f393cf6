//! What a renewed packages feed brings, compared with the copy before it and with the others of its version.
//!
//! A change counts once two fetches of a key in a row agree about it, for the servers behind the vendor's host name can
//! disagree for a while, and each fetch may reach another one. Until then it is unconfirmed: it is kept with the copy, in
//! memory and on disk, so that a restart between the two fetches loses nothing.
//!
//! A change shows in one copy after the other as they are renewed. It is told once: a package is new when the
//! first key has confirmed it, gone when the last one has, and switched when the first one has the other seller. It is
//! renamed when the first key has its uuid under the other code, or, if that was so before anybody looked, when the last
//! one has lost the old code.

mod comparison;
mod key_changes;
mod rename;
mod rows;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use tokio::time::Instant;

use super::cached_feed::{CachedFeed, Feed};
use super::refresh::REFRESH_ASKED_WITHIN;
use super::{Inner, Key};
use crate::blocking;
use crate::feed;
use crate::news::{Change, Kind, Report};
use crate::wall_clock;
pub(super) use comparison::Comparison;
use comparison::sort;
pub(super) use key_changes::KeyChanges;
pub(super) use rename::Rename;
use rows::{packages, uuid};

/// Confirmed changes of one key, and what is known about the other keys of the version.
#[derive(Debug)]
pub(super) struct Confirmed {
    key: Key,
    api: &'static str,
    changes: KeyChanges,
    others: Vec<Other>,
}

/// The copy of another key. Its unconfirmed changes count as not there, for that key has yet to tell them.
#[derive(Debug)]
struct Other {
    feed: Arc<Feed>,
    unconfirmed: Arc<KeyChanges>,
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
        let (key, api, at) = (confirmed.key.clone(), confirmed.api, wall_clock::now());
        let changes = blocking::run(move || confirmed.told()).await.unwrap_or_default();
        if let Some(news) = self.news.as_ref().filter(|_| !changes.is_empty()) {
            news.report(Report { api, at, changes });
        }
        if let Some(disk) = &self.disk {
            disk.save(&key, copy);
        }
    }
}

impl Confirmed {
    /// Returns the changes that no other key tells, sorted by kind and code. Takes a while for large feeds.
    ///
    /// The last key that loses an old code returns the rename again, which an earlier key may have told: the history
    /// sorts that out.
    fn told(self) -> Vec<Change> {
        let KeyChanges { by_code, renames } = self.changes;
        // Codes with their sellers, and uuids that have the new code already.
        let (mut elsewhere, mut renamed) = (HashSet::new(), HashSet::new());
        for other in &self.others {
            let packages = packages(&other.feed);
            let unconfirmed: HashMap<&str, &Change> =
                other.unconfirmed.by_code.iter().map(|change| (&*change.code, change)).collect();
            let codes = by_code.iter().map(|change| &change.code);
            for code in codes.chain(renames.iter().map(|rename| &rename.from)) {
                let seller = match unconfirmed.get(&**code) {
                    Some(change) => change.seller_before(),
                    None => packages.get(&**code).map(|(seller, _)| *seller),
                };
                elsewhere.extend(seller.map(|seller| (&**code, seller)));
            }
            let unconfirmed: HashSet<(&str, &str)> =
                other.unconfirmed.renames.iter().map(|rename| (&*rename.uuid, &*rename.to)).collect();
            renamed.extend(renames.iter().map(|rename| (&*rename.uuid, &*rename.to)).filter(
                |of @ (_, to)| {
                    let package = packages.get(to).filter(|_| !unconfirmed.contains(of));
                    package.and_then(|(_, package)| uuid(&other.feed, package)).as_deref() == Some(of.0)
                },
            ));
        }
        let codes: HashSet<&str> = elsewhere.iter().map(|(code, _)| *code).collect();
        let is_told = |change: &&Change| match change.change {
            Kind::New | Kind::Gone => !codes.contains(&*change.code),
            Kind::Switched | Kind::Renamed => !elsewhere.contains(&(&*change.code, change.seller)),
        };
        let is_first_or_last = |rename: &&Rename| {
            !renamed.contains(&(&*rename.uuid, &*rename.to)) || !codes.contains(&*rename.from)
        };
        let mut told: Vec<Change> = by_code.iter().filter(is_told).cloned().collect();
        told.extend(renames.iter().filter(is_first_or_last).cloned().map(Change::from));
        sort(&mut told);
        told
    }
}

#[cfg(test)]
mod tests;
