//! `diff`: what an edited whitelist would show, retire and hide.

use std::path::Path;
use std::time::SystemTime;

use super::CommandError;
use super::catalog_source::Listing;
use super::list::style;
use super::shop_selection::ShopList;
use super::table::{Column, TextTable};
use super::terminal::{Style, Terminal, print, print_json};
use super::whitelist_file::WhitelistFile;
use crate::cli::{Diff, TableFormat};
use crate::config::Config;
use crate::policy::{Day, HostsKey, Verdict};
use crate::report::{DatedPolicy, ListedChange, changes};
use crate::shops::ShopName;
use crate::stderr;

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
    let shops: Vec<_> = olds
        .iter()
        .map(|(shop, old)| (shop.as_ref(), changes_in(shop.as_ref(), [old, &new], &catalog)))
        .collect();
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

/// Returns what would change in one shop.
fn changes_in<'a>(
    shop: Option<&'a ShopName>,
    files: [&WhitelistFile; 2],
    catalog: &'a Listing,
) -> Vec<ListedChange<'a>> {
    let sides = files.map(|file| DatedPolicy { policy: &file.policy, rules: &file.rules, day: file.day });
    changes(shop.map(ShopName::as_str), sides, &catalog.packages, &catalog.origin)
}

/// What would change, shop by shop.
type ShopChanges<'a> = (Option<&'a ShopName>, Vec<ListedChange<'a>>);

fn text(shops: &[ShopChanges<'_>], terminal: Terminal) -> String {
    let shop = (shops.len() > 1).then(|| Column::fixed("SHOP"));
    let columns = [Column::wrapped("CODE"), Column::cut("NAME"), Column::wrapped("CHANGE")];
    let mut table = TextTable::new(shop.into_iter().chain(columns));
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
