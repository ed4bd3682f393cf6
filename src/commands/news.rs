//! `news`: prints the history of changes from the cache directory.

use std::io;
use std::path::Path;
use std::time::SystemTime;

use super::CommandError;
use super::table::{Column, TextTable};
use super::terminal::{Style, Terminal, print, print_json};
use crate::cli::{HistoryArguments, LogFormat, NewsArguments, Settings, TableFormat};
use crate::config::Config;
use crate::logging;
use crate::news::SellerName;
use crate::news::history::{self, PastChange};
use crate::seller::Seller;

/// Prints the history, the oldest change first. The proxy may be running.
///
/// # Errors
/// If there is no cache directory, or it cannot be read.
pub(crate) fn news(arguments: &NewsArguments) -> Result<(), CommandError> {
    let NewsArguments { seller, history } = arguments;
    let mut entries = read(history, "news", history::read)?;
    retain_since(&mut entries, history.since, |entry| &entry.at);
    if let Some(seller) = seller.map(|seller| SellerName::from(Seller::from(seller))) {
        entries.retain(|PastChange { change, .. }| change.seller == seller || change.was == Some(seller));
    }
    match history.format {
        TableFormat::Json => print_json("news", &entries),
        TableFormat::Table if entries.is_empty() => print("nothing new\n"),
        TableFormat::Table => print(&table(&entries).render(Terminal::stdout())),
    }
}

/// Reads a history from the cache directory. `what` is kept there.
///
/// # Errors
/// If there is no cache directory, or it cannot be read.
pub(super) fn read<T>(
    arguments: &HistoryArguments,
    what: &str,
    read: impl FnOnce(&Path) -> io::Result<Vec<T>>,
) -> Result<Vec<T>, CommandError> {
    logging::start(LogFormat::Text, None)?;
    let HistoryArguments { config, cache_dir, variables, .. } = arguments;
    let (config, cache_dir, variables) = (config.clone(), cache_dir.clone(), variables.clone());
    let config = Config::load(Settings { config, cache_dir, variables, ..Settings::default() })?;
    let Some(directory) = config.cache_dir.map(|given| given.value) else {
        return Err(CommandError::wrong(format_args!(
            "--cache-dir: {what} are kept there, so it must be given"
        )));
    };
    // A history that was never written is empty, but a directory must be there.
    let read = std::fs::read_dir(&directory).and_then(|_| read(&directory));
    read.map_err(|error| {
        CommandError::failed(format_args!("cannot read the history in {}: {error}", directory.display()))
    })
}

/// Drops what happened longer ago than `since`.
pub(super) fn retain_since<T>(
    entries: &mut Vec<T>,
    since: Option<humantime::Duration>,
    at: impl Fn(&T) -> &str,
) {
    // A time before all times leaves nothing out.
    if let Some(start) = since.and_then(|since| SystemTime::now().checked_sub(*since)) {
        entries.retain(|entry| humantime::parse_rfc3339(at(entry)).is_ok_and(|at| at >= start));
    }
}

fn table(entries: &[PastChange]) -> TextTable {
    let mut table = TextTable::new([
        Column::fixed("TIME"),
        Column::fixed("API"),
        Column::fixed("CHANGE"),
        Column::wrapped("CODE"),
        Column::wrapped("SELLER"),
        Column::cut("NAME"),
    ]);
    for PastChange { at, api, change } in entries {
        let mut seller = change.seller.name().to_owned();
        if let Some(was) = change.was {
            seller = format!("{} -> {seller}", was.name());
        }
        if change.whitelisted {
            seller += ", whitelisted";
        }
        let code = match &change.renamed_from {
            Some(old) => format!("{old} -> {}", change.code),
            None => change.code.clone(),
        };
        table.row([
            (at.as_str(), Style::Dim),
            (api, Style::Plain),
            (change.change.name(), Style::Plain),
            (&code, Style::Bold),
            (&seller, Style::Plain),
            (change.name.as_deref().unwrap_or_default(), Style::Plain),
        ]);
    }
    table
}
