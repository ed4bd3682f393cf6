//! `allow`, `retire`, `hide` and `forget`: edits of the whitelist file.

mod codes;
mod report;

use std::io::{self, IsTerminal};
use std::time::{Duration, SystemTime};

use similar::TextDiff;
use tokio::time::timeout;

use super::CommandError;
use super::catalog_source::{Asking, Listing, block_on, origin};
use super::terminal::print;
use super::whitelist_file::{GivenFiles, whitelist_path};
use crate::cli::{Edit, Sources};
use crate::config::Config;
use crate::editing::{self, AcceptedCodes, CodeEdit, EditContext, Verb};
use crate::policy::{Day, HostsKey, document};
use crate::printable::printable;
use crate::stderr;
use crate::whitelist::load::read_editable;
use crate::whitelist::replace::{Editing, Replaced};

/// Longest wait for the upstream. It only provides names and suggestions, and somebody waits at the terminal.
const PATIENCE: Duration = Duration::from_secs(3);
/// Most attempts of an edit. Another one is made when somebody else has changed the file meanwhile.
const MAX_ROUNDS: usize = 10;
/// Longest search for a shorter list of changed lines.
const DIFF_LIMIT: Duration = Duration::from_secs(1);

/// Closing note of each edit: that customers see it later surprises people most.
const WHEN: &str = "The proxy shows it within a second; a Plesk server does when it next renews its own copy of \
                    the catalog, about every three days.";

/// Edits the whitelist, or says what would change.
///
/// # Errors
/// If a code is unknown, or the file cannot be edited. Then nothing is changed.
pub(crate) fn edit(verb: Verb, arguments: &Edit) -> Result<(), CommandError> {
    let config = Config::load(arguments.sources.settings())?;
    let path = whitelist_path(&config)?;
    // A file that is not there should be told before anyone waits for the upstream.
    read_editable(path)?;
    let codes = codes::read(arguments, io::stdin().lock())?;
    let catalog = at_hand(&arguments.sources, &config)?;
    let given = GivenFiles::from(&arguments.sources);
    let cannot = |error| CommandError::failed(format!("cannot write {}: {error}", path.display()));
    // What is not written needs no lock, and no place to write to.
    let editing = (!arguments.dry_run).then(|| Editing::begin(path).map_err(cannot)).transpose()?;
    let edits = CodeEdit::all(verb, &codes);
    let context = EditContext {
        catalog: catalog.as_ref().map(|listing| listing.packages.as_slice()),
        accepted: if arguments.force { AcceptedCodes::Any } else { AcceptedCodes::Known },
        hosts_key: HostsKey::Allowed,
        today: Day::of(SystemTime::now()),
    };
    let origin = catalog.as_ref().map(|listing| listing.origin.as_str());
    for _ in 0..MAX_ROUNDS {
        let bytes = read_editable(path)?;
        let text = document::text(&bytes)
            .map_err(|finding| CommandError::wrong(format!("{}:{finding}", path.display())))?;
        let edited = editing::edit(text, &edits, &context)
            .map_err(|refusal| report::refused(refusal, path, origin))?;
        let (done, is_edit) = (report::done(&edited, path), edited.text != text);
        if let (true, Some(editing)) = (is_edit, &editing) {
            match editing.replace(&bytes, edited.text.as_bytes()).map_err(cannot)? {
                Replaced::Changed => continue,
                Replaced::Renamed => {}
                Replaced::InPlace(obstacle) => {
                    stderr::message(format_args!("note: {} was written in place: {obstacle}", path.display()))
                }
            }
        }
        if editing.is_none() {
            let name = path.display().to_string();
            print(&(done + &changed_lines(&name, text, &edited.text)))?;
        } else {
            print(&done)?;
        }
        report::warnings(&edited, &given).iter().for_each(stderr::message);
        if editing.is_none() {
            stderr::message("Nothing was written: this was a dry run.");
        } else if is_edit && io::stderr().is_terminal() {
            stderr::message(WHEN);
        }
        return Ok(());
    }
    Err(CommandError::failed(format!("{}: somebody else keeps changing it", path.display())))
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
