//! `list`: all packages of the catalog, who sells them, and whether customers see them.

use serde::Serialize;

use super::CommandError;
use super::catalog_source::Listing;
use super::table::TextTable;
use super::terminal::{Style, Terminal, print, print_json};
use super::whitelist_file::WhitelistFile;
use crate::cli::{List, SellerArgument, TableFormat};
use crate::config::Config;
use crate::feed::listing::Listed;
use crate::seller::Seller;
use crate::stderr;
use crate::whitelist::Whitelist;

/// One package in the list.
#[derive(Debug, Serialize)]
struct ListRow<'a> {
    code: Option<&'a str>,
    name: Option<&'a str>,
    uuid: Option<&'a str>,
    seller: &'static str,
    shown: bool,
    buy_url: Option<&'a str>,
}

/// Prints the packages that the arguments select.
///
/// # Errors
/// If there is no catalog or no whitelist.
pub(crate) fn list(arguments: &List) -> Result<(), CommandError> {
    let config = Config::load(arguments.sources.settings())?;
    let file = WhitelistFile::read(&config.whitelist)?;
    let catalog = Listing::load(arguments.sources.feed.as_deref(), &config)?;
    let mut lines: Vec<_> = catalog
        .packages
        .iter()
        .map(|listed| ListRow::of(listed, &file.list))
        .filter(|line| if line.shown { !arguments.hidden } else { !arguments.shown })
        .filter(|line| arguments.seller.is_none_or(|name| Seller::from(name).name() == line.seller))
        .collect();
    lines.sort_by_key(|line| (line.code, line.name));
    match arguments.format {
        TableFormat::Json => print_json(&lines),
        TableFormat::Table => {
            let mut table = TextTable::new(&["CODE", "NAME", "SELLER", "STATUS", "BUY LINK"]);
            for line in &lines {
                let (word, style) =
                    if line.shown { ("shown", Style::Green) } else { ("hidden", Style::Yellow) };
                table.row([
                    (line.code.unwrap_or("-"), Style::Bold),
                    (line.name.unwrap_or("-"), Style::Plain),
                    (line.seller, Style::Plain),
                    (word, style),
                    (line.buy_url.unwrap_or("-"), Style::Dim),
                ]);
            }
            print(&table.render(Terminal::stdout()))?;
            stderr::message(summary(&catalog, &file.list));
            Ok(())
        }
    }
}

/// Formats the totals of the whole catalog, whatever part of it is listed.
fn summary(catalog: &Listing, list: &Whitelist) -> String {
    let count = |seller| catalog.packages.iter().filter(|listed| listed.package.seller == seller).count();
    let shown = |listed: &&Listed| listed.package.seller == Seller::Plesk && is_shown(listed, list);
    let (plesk, shown) = (count(Seller::Plesk), catalog.packages.iter().filter(shown).count());
    format!(
        "{plesk} sold by Plesk: {shown} shown, {} hidden · {} free · {} by vendors",
        plesk - shown,
        count(Seller::Free),
        count(Seller::Vendor)
    )
}

/// Returns true if customers see a package.
pub(crate) fn is_shown(listed: &Listed, list: &Whitelist) -> bool {
    listed.package.is_shown(|code| list.contains(code))
}

impl<'a> ListRow<'a> {
    fn of(listed: &'a Listed, list: &Whitelist) -> Self {
        Self {
            code: listed.package.code.as_deref(),
            name: listed.name.as_deref(),
            uuid: listed.uuid.as_deref(),
            seller: listed.package.seller.name(),
            shown: is_shown(listed, list),
            buy_url: listed.buy_url.as_deref(),
        }
    }
}

impl From<SellerArgument> for Seller {
    fn from(name: SellerArgument) -> Self {
        match name {
            SellerArgument::Free => Self::Free,
            SellerArgument::Vendor => Self::Vendor,
            SellerArgument::Plesk => Self::Plesk,
        }
    }
}
