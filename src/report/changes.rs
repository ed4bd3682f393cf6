//! What another whitelist would show, retire and hide.

use serde::Serialize;

use crate::editing::catalog;
use crate::feed::listing::Listed;
use crate::policy::{Changes, Day, Pattern, Policy, Rules, Verdict, WhitelistEntry};
use crate::seller::Seller;

/// One difference: of a package's state, or between the files without an effect on any package.
#[derive(Debug, Serialize)]
pub(crate) struct ListedChange<'a> {
    pub(crate) code: String,
    pub(crate) name: Option<&'a str>,
    pub(crate) seller: Option<&'static str>,
    /// State by the old whitelist; nothing if no package changes.
    pub(crate) was: Option<&'static str>,
    /// State by the new whitelist; nothing if no package changes.
    pub(crate) state: Option<&'static str>,
    /// Why no package changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) no_effect: Option<String>,
    /// Shop whose whitelist is the old one; nothing if a file was given as that.
    pub(crate) shop: Option<&'a str>,
    #[serde(skip)]
    pub(crate) verdict: Option<Verdict>,
}

/// A policy on one day.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DatedPolicy<'a> {
    pub(crate) policy: &'a Policy,
    pub(crate) rules: &'a Rules,
    pub(crate) day: Day,
}

impl DatedPolicy<'_> {
    fn verdict(&self, listed: &Listed) -> Verdict {
        self.rules.verdict(listed.package.code.as_deref(), listed.package.seller)
    }
}

/// Returns what would change in one shop, sorted: packages by their new state, then entries without an effect. `origin`
/// says where the packages come from.
pub(crate) fn changes<'a>(
    shop: Option<&'a str>,
    [old, new]: [DatedPolicy<'_>; 2],
    packages: &'a [Listed],
    origin: &str,
) -> Vec<ListedChange<'a>> {
    let mut changes: Vec<_> = states(old, new, packages).collect();
    for (code, reason) in without_effect(old, new, packages, origin) {
        let listed = catalog::find(packages, &code);
        changes.push(ListedChange {
            name: listed.and_then(|listed| listed.name.as_deref()),
            seller: listed.map(|listed| listed.package.seller.name()),
            code,
            was: None,
            state: None,
            no_effect: Some(reason),
            shop: None,
            verdict: None,
        });
    }
    changes.sort_by(|one, other| {
        let order = (one.verdict.is_none(), one.verdict, &one.code);
        order.cmp(&(other.verdict.is_none(), other.verdict, &other.code))
    });
    changes.iter_mut().for_each(|change| change.shop = shop);
    changes
}

/// Returns the packages whose state changes.
fn states<'a>(
    old: DatedPolicy<'_>,
    new: DatedPolicy<'_>,
    packages: &'a [Listed],
) -> impl Iterator<Item = ListedChange<'a>> {
    packages.iter().filter_map(move |listed| {
        let (was, state) = (old.verdict(listed), new.verdict(listed));
        (was != state).then(|| ListedChange {
            code: listed.package.code.as_deref().unwrap_or_default().to_owned(),
            name: listed.name.as_deref(),
            seller: Some(listed.package.seller.name()),
            was: Some(was.name()),
            state: Some(state.name()),
            no_effect: None,
            shop: None,
            verdict: Some(state),
        })
    })
}

/// Returns the entries that only one of the files has, or has under another key, and that change no package today, each
/// with the reason.
fn without_effect(
    old: DatedPolicy<'_>,
    new: DatedPolicy<'_>,
    packages: &[Listed],
    origin: &str,
) -> Vec<(String, String)> {
    let Changes { shown, retired, hidden, unlisted } = new.rules.changes(old.rules);
    let named = shown.into_iter().chain(retired).chain(hidden).chain(unlisted);
    let in_force = named.filter_map(|pattern| {
        let matched = catalog::matching(packages, &pattern);
        let reason = match (matched.first(), &pattern) {
            (None, Pattern::Exact(code)) => not_in_catalog(code, origin, catalog::suggest(packages, code)),
            (None, Pattern::Star(_)) => "matches no extension of the catalog".to_owned(),
            _ if matched.iter().any(|listed| old.verdict(listed) != new.verdict(listed)) => return None,
            (Some(listed), Pattern::Exact(_)) => match (listed.package.seller, new.verdict(listed)) {
                (seller @ (Seller::Free | Seller::Vendor), Verdict::Shown) => always_shown(seller),
                (_, verdict) => format!("{} with and without it", verdict.name()),
            },
            (Some(_), Pattern::Star(_)) => "all that it matches stay as they are".to_owned(),
        };
        Some((pattern.to_string(), reason))
    });
    let is_old = |entry: &WhitelistEntry| old.policy.entries().iter().any(|old| old.decides_like(entry));
    let later = new.policy.entries().iter();
    let later = later.filter(|entry| !entry.window.contains(new.day) && !is_old(entry)).map(|entry| {
        (entry.pattern.to_string(), format!("{} {}, not today", entry.verdict.name(), entry.window))
    });
    in_force.chain(later).collect()
}

/// Formats the message about a code that a catalog does not have, with the one that was probably meant.
pub(crate) fn not_in_catalog(code: &str, origin: &str, meant: Option<&str>) -> String {
    let meant = meant.map(|meant| format!("; did you mean {meant:?}?")).unwrap_or_default();
    format!("{code:?} is not in the catalog ({origin}){meant}")
}

/// Formats the reason why an entry of `extensions` has no effect.
pub(crate) fn always_shown(seller: Seller) -> String {
    let why = if seller == Seller::Free { "free" } else { "sold by its vendor" };
    format!("{why}, so it is shown whether listed or not")
}
