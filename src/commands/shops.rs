//! `shops`: the shops, where each is served, how much of the catalog it shows, and what is wrong with its file.

use super::catalog_source::Listing;
use super::table::{Column, TextTable};
use super::terminal::{Style, Terminal, print, print_json};
use super::{CommandError, FAILED};
use crate::cli::{ShopsArguments, TableFormat};
use crate::config::Config;
use crate::printable::joined;
use crate::report::{ShopRow, shop_rows};
use crate::shops::{self, ShopFiles};
use crate::stderr;

/// Prints the shops.
///
/// # Errors
/// If the directory or the given feed cannot be read.
pub(crate) fn shops(arguments: &ShopsArguments) -> Result<(), CommandError> {
    let config = Config::load(arguments.sources.settings())?;
    let files = ShopFiles {
        default: config.whitelist.as_ref().map(|given| given.value.clone()),
        directory: config.shops.as_ref().map(|given| given.value.clone()),
    };
    let shops = shops::inspect(&files)?;
    let catalog = match Listing::load(&arguments.sources, &config) {
        Ok(catalog) => Some(catalog),
        // Without one there is still something to tell.
        Err(error) if error.code == FAILED && arguments.sources.feed.is_none() => {
            stderr::message(format_args!("warning: {error}"));
            None
        }
        Err(error) => return Err(error),
    };
    let rows = shop_rows(&shops, catalog.as_ref().map(|catalog| &*catalog.packages));
    match arguments.format {
        TableFormat::Json => print_json("shops", &rows),
        TableFormat::Table if rows.is_empty() => {
            stderr::message("There is no shop: --whitelist FILE gives the one at /, --shops DIR all others.");
            Ok(())
        }
        TableFormat::Table => print(&table(&rows).render(Terminal::stdout())),
    }
}

fn table(rows: &[ShopRow]) -> TextTable {
    let has_problems = rows.iter().any(|row| !row.problems.is_empty());
    let header = [
        Column::fixed("SHOP"),
        // It is the name of the shop again.
        Column::optional("PREFIX"),
        Column::wrapped("HOSTS"),
        Column::fixed("SHOWN"),
        Column::fixed("RETIRED"),
        Column::fixed("HIDDEN"),
        Column::wrapped("FILE"),
        Column::wrapped("PROBLEM"),
    ];
    let columns = if has_problems { header.len() } else { header.len() - 1 };
    let mut table = TextTable::new(header.into_iter().take(columns));
    for row in rows {
        let count = |count: Option<usize>| count.map_or("-".to_owned(), |count| count.to_string());
        let hosts = if row.hosts.is_empty() { "-".to_owned() } else { joined(&row.hosts).to_string() };
        let (shown, retired, hidden) = (count(row.shown), count(row.retired), count(row.hidden));
        let problems = row.problems.join("; ");
        let cells = [
            (row.shop.as_deref().unwrap_or("-"), Style::Bold),
            (row.prefix.as_deref().unwrap_or("-"), Style::Plain),
            (hosts.as_str(), Style::Plain),
            (shown.as_str(), Style::Plain),
            (retired.as_str(), Style::Plain),
            (hidden.as_str(), Style::Plain),
            (row.file.as_str(), Style::Plain),
            (problems.as_str(), Style::Red),
        ];
        table.row(cells.into_iter().take(columns));
    }
    table
}
