//! The packages of a feed by their codes.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Deserialize;

use crate::cache::cached_feed::{Feed, FeedIndex};
use crate::feed::packages::IndexedPackage;
use crate::news::SellerName;

/// Longest code that is told about; what is longer is no code.
pub(super) const MAX_CODE: usize = 256;
/// Most characters of a name that are told.
const MAX_NAME: usize = 200;

/// The packages of a feed by their codes.
pub(super) type Packages<'a> = HashMap<&'a str, (SellerName, &'a IndexedPackage)>;

/// Returns the packages by their codes; of two with the same code the last one counts.
pub(super) fn packages(content: &Feed) -> Packages<'_> {
    let FeedIndex::Packages(index) = &content.index else { return HashMap::new() };
    let packages = index.entries.iter().filter_map(|entry| {
        let code = entry.package.code.as_deref().filter(|code| code.len() <= MAX_CODE)?;
        Some((code, (entry.package.seller.into(), entry)))
    });
    packages.collect()
}

/// Reads a package's name.
pub(super) fn name(content: &Feed, entry: &IndexedPackage) -> Option<String> {
    #[derive(Deserialize)]
    struct Named<'a> {
        #[serde(borrow)]
        name: Cow<'a, str>,
    }
    let named: Named<'_> = serde_json::from_slice(content.body.get(entry.span.clone())?).ok()?;
    Some(named.name.chars().take(MAX_NAME).collect())
}
