//! `allow` and `hide`: edits of the whitelist file.

use std::io::{IsTerminal, stderr};
use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;

use super::Failure;
use super::catalog_source::{Asking, Catalog, alike, block_on, origin};
use super::diff::always_shown;
use super::terminal::{print, printable};
use crate::cli::{Edit, Sources};
use crate::config::Config;
use crate::feed::package::Seller;
use crate::place::Place;
use crate::whitelist::edit::{self, EditError};
use crate::whitelist::replace::{Editing, Replaced};
use crate::whitelist::watch::{LoadError, read_file};
use crate::whitelist::{self, Entry};

/// Longest wait for the upstream: it only tells names and finds mistypings, and someone sits there.
const PATIENCE: Duration = Duration::from_secs(3);
/// How often an edit is tried anew because somebody else's came between.
const MAX_ROUNDS: usize = 10;

/// What to do with the codes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    Allow,
    Hide,
}

/// What an edit makes of a text.
struct Edited {
    text: String,
    /// One line a code.
    report: Vec<String>,
}

/// Lists codes.
///
/// # Errors
/// If one is unknown, or the file cannot be edited. Then nothing is changed.
pub fn allow(arguments: &Edit) -> Result<(), Failure> {
    run(Verb::Allow, arguments)
}

/// Unlists codes.
///
/// # Errors
/// If one is unknown, or the file cannot be edited. Then nothing is changed.
pub fn hide(arguments: &Edit) -> Result<(), Failure> {
    run(Verb::Hide, arguments)
}

fn run(verb: Verb, arguments: &Edit) -> Result<(), Failure> {
    let config = Config::load(arguments.sources.settings())?;
    let path = config.whitelist.as_path();
    // What is wrong with the file should be said before anyone waits for the upstream.
    read_file(path)?;
    let catalog = at_hand(&arguments.sources, &config)?;
    let cannot = |error| Failure::failed(format!("cannot write {}: {error}", path.display()));
    let editing = Editing::begin(path).map_err(cannot)?;
    for _ in 0..MAX_ROUNDS {
        let bytes = read_file(path)?;
        let refused = |finding| LoadError::Parse { path: path.to_owned(), finding };
        let text = whitelist::text(&bytes).map_err(refused)?;
        let edited = apply(verb, arguments, catalog.as_ref(), path, text)?;
        let is_edit = edited.text != text;
        if is_edit {
            match editing.replace(&bytes, edited.text.as_bytes()).map_err(cannot)? {
                Replaced::Changed => continue,
                Replaced::Renamed => {}
                Replaced::InPlace => eprintln!(
                    "note: {} cannot be replaced (a mount point, or its directory or owner are out of reach), so it was written in place",
                    path.display()
                ),
            }
        }
        print(&edited.report.concat())?;
        if is_edit && stderr().is_terminal() {
            eprintln!(
                "The proxy shows it within a second; a Plesk server does when it renews its own copy of the catalog, about every three days."
            );
        }
        return Ok(());
    }
    Err(Failure::failed(format!("{}: somebody else keeps changing it", path.display())))
}

/// Returns the catalog if it can be had soon. Without it an edit is made all the same: the vendor being down
/// must not keep anybody from hiding or showing something.
fn at_hand(sources: &Sources, config: &Config) -> Result<Option<Catalog>, Failure> {
    if let Some(feed) = &sources.feed {
        return Catalog::from_file(feed, config.cache.max_feed_size).map(Some);
    }
    let asking = Asking::new(config)?;
    let asked = block_on(async { timeout(PATIENCE, asking.packages()).await })?;
    let why = match asked {
        Ok(Ok(packages)) => return Ok(Some(Catalog { origin: origin(config), packages })),
        Ok(Err(failure)) => failure.message,
        Err(_) => format!("{}: no answer within {} s", origin(config), PATIENCE.as_secs()),
    };
    let copy = Catalog::from_disk(config);
    match &copy {
        Some(copy) => eprintln!("warning: {why}; using {}", copy.origin),
        None => eprintln!("warning: {why}; codes are not checked against the catalog"),
    }
    Ok(copy)
}

fn apply(
    verb: Verb,
    arguments: &Edit,
    catalog: Option<&Catalog>,
    path: &Path,
    text: &str,
) -> Result<Edited, Failure> {
    let mut edited = Edited { text: text.to_owned(), report: Vec::new() };
    let mut unknown = Vec::new();
    for code in &arguments.codes {
        let done = match verb {
            Verb::Allow => allow_one(&mut edited.text, code, catalog, arguments.force),
            Verb::Hide => hide_one(&mut edited.text, code, catalog, arguments.force),
        };
        match done {
            Ok(what) => edited.report.push(format!("{}: {what}\n", printable(code))),
            Err(Refusal::Unknown(message)) => unknown.push(message),
            Err(Refusal::Edit(EditError::Invalid(finding))) => {
                return Err(LoadError::Parse { path: path.to_owned(), finding }.into());
            }
            Err(Refusal::Edit(error)) => return Err(Failure::failed(format!("{}: {error}", path.display()))),
        }
    }
    if !unknown.is_empty() {
        return Err(Failure::failed(format!(
            "{}\nNothing was changed; --force does it all the same.",
            unknown.join("\n")
        )));
    }
    Ok(edited)
}

enum Refusal {
    Unknown(String),
    Edit(EditError),
}

impl From<EditError> for Refusal {
    fn from(error: EditError) -> Self {
        Self::Edit(error)
    }
}

fn allow_one(
    text: &mut String,
    code: &str,
    catalog: Option<&Catalog>,
    force: bool,
) -> Result<String, Refusal> {
    let listed = catalog.and_then(|catalog| catalog.find(code));
    let name = listed.and_then(|listed| listed.name.as_deref()).map(printable);
    let Some(edited) = edit::allow(text, code, name.as_deref())? else {
        return Ok(format!("already in the whitelist{}", place(text, code)));
    };
    let seller = listed.map(|listed| listed.package.seller);
    match (catalog, seller) {
        (Some(catalog), None) if !force => return Err(Refusal::Unknown(catalog.unknown(code))),
        (_, Some(seller @ (Seller::Free | Seller::Vendor))) if !force => {
            return Ok(format!("not added: {}", always_shown(seller)));
        }
        _ => *text = edited,
    }
    let name = name.map(|name| format!(" ({name})")).unwrap_or_default();
    Ok(format!("shown now{name}{}", place(text, code)))
}

fn hide_one(
    text: &mut String,
    code: &str,
    catalog: Option<&Catalog>,
    force: bool,
) -> Result<String, Refusal> {
    let listed = catalog.and_then(|catalog| catalog.find(code));
    let was = place(text, code);
    let edited = edit::hide(text, code)?;
    let always = listed.map(|listed| listed.package.seller).filter(|seller| *seller != Seller::Plesk);
    let always = always.map(|seller| format!("; but it is {}", always_shown(seller))).unwrap_or_default();
    match edited {
        Some(edited) => {
            *text = edited;
            let name = listed.and_then(|listed| listed.name.as_deref());
            let name = name.map(|name| format!(" ({})", printable(name))).unwrap_or_default();
            let verdict = if always.is_empty() { "hidden now" } else { "removed" };
            Ok(format!("{verdict}{name}{was}{always}"))
        }
        None if listed.is_none() && !force => {
            let codes = whitelist::entries(text).map_err(EditError::from)?;
            let meant = alike(code, codes.iter().map(|Entry { code, .. }| code.as_str()));
            match (meant, catalog) {
                (Some(meant), _) => Err(Refusal::Unknown(format!(
                    "{code:?} is not in the whitelist; did you mean {meant:?}?"
                ))),
                (None, Some(catalog)) => Err(Refusal::Unknown(catalog.unknown(code))),
                (None, None) => Ok("not in the whitelist".to_owned()),
            }
        }
        None => Ok(format!("not in the whitelist{always}")),
    }
}

/// Says on which line a code stands.
fn place(text: &str, code: &str) -> String {
    let entries = whitelist::entries(text).unwrap_or_default();
    let entry = entries.iter().find(|entry| entry.code == code);
    entry.map(|entry| format!(", line {}", Place::of(text, entry.span.start).line)).unwrap_or_default()
}
