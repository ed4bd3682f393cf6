//! `shops`: the shops, where each is served, how much of the catalog it shows, and what is wrong with its file.

use serde::Serialize;

use super::catalog_source::Listing;
use super::shop_selection::dispute;
use super::table::TextTable;
use super::terminal::{Style, Terminal, print, print_json};
use super::{CommandError, FAILED};
use crate::cli::{ShopsArguments, TableFormat};
use crate::config::Config;
use crate::policy::{Rules, Verdict};
use crate::printable::joined;
use crate::shops::{self, Shop, ShopFiles, ShopNotice, Shops};
use crate::stderr;

/// One shop, or a file of the directory that is none.
#[derive(Debug, Serialize)]
struct ShopRow {
    shop: Option<String>,
    prefix: Option<String>,
    hosts: Vec<String>,
    file: String,
    /// Packages of the catalog by today's state, unless there is no catalog or no good list.
    shown: Option<usize>,
    retired: Option<usize>,
    hidden: Option<usize>,
    /// What is wrong, for people.
    problems: Vec<String>,
}

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
    let mut rows: Vec<_> = shops.all().map(|shop| ShopRow::of(shop, &shops, catalog.as_ref())).collect();
    rows.extend(shops.notices().iter().filter_map(ShopRow::not_served));
    match arguments.format {
        TableFormat::Json => print_json("shops", &rows),
        TableFormat::Table if rows.is_empty() => {
            stderr::message("There is no shop: --whitelist FILE gives the one at /, --shops DIR all others.");
            Ok(())
        }
        TableFormat::Table => print(&table(&rows).render(Terminal::stdout())),
    }
}

impl ShopRow {
    fn of(shop: &Shop, shops: &Shops, catalog: Option<&Listing>) -> Self {
        let rules = shop.rules();
        let count = |verdict| Some(count(catalog?, rules.as_deref()?, verdict));
        let broken = shop.last_error.iter().map(ToString::to_string);
        let disputes = shops.notices().iter().filter_map(|notice| dispute(notice, &shop.name));
        Self {
            shop: Some(shop.name.to_string()),
            prefix: Some(if shop.name.is_default() { "/".to_owned() } else { format!("/{}/", shop.name) }),
            hosts: shop.hosts().to_vec(),
            file: shop.path.display().to_string(),
            shown: count(Verdict::Shown),
            retired: count(Verdict::Retired),
            hidden: count(Verdict::Hidden),
            problems: broken.chain(disputes).collect(),
        }
    }

    /// Makes a row of a file that is no shop.
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
fn count(catalog: &Listing, rules: &Rules, verdict: Verdict) -> usize {
    let packages = catalog.packages.iter().map(|listed| &listed.package);
    packages.filter(|package| rules.verdict(package.code.as_deref(), package.seller) == verdict).count()
}

fn table(rows: &[ShopRow]) -> TextTable {
    let has_problems = rows.iter().any(|row| !row.problems.is_empty());
    let header = ["SHOP", "PREFIX", "HOSTS", "SHOWN", "RETIRED", "HIDDEN", "FILE", "PROBLEM"];
    let columns = if has_problems { header.len() } else { header.len() - 1 };
    let mut table = TextTable::new(&header[..columns]).whole("PROBLEM");
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
