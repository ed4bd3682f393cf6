//! Packages that have another code under the same uuid.
//!
//! What holds for a code's seller holds for a uuid's code: it counts once two fetches in a row agree. A uuid that
//! several codes of a feed have identifies none of them.

use std::collections::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use super::KeyChanges;
use super::rows::{Packages, codes_by_uuid, name};
use crate::cache::cached_feed::Feed;
use crate::news::{Change, Kind, SellerName};

/// A package whose code has changed, with its seller before and after, and its name after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rename {
    /// Its uuid, as it is compared.
    pub uuid: String,
    pub from: String,
    pub seller_before: SellerName,
    pub to: String,
    pub seller: SellerName,
    pub name: Option<String>,
}

impl Rename {
    /// Returns the approximate size in memory, in bytes.
    pub(super) fn weight(&self) -> usize {
        let texts = [&self.uuid, &self.from, &self.to].map(String::len).iter().sum::<usize>();
        size_of::<Self>() + texts + self.name.as_ref().map_or(0, String::len)
    }
}

impl From<Rename> for Change {
    fn from(rename: Rename) -> Self {
        Self {
            change: Kind::Renamed,
            code: rename.to,
            renamed_from: Some(rename.from),
            name: rename.name,
            seller: rename.seller,
            was: Some(rename.seller_before).filter(|before| *before != rename.seller),
            whitelisted: false,
            shops: Vec::new(),
        }
    }
}

/// Renames that a comparison of two feeds finds.
#[derive(Debug, Default)]
pub(super) struct FoundRenames {
    pub(super) confirmed: Vec<Rename>,
    pub(super) unconfirmed: Vec<Rename>,
}

impl FoundRenames {
    /// Compares the uuids of two feeds that were fetched one after the other; `unconfirmed` are the changes that only
    /// the first of them showed.
    pub(super) fn new(
        (before, old): (&Feed, &Packages<'_>),
        unconfirmed: &KeyChanges,
        (after, new): (&Feed, &Packages<'_>),
    ) -> Self {
        let (old_codes, new_codes) = (codes_by_uuid(before, old), codes_by_uuid(after, new));
        let now = |uuid: &str| {
            let code = (*new_codes.get(uuid)?)?;
            let (seller, package) = new.get(code)?;
            Some((code, *seller, *package))
        };
        let mut found = Self::default();
        for rename in &unconfirmed.renames {
            match now(&rename.uuid) {
                Some((code, seller, _)) if code == rename.to && seller == rename.seller => {
                    found.confirmed.push(rename.clone());
                }
                Some((code, seller, package)) if code != rename.from => found.unconfirmed.push(Rename {
                    to: code.to_owned(),
                    seller,
                    name: name(after, package),
                    ..rename.clone()
                }),
                // Taken back, or gone altogether, which the codes tell.
                _ => {}
            }
        }
        let known: HashSet<&str> = unconfirmed.renames.iter().map(|rename| &*rename.uuid).collect();
        let pending: HashMap<&str, &Change> =
            unconfirmed.by_code.iter().map(|change| (&*change.code, change)).collect();
        for (uuid, from) in old_codes.iter().filter(|(uuid, _)| !known.contains(uuid.as_str())) {
            let (Some(from), Some((to, seller, package))) = (*from, now(uuid)) else { continue };
            // What never counted was never called so.
            let before = match pending.get(from) {
                Some(change) => change.seller_before(),
                None => old.get(from).map(|(seller, _)| *seller),
            };
            let Some(seller_before) = before.filter(|_| from != to) else { continue };
            let (uuid, from, to) = (uuid.clone(), from.to_owned(), to.to_owned());
            let name = name(after, package);
            found.unconfirmed.push(Rename { uuid, from, seller_before, to, seller, name });
        }
        found
    }
}
