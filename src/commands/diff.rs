//! `diff`: what an edited whitelist would show and hide.

use serde::Serialize;

use super::CommandError;
use super::catalog_source::Listing;
use super::table::TextTable;
use super::terminal::{Style, Terminal, print, print_json};
use super::whitelist_file::WhitelistFile;
use crate::cli::{Diff, TableFormat};
use crate::config::Config;
use crate::seller::Seller;
use crate::stderr;

/// Difference between two whitelists, as customers see it.
#[derive(Debug, Serialize)]
struct Changes<'a> {
    appear: Vec<ListedChange<'a>>,
    vanish: Vec<ListedChange<'a>>,
    /// Codes that were added or removed without an effect.
    no_effect: Vec<ListedChange<'a>>,
}

#[derive(Debug, Serialize)]
struct ListedChange<'a> {
    code: &'a str,
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Prints which packages an edited whitelist shows and hides.
///
/// # Errors
/// If there is no catalog, or one of the files is no whitelist.
pub(crate) fn diff(arguments: &Diff) -> Result<(), CommandError> {
    let config = Config::load(arguments.sources.settings())?;
    let new = WhitelistFile::read(&arguments.new)?;
    let old = WhitelistFile::read(arguments.old.as_deref().unwrap_or(&config.whitelist))?;
    let catalog = Listing::load(arguments.sources.feed.as_deref(), &config)?;
    let mut changes = Changes { appear: Vec::new(), vanish: Vec::new(), no_effect: Vec::new() };
    for (codes, list) in
        [(new.list.minus(&old.list), &mut changes.appear), (old.list.minus(&new.list), &mut changes.vanish)]
    {
        for code in codes {
            let (list, name, reason) = match catalog.find(code) {
                Some(listed) if listed.package.seller == Seller::Plesk => {
                    (&mut *list, listed.name.as_deref(), None)
                }
                Some(listed) => (
                    &mut changes.no_effect,
                    listed.name.as_deref(),
                    Some(always_shown(listed.package.seller)),
                ),
                None => (&mut changes.no_effect, None, Some(catalog.unknown(code))),
            };
            list.push(ListedChange { code, name, reason });
        }
    }
    match arguments.format {
        TableFormat::Json => print_json(&changes),
        TableFormat::Table => {
            print(&changes.text(Terminal::stdout()))?;
            stderr::message(format_args!(
                "{} would appear, {} would vanish, {} without effect",
                changes.appear.len(),
                changes.vanish.len(),
                changes.no_effect.len()
            ));
            Ok(())
        }
    }
}

/// Formats the reason why a whitelist entry has no effect.
pub(crate) fn always_shown(seller: Seller) -> String {
    let why = if seller == Seller::Free { "free" } else { "sold by its vendor" };
    format!("{why}, so it is shown whether listed or not")
}

impl Changes<'_> {
    fn text(&self, terminal: Terminal) -> String {
        let mut table = TextTable::new(&["CODE", "NAME", "CHANGE"]).whole("CHANGE");
        for (changes, word, style) in [
            (&self.appear, "appears", Style::Green),
            (&self.vanish, "vanishes", Style::Red),
            (&self.no_effect, "", Style::Yellow),
        ] {
            for change in changes {
                let word = change.reason.as_deref().unwrap_or(word);
                table.row([
                    (change.code, Style::Bold),
                    (change.name.unwrap_or("-"), Style::Plain),
                    (word, style),
                ]);
            }
        }
        if table.is_empty() { String::new() } else { table.render(terminal) }
    }
}
