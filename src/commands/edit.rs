//! `allow` and `hide`: edits of the whitelist file.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use super::CommandError;
use super::catalog_source::{Asking, Listing, block_on, origin};
use super::diff::always_shown;
use super::terminal::{print, printable};
use crate::cli::{Edit, Sources};
use crate::config::Config;
use crate::feed::listing::Listed;
use crate::place::Place;
use crate::policy::suggestion;
use crate::seller::Seller;
use crate::stderr;
use crate::whitelist;
use crate::whitelist::edit::{self, EditError, Hidden};
use crate::whitelist::replace::{Editing, Replaced};
use crate::whitelist::watch::{LoadError, MAX_FILE_SIZE, read_editable};

/// Longest wait for the upstream. It only provides names and suggestions, and somebody waits at the terminal.
const PATIENCE: Duration = Duration::from_secs(3);
/// Most attempts of an edit. Another one is made when somebody else has changed the file meanwhile.
const MAX_ROUNDS: usize = 10;

/// Closing note of each edit: that customers see it later surprises people most.
const WHEN: &str = "The proxy shows it within a second; a Plesk server does when it next renews its own copy of \
                    the catalog, about every three days.";

/// Kind of edit.
#[derive(Debug, Clone, Copy)]
enum Verb {
    Allow,
    Hide,
}

/// Adds codes to the whitelist.
///
/// # Errors
/// If one is unknown, or the file cannot be edited. Then nothing is changed.
pub(crate) fn allow(arguments: &Edit) -> Result<(), CommandError> {
    run(Verb::Allow, arguments)
}

/// Removes codes from the whitelist.
///
/// # Errors
/// If one is unknown, or the file cannot be edited. Then nothing is changed.
pub(crate) fn hide(arguments: &Edit) -> Result<(), CommandError> {
    run(Verb::Hide, arguments)
}

fn run(verb: Verb, arguments: &Edit) -> Result<(), CommandError> {
    let config = Config::load(arguments.sources.settings())?;
    let path = config.whitelist.as_path();
    // A file that is not there should be told before anyone waits for the upstream.
    read_editable(path)?;
    let catalog = at_hand(&arguments.sources, &config)?;
    let cannot = |error| CommandError::failed(format!("cannot write {}: {error}", path.display()));
    let editing = Editing::begin(path).map_err(cannot)?;
    for _ in 0..MAX_ROUNDS {
        let bytes = read_editable(path)?;
        let refused = |finding| LoadError::Parse { path: path.to_owned(), finding };
        let text = crate::policy::document::text(&bytes).map_err(refused)?;
        let (force, catalog) = (arguments.force, catalog.as_ref());
        let mut draft = Draft { before: text, text: text.to_owned(), path, catalog, force };
        let report = draft.apply(verb, &arguments.codes)?;
        let is_edit = draft.text != text;
        if draft.text.len() as u64 > MAX_FILE_SIZE {
            let message = format!("{}: would have more than {MAX_FILE_SIZE} bytes", path.display());
            return Err(CommandError::failed(format!("{message}; nothing was changed")));
        }
        if is_edit {
            match editing.replace(&bytes, draft.text.as_bytes()).map_err(cannot)? {
                Replaced::Changed => continue,
                Replaced::Renamed => {}
                Replaced::InPlace(obstacle) => {
                    stderr::message(format_args!("note: {} was written in place: {obstacle}", path.display()))
                }
            }
        }
        print(&report)?;
        if is_edit && io::stderr().is_terminal() {
            stderr::message(WHEN);
        }
        return Ok(());
    }
    Err(CommandError::failed(format!("{}: somebody else keeps changing it", path.display())))
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
    let copy = Listing::from_disk(config);
    match &copy {
        Some(copy) => stderr::message(format_args!("warning: {why}; using {}", copy.origin)),
        None => stderr::message(format_args!("warning: {why}; codes are not checked against the catalog")),
    }
    Ok(copy)
}

/// Whitelist text during an edit.
struct Draft<'a> {
    before: &'a str,
    text: String,
    path: &'a Path,
    catalog: Option<&'a Listing>,
    force: bool,
}

/// Reason why the edit of a code is refused.
enum EditRefusal {
    /// It is probably mistyped.
    Unknown(String),
    /// The text cannot be edited.
    Edit(EditError),
}

impl From<EditError> for EditRefusal {
    fn from(error: EditError) -> Self {
        Self::Edit(error)
    }
}

impl<'a> Draft<'a> {
    /// Edits all codes or none. Returns what was done, or everything that is wrong, one line a code.
    fn apply(&mut self, verb: Verb, codes: &[String]) -> Result<String, CommandError> {
        let mut report = String::new();
        let mut unknown = String::new();
        for code in codes {
            let done = match verb {
                Verb::Allow => self.allow(code),
                Verb::Hide => self.hide(code),
            };
            match done {
                Ok(done) => report += &format!("{}: {done}\n", printable(code)),
                Err(EditRefusal::Unknown(message)) => unknown += &format!("{message}\n"),
                Err(EditRefusal::Edit(EditError::Invalid(finding))) => {
                    return Err(LoadError::Parse { path: self.path.to_owned(), finding }.into());
                }
                Err(EditRefusal::Edit(error)) => {
                    return Err(CommandError::failed(format!("{}: {error}", self.path.display())));
                }
            }
        }
        match unknown.is_empty() {
            true => Ok(report),
            false => Err(CommandError::failed(format!(
                "{unknown}Nothing was changed; --force does it all the same."
            ))),
        }
    }

    fn allow(&mut self, code: &str) -> Result<String, EditRefusal> {
        let listed = self.find(code);
        let name = listed.and_then(|listed| listed.name.as_deref()).map(printable);
        let Some(edited) = edit::allow(&self.text, code, name.as_deref())? else {
            return Ok(format!("already listed{}", self.place(&self.text, code)));
        };
        match (self.catalog, listed.map(|listed| listed.package.seller)) {
            _ if self.force => {}
            (Some(catalog), None) => return Err(EditRefusal::Unknown(catalog.unknown(code))),
            (_, Some(seller @ (Seller::Free | Seller::Vendor))) => {
                return Ok(format!("not listed: {}", always_shown(seller)));
            }
            (None, None) | (_, Some(Seller::Plesk)) => {}
        }
        self.text = edited;
        let verdict = match listed.map(|listed| listed.package.seller) {
            Some(Seller::Plesk) => "shown now",
            _ => "listed",
        };
        Ok(format!("{verdict}{}{}", named(listed), self.place(&self.text, code)))
    }

    fn hide(&mut self, code: &str) -> Result<String, EditRefusal> {
        let listed = self.find(code);
        let seller = listed.map(|listed| listed.package.seller).filter(|seller| *seller != Seller::Plesk);
        let name = listed.and_then(|listed| listed.name.as_deref()).map(printable);
        let (was, edited) = (self.place(self.before, code), edit::hide(&self.text, code, name.as_deref())?);
        match (edited, seller) {
            (Some(Hidden { text, leaves_comment }), seller) => {
                self.text = text;
                let left = if leaves_comment { " (the comment beside it stays)" } else { "" };
                Ok(match seller {
                    None if listed.is_none() => format!("no longer listed{was}{left}"),
                    None => format!("hidden now{}{was}{left}", named(listed)),
                    Some(seller) => format!("no longer listed{was}{left}, but {}", always_shown(seller)),
                })
            }
            (None, Some(seller)) => Ok(format!("not listed, but {}", always_shown(seller))),
            (None, None) if listed.is_some() || self.force => Ok("already hidden: not listed".to_owned()),
            (None, None) => self.not_listed(code),
        }
    }

    /// Handles a code that is not in the whitelist and cannot be removed from it.
    fn not_listed(&self, code: &str) -> Result<String, EditRefusal> {
        let entries = whitelist::entries(&self.text).unwrap_or_default();
        let meant = suggestion::suggest(code, entries.iter().map(|entry| entry.code.as_str()));
        match (meant, self.catalog) {
            (Some(meant), _) => Err(format!("{code:?} is not listed; did you mean {meant:?}?")),
            (None, Some(catalog)) => Err(catalog.unknown(code)),
            (None, None) => Ok("not listed".to_owned()),
        }
        .map_err(EditRefusal::Unknown)
    }

    fn find(&self, code: &str) -> Option<&'a Listed> {
        self.catalog?.find(code)
    }

    /// Formats the place of a code in the file.
    fn place(&self, text: &str, code: &str) -> String {
        let entries = whitelist::entries(text).unwrap_or_default();
        let entry = entries.iter().find(|entry| entry.code == code);
        let line = entry.map(|entry| Place::of(text, entry.span.start).line);
        line.map(|line| format!(", {}:{line}", self.path.display())).unwrap_or_default()
    }
}

fn named(listed: Option<&Listed>) -> String {
    let name = listed.and_then(|listed| listed.name.as_deref());
    name.map(|name| format!(" ({})", printable(name))).unwrap_or_default()
}
