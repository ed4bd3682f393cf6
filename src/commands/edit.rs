//! `allow`, `retire`, `hide` and `forget`: edits of the whitelist file.

mod codes;
mod report;

use std::io::{self, IsTerminal};
use std::time::{Duration, SystemTime};

use similar::TextDiff;
use tokio::time::timeout;

use super::CommandError;
use super::catalog_source::{Asking, Listing, block_on, origin};
use super::shop_selection::{SelectedShop, select};
use super::terminal::print;
use super::whitelist_file::GivenFiles;
use crate::cli::{Edit, Sources};
use crate::config::Config;
use crate::editing::{self, AcceptedCodes, CodeEdit, EditContext, EditedList, Verb};
use crate::policy::{Day, HostsKey, document};
use crate::printable::{joined, printable};
use crate::stderr;
use crate::whitelist::load::read_editable;
use crate::whitelist::replace::{Editing, Replaced};
use report::EditReport;

/// Longest wait for the upstream. It only provides names and suggestions, and somebody waits at the terminal.
const PATIENCE: Duration = Duration::from_secs(3);
/// Most attempts of an edit. Another one is made when somebody else has changed the file meanwhile.
const MAX_ROUNDS: usize = 10;
/// Longest search for a shorter list of changed lines.
const DIFF_LIMIT: Duration = Duration::from_secs(1);

/// Closing note of each edit: that customers see it later surprises people most.
const WHEN: &str = "The proxy shows it within a second; a Plesk server does when it next renews its own copy of \
                    the catalog, about every three days.";

/// Edits the whitelists of one or more shops, or says what would change.
///
/// # Errors
/// If a code is unknown, or a file cannot be edited. Then nothing is changed, unless one of several files cannot be
/// written.
pub(crate) fn edit(verb: Verb, arguments: &Edit) -> Result<(), CommandError> {
    let config = Config::load(arguments.sources.settings())?;
    let shops = select(&config, &arguments.shops.names)?;
    // A file that is not there should be told before anyone waits for the upstream.
    shops.iter().try_for_each(|shop| read_editable(&shop.path).map(drop))?;
    let codes = codes::read(arguments, io::stdin().lock())?;
    let catalog = at_hand(&arguments.sources, &config)?;
    let request = EditRequest {
        edits: CodeEdit::all(verb, &codes),
        context: EditContext {
            catalog: catalog.as_ref().map(|listing| listing.packages.as_slice()),
            accepted: if arguments.force { AcceptedCodes::Any } else { AcceptedCodes::Known },
            hosts_key: HostsKey::Allowed,
            today: Day::of(SystemTime::now()),
        },
        origin: catalog.as_ref().map(|listing| listing.origin.as_str()),
    };
    // What is not written needs no lock, and no place to write to.
    let files = if arguments.dry_run { Vec::new() } else { lock(&shops)? };
    let mut planned = request.plan_all(&shops)?;
    let mut written = Ok(());
    for (n, file) in files.iter().enumerate() {
        written = planned[n].write(file, &request);
        if written.is_err() {
            planned.truncate(n);
            break;
        }
    }
    let report = EditReport { given: &GivenFiles::from(&arguments.sources), is_of_several: shops.len() > 1 };
    let changes = |edit: &PlannedEdit<'_>| match arguments.dry_run {
        true => changed_lines(&edit.shop.path.display().to_string(), &edit.before, &edit.edited.text),
        false => String::new(),
    };
    let done = |edit: &PlannedEdit<'_>| report.done(&edit.edited, edit.shop) + &changes(edit);
    print(&planned.iter().map(done).collect::<String>())?;
    let warnings = planned.iter().flat_map(|edit| report.warnings(&edit.edited, &edit.shop.name));
    warnings.for_each(stderr::message);
    let is_edit = planned.iter().any(PlannedEdit::is_edit);
    if arguments.dry_run {
        stderr::message("Nothing was written: this was a dry run.");
    } else if is_edit && io::stderr().is_terminal() {
        stderr::message(WHEN);
    }
    written.map_err(|error: CommandError| {
        let names: Vec<_> =
            planned.iter().filter(|edit| edit.is_edit()).map(|edit| &edit.shop.name).collect();
        match names.is_empty() {
            true => error,
            false => CommandError {
                message: format!("{}; edited before that: {}", error.message, joined(&names)),
                ..error
            },
        }
    })
}

/// Locks the files of shops.
fn lock(shops: &[SelectedShop]) -> Result<Vec<Editing>, CommandError> {
    let unlocked =
        |shop: &SelectedShop| Editing::unlocked(&shop.path).map_err(|error| shop.not_written(&error));
    let mut files: Vec<_> = shops.iter().map(unlocked).collect::<Result<_, _>>()?;
    Editing::lock(&mut files);
    Ok(files)
}

/// What is wanted of each shop.
struct EditRequest<'a> {
    edits: Vec<CodeEdit>,
    context: EditContext<'a>,
    /// Where the catalog is from.
    origin: Option<&'a str>,
}

/// Edit of one shop's file that can be made.
struct PlannedEdit<'a> {
    shop: &'a SelectedShop,
    before: String,
    edited: EditedList,
}

impl EditRequest<'_> {
    /// Makes the edits of all shops in memory.
    fn plan_all<'s>(&self, shops: &'s [SelectedShop]) -> Result<Vec<PlannedEdit<'s>>, CommandError> {
        let (mut planned, mut refusals) = (Vec::new(), Vec::new());
        for shop in shops {
            let before = shop.read()?;
            match editing::edit(&before, &self.edits, &self.context) {
                Ok(edited) => planned.push(PlannedEdit { shop, before, edited }),
                Err(refusal) => refusals.push((shop.path.as_path(), refusal)),
            }
        }
        match refusals.is_empty() {
            true => Ok(planned),
            false => Err(report::refused(refusals, self.origin)),
        }
    }
}

impl PlannedEdit<'_> {
    fn is_edit(&self) -> bool {
        self.before != self.edited.text
    }

    /// Writes the file. If somebody else has changed it since it was read, the edit is made anew.
    fn write(&mut self, file: &Editing, request: &EditRequest<'_>) -> Result<(), CommandError> {
        let (shop, path) = (self.shop, self.shop.path.display());
        for _ in 0..MAX_ROUNDS {
            if !self.is_edit() {
                return Ok(());
            }
            let replaced = file.replace(self.before.as_bytes(), self.edited.text.as_bytes());
            match replaced.map_err(|error| shop.not_written(&error))? {
                Replaced::Renamed => return Ok(()),
                Replaced::InPlace(obstacle) => {
                    stderr::message(format_args!("note: {path} was written in place: {obstacle}"));
                    return Ok(());
                }
                Replaced::Changed => {
                    self.before = shop.read()?;
                    self.edited = editing::edit(&self.before, &request.edits, &request.context)
                        .map_err(|refusal| report::refused(vec![(&shop.path, refusal)], request.origin))?;
                }
            }
        }
        Err(CommandError::failed(format!("{path}: somebody else keeps changing it")))
    }
}

impl SelectedShop {
    /// Reads the text of its file.
    fn read(&self) -> Result<String, CommandError> {
        let bytes = read_editable(&self.path)?;
        let text = document::text(&bytes).map(str::to_owned);
        text.map_err(|finding| CommandError::wrong(format!("{}:{finding}", self.path.display())))
    }

    fn not_written(&self, error: &io::Error) -> CommandError {
        CommandError::failed(format!("cannot write {}: {error}", self.path.display()))
    }
}

/// Writes the changed lines of a file as a unified diff.
fn changed_lines(name: &str, before: &str, after: &str) -> String {
    let diff = TextDiff::configure().timeout(DIFF_LIMIT).diff_lines(before, after);
    let diff = diff.unified_diff().header(name, name).to_string();
    diff.lines().map(|line| format!("{}\n", printable(line))).collect()
}

/// Returns the catalog if it can be had within [`PATIENCE`]. Without it the edit is made all the same: an outage of the
/// vendor must not prevent it.
fn at_hand(sources: &Sources, config: &Config) -> Result<Option<Listing>, CommandError> {
    if let Some(feed) = &sources.feed {
        return Listing::from_file(feed, *config.cache.max_feed_size).map(Some);
    }
    let asking = Asking::new(config, sources.platform)?;
    let asked = block_on(async { timeout(PATIENCE, asking.packages()).await })?;
    let why = match asked {
        Ok(Ok(packages)) => return Ok(Some(Listing { origin: origin(config), packages })),
        Ok(Err(failure)) => failure.to_string(),
        Err(_) => format!("{}: no answer within {} s", origin(config), PATIENCE.as_secs()),
    };
    let copy = Listing::from_disk(config, sources.platform);
    match &copy {
        Some(copy) => stderr::message(format_args!("warning: {why}; using {}", copy.origin)),
        None => stderr::message(format_args!("warning: {why}; codes are not checked against the catalog")),
    }
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changed_lines_are_those_around_too_and_cannot_command_a_terminal() {
        let before = "1\n2\n3\n4\n5\r\n6\n7\n8\n9";
        let after = "1\n2\n3\n4\n5 \x1b[31m\r\n6\n7\n8\n9\n";
        let expected = "--- f\n+++ f\n@@ -2,8 +2,8 @@\n 2\n 3\n 4\n-5\n+5 \u{fffd}[31m\n 6\n 7\n 8\n-9\n\\ No newline at end of file\n+9\n";
        assert_eq!(changed_lines("f", before, after), expected);
        assert_eq!(changed_lines("f", before, before), "");
    }
}
