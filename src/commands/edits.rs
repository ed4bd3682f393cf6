//! `edits`: prints the edit log from the cache directory.

use std::time::SystemTime;

use super::CommandError;
use super::table::TextTable;
use super::terminal::{Style, Terminal, print, print_json};
use crate::cli::{EditsArguments, LogFormat, Settings, TableFormat};
use crate::config::Config;
use crate::edit_log::{self, EditRecord, EditedCodes};
use crate::logging;

/// Prints who changed which list when, the oldest edit first. The proxy may be running.
///
/// # Errors
/// If there is no cache directory, or it cannot be read.
pub(crate) fn edits(arguments: EditsArguments) -> Result<(), CommandError> {
    logging::start(LogFormat::Text, None)?;
    let EditsArguments { config, cache_dir, shop, since, format, variables } = arguments;
    let config = Config::load(Settings { config, cache_dir, variables, ..Settings::default() })?;
    let Some(directory) = config.cache_dir.map(|given| given.value) else {
        return Err(CommandError::wrong("--cache-dir: edits are kept there, so it must be given"));
    };
    let failed =
        |error| CommandError::failed(format!("cannot read the edit log in {}: {error}", directory.display()));
    // A log that was never written is empty, but a directory must be there.
    std::fs::read_dir(&directory).map_err(failed)?;
    let mut records = edit_log::read(&directory).map_err(failed)?;
    records.retain(|record| shop.as_ref().is_none_or(|shop| record.shop == *shop));
    // A time before all times leaves nothing out.
    if let Some(start) = since.and_then(|since| SystemTime::now().checked_sub(*since)) {
        records.retain(|record| humantime::parse_rfc3339(&record.at).is_ok_and(|at| at >= start));
    }
    match format {
        TableFormat::Json => print_json("edits", &records.iter().map(EditRecord::row).collect::<Vec<_>>()),
        TableFormat::Table if records.is_empty() => print("no edits\n"),
        TableFormat::Table => print(&table(&records).render(Terminal::stdout())),
    }
}

fn table(records: &[EditRecord]) -> TextTable {
    let mut table = TextTable::new(&["TIME", "SHOP", "BY", "EDIT", "NOTE", "ID"]).whole("EDIT");
    for EditRecord { id, at, by, shop, codes, note, undoes, .. } in records {
        let undone = undoes.as_ref().map(|id| format!("undo of {id}: ")).unwrap_or_default();
        let edit = format!("{undone}{}", described(codes));
        table.row([
            (at.as_str(), Style::Dim),
            (shop.as_str(), Style::Plain),
            (by.as_str(), Style::Bold),
            (edit.as_str(), Style::Plain),
            (note.as_deref().unwrap_or_default(), Style::Plain),
            (id.as_str(), Style::Dim),
        ]);
    }
    table
}

/// Most codes of one kind that a line names.
const MAX_NAMED_CODES: usize = 5;

fn described(codes: &EditedCodes) -> String {
    let EditedCodes { show, retire, hide, forget } = codes;
    let parts = [("show", show), ("retire", retire), ("hide", hide), ("forget", forget)];
    let parts = parts.into_iter().filter(|(_, codes)| !codes.is_empty()).map(|(verb, codes)| {
        let named = codes[..codes.len().min(MAX_NAMED_CODES)].join(", ");
        match codes.len().saturating_sub(MAX_NAMED_CODES) {
            0 => format!("{verb} {named}"),
            more => format!("{verb} {named} and {more} more"),
        }
    });
    let described = parts.collect::<Vec<_>>().join("; ");
    if described.is_empty() { "the same codes".to_owned() } else { described }
}
