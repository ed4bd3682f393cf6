//! Lookups in the packages of a catalog.

use crate::feed::listing::Listed;
use crate::policy::{Pattern, suggestion};
use crate::seller::Seller;

/// Finds the package with a code. Of several, one sold by Plesk comes first, because the whitelist decides about it.
pub(crate) fn find<'a>(packages: &'a [Listed], code: &str) -> Option<&'a Listed> {
    let found = packages.iter().filter(|listed| listed.package.code.as_deref() == Some(code));
    found.min_by_key(|listed| listed.package.seller != Seller::Plesk)
}

/// Finds the packages that an entry matches.
pub(crate) fn matching<'a>(packages: &'a [Listed], pattern: &Pattern) -> Vec<&'a Listed> {
    let is_matched =
        |listed: &&Listed| listed.package.code.as_deref().is_some_and(|code| pattern.matches(code));
    packages.iter().filter(is_matched).collect()
}

/// Returns the code that was probably meant by an unknown code or a name.
pub(crate) fn suggest<'a>(packages: &'a [Listed], typed: &str) -> Option<&'a str> {
    let is_named =
        |listed: &&Listed| listed.name.as_deref().is_some_and(|name| name.eq_ignore_ascii_case(typed));
    let by_name = packages.iter().find(is_named).and_then(|listed| listed.package.code.as_deref());
    let codes = packages.iter().filter_map(|listed| listed.package.code.as_deref());
    by_name.or_else(|| suggestion::suggest(typed, codes))
}
