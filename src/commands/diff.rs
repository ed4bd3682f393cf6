//! `diff`: what an edited whitelist would show, retire and hide.

use std::path::Path;
use std::time::SystemTime;

use serde::Serialize;

use super::CommandError;
use super::catalog_source::Listing;
use super::list::style;
use super::shop_selection::ShopList;
use super::table::TextTable;
use super::terminal::{Style, Terminal, print, print_json};
use super::whitelist_file::WhitelistFile;
use crate::cli::{Diff, TableFormat};
use crate::config::Config;
use crate::feed::listing::Listed;
use crate::policy::{Changes, Day, HostsKey, Pattern, Verdict, WhitelistEntry};
use crate::seller::Seller;
use crate::shops::ShopName;
use crate::stderr;

/// One difference: of a package's state, or between the files without an effect on any package.
#[derive(Debug, Serialize)]
struct ListedChange<'a> {
    code: String,
    name: Option<&'a str>,
    seller: Option<&'static str>,
    /// State by the old whitelist; nothing if no package changes.
    was: Option<&'static str>,
    /// State by the new whitelist; nothing if no package changes.
    state: Option<&'static str>,
    /// Why no package changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    no_effect: Option<String>,
    /// Shop whose whitelist is the old one; nothing if a file was given as that.
    shop: Option<&'a str>,
    #[serde(skip)]
    verdict: Option<Verdict>,
}

/// Prints which packages an edited whitelist shows, retires and hides in the place of the shops' own.
///
/// # Errors
/// If there is no catalog, or one of the files is no whitelist.
pub(crate) fn diff(arguments: &Diff) -> Result<(), CommandError> {
    let config = Config::load(arguments.sources.settings())?;
    let today = Day::of(SystemTime::now());
    let read = |path: &Path| WhitelistFile::read(path, HostsKey::Allowed, today);
    let olds: Vec<_> = match &arguments.old {
        Some(old) => vec![(None, read(old)?)],
        None => ShopList::read_all(&config, &arguments.shops.names, today)?
            .into_iter()
            .map(|ShopList { name, file }| (Some(name), file))
            .collect(),
    };
    let new = read(&arguments.new)?;
    let catalog = Listing::load(&arguments.sources, &config)?;
    let shops: Vec<_> =
        olds.iter().map(|(shop, old)| (shop.as_ref(), changes(shop.as_ref(), old, &new, &catalog))).collect();
    match arguments.format {
        TableFormat::Json => {
            print_json("changes", &shops.iter().flat_map(|(_, changes)| changes).collect::<Vec<_>>())
        }
        TableFormat::Table => {
            print(&text(&shops, Terminal::stdout()))?;
            for (shop, changes) in &shops {
                let shop =
                    shop.filter(|_| shops.len() > 1).map(|shop| format!("{shop}: ")).unwrap_or_default();
                let count = |verdict| changes.iter().filter(|change| change.verdict == verdict).count();
                stderr::message(format_args!(
                    "{shop}{} would be shown, {} retired, {} hidden, {} without effect",
                    count(Some(Verdict::Shown)),
                    count(Some(Verdict::Retired)),
                    count(Some(Verdict::Hidden)),
                    count(None)
                ));
            }
            Ok(())
        }
    }
}

/// Returns what would change in one shop, sorted: packages by their new state, then entries without an effect.
fn changes<'a>(
    shop: Option<&'a ShopName>,
    old: &WhitelistFile,
    new: &WhitelistFile,
    catalog: &'a Listing,
) -> Vec<ListedChange<'a>> {
    let mut changes = states(old, new, catalog);
    changes.extend(without_effect(old, new, catalog));
    changes.sort_by(|one, other| {
        (one.verdict.is_none(), one.verdict, &one.code).cmp(&(
            other.verdict.is_none(),
            other.verdict,
            &other.code,
        ))
    });
    changes.iter_mut().for_each(|change| change.shop = shop.map(ShopName::as_str));
    changes
}

/// Returns the packages whose state changes.
fn states<'a>(old: &WhitelistFile, new: &WhitelistFile, catalog: &'a Listing) -> Vec<ListedChange<'a>> {
    let change = |listed: &'a Listed| {
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
    };
    catalog.packages.iter().filter_map(change).collect()
}

/// Returns the entries that only one of the files has, or has under another key, and that change no package today.
fn without_effect<'a>(
    old: &WhitelistFile,
    new: &WhitelistFile,
    catalog: &'a Listing,
) -> Vec<ListedChange<'a>> {
    let Changes { shown, retired, hidden, unlisted } = new.rules.changes(&old.rules);
    let named = shown.into_iter().chain(retired).chain(hidden).chain(unlisted);
    let in_force = named.filter_map(|pattern| {
        let matched = catalog.matching(&pattern);
        let reason = match (matched.first(), &pattern) {
            (None, Pattern::Exact(code)) => catalog.unknown(code),
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
    let is_in = |entry: &WhitelistEntry, file: &WhitelistFile| {
        let same = |other: &WhitelistEntry| {
            (&other.pattern, other.verdict, other.window) == (&entry.pattern, entry.verdict, entry.window)
        };
        file.policy.entries().iter().any(same)
    };
    let later =
        new.policy.entries().iter().filter(|entry| !entry.window.contains(new.day) && !is_in(entry, old));
    let later = later.map(|entry| {
        (entry.pattern.to_string(), format!("{} {}, not today", entry.verdict.name(), entry.window))
    });
    in_force
        .chain(later)
        .map(|(code, reason)| {
            let listed = catalog.find(&code);
            ListedChange {
                name: listed.and_then(|listed| listed.name.as_deref()),
                seller: listed.map(|listed| listed.package.seller.name()),
                code,
                was: None,
                state: None,
                no_effect: Some(reason),
                shop: None,
                verdict: None,
            }
        })
        .collect()
}

/// Formats the reason why an entry of `extensions` has no effect.
pub(crate) fn always_shown(seller: Seller) -> String {
    let why = if seller == Seller::Free { "free" } else { "sold by its vendor" };
    format!("{why}, so it is shown whether listed or not")
}

/// What would change, shop by shop.
type ShopChanges<'a> = (Option<&'a ShopName>, Vec<ListedChange<'a>>);

fn text(shops: &[ShopChanges<'_>], terminal: Terminal) -> String {
    let header: &[&str] =
        if shops.len() > 1 { &["SHOP", "CODE", "NAME", "CHANGE"] } else { &["CODE", "NAME", "CHANGE"] };
    let mut table = TextTable::new(header).whole("CHANGE");
    for change in shops.iter().flat_map(|(_, changes)| changes) {
        let (word, style) = match (change.state, change.was, change.verdict) {
            (Some(state), Some(was), Some(verdict)) => (format!("{state} (was {was})"), style(verdict)),
            _ => (change.no_effect.clone().unwrap_or_default(), Style::Dim),
        };
        let shop = change.shop.filter(|_| shops.len() > 1).map(|shop| (shop, Style::Plain));
        let cells =
            [(change.code.as_str(), Style::Bold), (change.name.unwrap_or("-"), Style::Plain), (&word, style)];
        table.row(shop.into_iter().chain(cells));
    }
    if table.is_empty() { String::new() } else { table.render(terminal) }
}
