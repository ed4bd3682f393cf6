//! `news`: prints the history of changes from the cache directory.

use std::time::SystemTime;

use super::CommandError;
use super::table::TextTable;
use super::terminal::{Style, Terminal, print, print_json};
use crate::cli::{LogFormat, NewsArguments, Settings, TableFormat};
use crate::config::Config;
use crate::logging;
use crate::news::history::{self, PastChange};

/// Prints the history, the oldest change first. The proxy may be running.
///
/// # Errors
/// If there is no cache directory, or it cannot be read.
pub(crate) fn news(arguments: NewsArguments) -> Result<(), CommandError> {
    logging::start(LogFormat::Text, None)?;
    let NewsArguments { config, cache_dir, since, format, variables } = arguments;
    let config = Config::load(Settings { config, cache_dir, variables, ..Settings::default() })?;
    let Some(directory) = config.cache_dir.map(|given| given.value) else {
        return Err(CommandError::wrong("--cache-dir: news are kept there, so it must be given"));
    };
    let failed =
        |error| CommandError::failed(format!("cannot read the history in {}: {error}", directory.display()));
    // A history that was never written is empty, but a directory must be there.
    std::fs::read_dir(&directory).map_err(failed)?;
    let mut entries = history::read(&directory).map_err(failed)?;
    // A time before all times leaves nothing out.
    if let Some(start) = since.and_then(|since| SystemTime::now().checked_sub(*since)) {
        entries.retain(|entry| humantime::parse_rfc3339(&entry.at).is_ok_and(|at| at >= start));
    }
    match format {
        TableFormat::Json => print_json("news", &entries),
        TableFormat::Table if entries.is_empty() => print("nothing new\n"),
        TableFormat::Table => print(&table(&entries).render(Terminal::stdout())),
    }
}

fn table(entries: &[PastChange]) -> TextTable {
    let mut table = TextTable::new(&["TIME", "API", "CHANGE", "CODE", "SELLER", "NAME"]);
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
