//! The packages of a feed by their codes and uuids.

use std::collections::HashMap;

use crate::cache::cached_feed::{Feed, FeedIndex};
use crate::feed::listing;
use crate::feed::packages::IndexedPackage;
use crate::news::SellerName;

/// Longest code that is told about, in bytes; what is longer is no code.
pub(super) const MAX_CODE_BYTES: usize = 256;
/// Most characters of a name that are told.
const MAX_NAME_CHARS: usize = 200;

/// The packages of a feed by their codes.
pub(super) type Packages<'a> = HashMap<&'a str, (SellerName, &'a IndexedPackage)>;

/// Returns the packages by their codes; of two with the same code the last one counts.
pub(super) fn packages(content: &Feed) -> Packages<'_> {
    let FeedIndex::Packages(index) = &content.index else { return HashMap::new() };
    let packages = index.entries.iter().filter_map(|entry| {
        let code = entry.package.code.as_deref().filter(|code| code.len() <= MAX_CODE_BYTES)?;
        Some((code, (entry.package.seller.into(), entry)))
    });
    packages.collect()
}

/// Returns the codes by their uuids, `None` for a uuid that several codes have.
///
/// The index does not hold uuids, which only this comparison needs. They are read from the elements, and take some
/// 10 MB for a feed of 100,000 elements while it is compared.
pub(super) fn codes_by_uuid<'a>(content: &Feed, packages: &Packages<'a>) -> HashMap<String, Option<&'a str>> {
    let mut codes = HashMap::new();
    for (code, (_, package)) in packages {
        if let Some(uuid) = uuid(content, package) {
            codes.entry(uuid).and_modify(|code| *code = None).or_insert(Some(*code));
        }
    }
    codes
}

/// Reads a package's uuid as it is compared.
pub(super) fn uuid(content: &Feed, entry: &IndexedPackage) -> Option<String> {
    listing::identity(&listing::members(content.body.get(entry.span.clone())?).uuid?)
}

/// Reads a package's name.
pub(super) fn name(content: &Feed, entry: &IndexedPackage) -> Option<String> {
    let name = listing::members(content.body.get(entry.span.clone())?).name?;
    Some(name.chars().take(MAX_NAME_CHARS).collect())
}
