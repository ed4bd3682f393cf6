//! What is said about a catalog and a whitelist, in the JSON of the commands and of the admin port.

mod changes;
mod packages;
mod shops;

pub(crate) use changes::{DatedPolicy, ListedChange, always_shown, changes, not_in_catalog};
pub(crate) use packages::PackageRow;
pub(crate) use shops::{ShopRow, dispute, shop_rows};

/// Version of all JSON: it changes when the meaning of a member does, or when one goes.
pub(crate) const FORMAT: u32 = 2;
