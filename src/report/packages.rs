//! The packages of a catalog, who sells them, what a shop does with them, and why.

use serde::Serialize;

use crate::feed::listing::Listed;
use crate::policy::{Rules, Verdict};

/// One package.
#[derive(Debug, Serialize)]
pub(crate) struct PackageRow<'a> {
    pub(crate) code: Option<&'a str>,
    pub(crate) name: Option<&'a str>,
    pub(crate) uuid: Option<&'a str>,
    pub(crate) seller: &'static str,
    pub(crate) state: &'static str,
    /// True if an entry of the whitelist names it, or a star does.
    pub(crate) decided: bool,
    pub(crate) reason: String,
    pub(crate) buy_url: Option<&'a str>,
    pub(crate) shop: &'a str,
    #[serde(skip)]
    pub(crate) verdict: Verdict,
}

impl<'a> PackageRow<'a> {
    pub(crate) fn of(listed: &'a Listed, shop: &'a str, rules: &Rules) -> Self {
        let (code, seller) = (listed.package.code.as_deref(), listed.package.seller);
        let (verdict, reason) = (rules.verdict(code, seller), rules.reason(code, seller));
        Self {
            code,
            name: listed.name.as_deref(),
            uuid: listed.uuid.as_deref(),
            seller: seller.name(),
            state: verdict.name(),
            decided: reason.is_decision(),
            reason: reason.to_string(),
            buy_url: listed.buy_url.as_deref(),
            shop,
            verdict,
        }
    }
}
