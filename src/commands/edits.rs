//! `edits`: prints the edit log from the cache directory.

use super::CommandError;
use super::news;
use super::table::{Column, TextTable};
use super::terminal::{Style, Terminal, print, print_json};
use crate::cli::{EditsArguments, TableFormat};
use crate::edit_log::{self, EditRecord, EditedCodes};

/// Prints who changed which list when, the oldest edit first. The proxy may be running.
///
/// # Errors
/// If there is no cache directory, or it cannot be read.
pub(crate) fn edits(arguments: &EditsArguments) -> Result<(), CommandError> {
    let EditsArguments { history, shop } = arguments;
    let mut records = news::read(history, "edits", edit_log::read)?;
    news::retain_since(&mut records, history.since, |record| &record.at);
    records.retain(|record| shop.as_ref().is_none_or(|shop| record.shop == *shop));
    match history.format {
        TableFormat::Json => print_json("edits", &records.iter().map(EditRecord::row).collect::<Vec<_>>()),
        TableFormat::Table if records.is_empty() => print("no edits\n"),
        TableFormat::Table => print(&table(&records).render(Terminal::stdout())),
    }
}

fn table(records: &[EditRecord]) -> TextTable {
    let mut table = TextTable::new([
        Column::fixed("TIME"),
        Column::fixed("SHOP"),
        Column::wrapped("BY"),
        Column::wrapped("EDIT"),
        Column::cut("NOTE"),
        Column::fixed("ID"),
    ]);
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
