//! `news`: what was new in the catalog, from the history in the cache directory.

use std::io::{self, Write};
use std::time::SystemTime;

use super::Failure;
use crate::cli::{LogFormat, News, NewsFormat, Settings};
use crate::config::Config;
use crate::logging;
use crate::news::history::{self, Entry};

/// Prints the history, the oldest change first. The proxy may be running.
///
/// # Errors
/// If there is no cache directory, or it cannot be read.
pub fn news(arguments: News) -> Result<(), Failure> {
    logging::start(LogFormat::Text, None)?;
    let News { config, cache_dir, since, format } = arguments;
    let config = Config::load(Settings { config, cache_dir, ..Settings::default() })?;
    let Some(directory) = config.cache_dir else {
        return Err(Failure::wrong("--cache-dir: news are kept there, so it must be given"));
    };
    let failed =
        |error| Failure::failed(format!("cannot read the history in {}: {error}", directory.display()));
    if !directory.is_dir() {
        return Err(failed(io::ErrorKind::NotADirectory.into()));
    }
    let mut entries = history::read(&directory).map_err(failed)?;
    // A time before all times leaves nothing out.
    if let Some(start) = since.and_then(|since| SystemTime::now().checked_sub(*since)) {
        entries.retain(|entry| humantime::parse_rfc3339(&entry.at).is_ok_and(|at| at >= start));
    }
    let text = match format {
        NewsFormat::Json => serde_json::to_string_pretty(&entries).map_err(Failure::failed)? + "\n",
        NewsFormat::Table => table(&entries),
    };
    match io::stdout().write_all(text.as_bytes()) {
        // `| head` has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.map_err(Failure::failed),
    }
}

fn table(entries: &[Entry]) -> String {
    const TITLES: [&str; 6] = ["TIME", "API", "CHANGE", "CODE", "SELLER", "NAME"];
    if entries.is_empty() {
        return "nothing new\n".to_owned();
    }
    let row = |Entry { at, api, change }: &Entry| {
        let mut seller = change.seller.name().to_owned();
        if let Some(was) = change.was {
            seller = format!("{} -> {seller}", was.name());
        }
        if change.whitelisted {
            seller += ", whitelisted";
        }
        // The catalog may hold anything, and a terminal obeys some of it.
        let plain = |text: &str| text.chars().filter(|c| !c.is_control()).collect::<String>();
        let name = change.name.as_deref().unwrap_or_default();
        [at.clone(), plain(api), change.change.name().to_owned(), plain(&change.code), seller, plain(name)]
    };
    let rows: Vec<_> = [TITLES.map(str::to_owned)].into_iter().chain(entries.iter().map(row)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; TITLES.len()] = std::array::from_fn(width);
    let line = |row: &[String; TITLES.len()]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}
