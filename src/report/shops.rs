//! The shops, where each is served, how much of the catalog it shows, and what is wrong with its file.

use serde::Serialize;

use crate::feed::listing::Listed;
use crate::policy::{Rules, Verdict};
use crate::printable::joined;
use crate::shops::{Shop, ShopName, ShopNotice, Shops};

/// A shop, or a file of the directory that is not served as one.
#[derive(Debug, Serialize)]
pub(crate) struct ShopRow {
    pub(crate) shop: Option<String>,
    pub(crate) prefix: Option<String>,
    pub(crate) hosts: Vec<String>,
    pub(crate) file: String,
    /// Packages of the catalog by today's state, unless there is no catalog or no good list.
    pub(crate) shown: Option<usize>,
    pub(crate) retired: Option<usize>,
    pub(crate) hidden: Option<usize>,
    /// What is wrong, for people.
    pub(crate) problems: Vec<String>,
}

/// Returns a row for each shop, then one for each file that is not served. Packages are counted if they are given.
pub(crate) fn shop_rows(shops: &Shops, packages: Option<&[Listed]>) -> Vec<ShopRow> {
    let rows = shops.all().map(|shop| ShopRow::of(shop, shops, packages));
    rows.chain(shops.notices().iter().filter_map(ShopRow::not_served)).collect()
}

impl ShopRow {
    fn of(shop: &Shop, shops: &Shops, packages: Option<&[Listed]>) -> Self {
        let rules = shop.rules();
        let count = |verdict| Some(count(packages?, rules.as_deref()?, verdict));
        let broken = shop.last_error.iter().map(ToString::to_string);
        let gone = shop.is_gone.then(|| "the file is gone; its last list stays in force".to_owned());
        let disputes = shops.notices().iter().filter_map(|notice| dispute(notice, &shop.name));
        Self {
            shop: Some(shop.name.to_string()),
            prefix: Some(if shop.name.is_default() { "/".to_owned() } else { format!("/{}/", shop.name) }),
            hosts: shop.hosts().to_vec(),
            file: shop.path.display().to_string(),
            shown: count(Verdict::Shown),
            retired: count(Verdict::Retired),
            hidden: count(Verdict::Hidden),
            problems: broken.chain(gone).chain(disputes).collect(),
        }
    }

    /// Makes the row of a file that is not served.
    fn not_served(notice: &ShopNotice) -> Option<Self> {
        let ShopNotice::NotServed { path, reason } = notice else { return None };
        Some(Self {
            shop: None,
            prefix: None,
            hosts: Vec::new(),
            file: path.display().to_string(),
            shown: None,
            retired: None,
            hidden: None,
            problems: vec![format!("not served: {reason}")],
        })
    }
}

/// Counts the packages of a state.
fn count(packages: &[Listed], rules: &Rules, verdict: Verdict) -> usize {
    let packages = packages.iter().map(|listed| &listed.package);
    packages.filter(|package| rules.verdict(package.code.as_deref(), package.seller) == verdict).count()
}

/// Describes the dispute of a notice as one of the shops sees it, if it takes part.
pub(crate) fn dispute(notice: &ShopNotice, shop: &ShopName) -> Option<String> {
    let ShopNotice::Disputed { host, claims, .. } = notice else { return None };
    let others: Vec<_> = claims.iter().filter(|other| *other != shop).collect();
    let others = joined(&others);
    let message =
        || format!("the host {host} is claimed by {others} as well, so feeds on it are refused (503)");
    claims.contains(shop).then(message)
}
