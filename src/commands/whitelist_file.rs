//! The whitelist file for commands: read once, with the places of its codes.

use std::path::{Path, PathBuf};

use crate::place::Place;
use crate::whitelist::watch::{LoadError, read_file};
use crate::whitelist::{self, Finding, ListedCode, Whitelist};

/// A valid whitelist and its text.
#[derive(Debug)]
pub(crate) struct WhitelistFile {
    /// Path as it was given.
    pub(crate) path: PathBuf,
    /// Content of the file.
    pub(crate) text: String,
    /// The parsed list.
    pub(crate) list: Whitelist,
    /// Codes in the order of the file, duplicates included.
    pub(crate) entries: Vec<ListedCode>,
    /// Entries that are valid, but probably not intended.
    pub(crate) warnings: Vec<Finding>,
}

/// Files that a command was given, and that a command which edits the same whitelist has to be given as well.
#[derive(Debug)]
pub(crate) struct GivenFiles {
    pub(crate) config: Option<PathBuf>,
    pub(crate) whitelist: Option<PathBuf>,
}

impl GivenFiles {
    /// Returns the command that edits the whitelist with a verb such as `allow`, as it is typed into a shell.
    pub(crate) fn edit_command(&self, verb: &str, code: &str) -> String {
        let flags = [("--config", &self.config), ("--whitelist", &self.whitelist)];
        let flags =
            flags.iter().filter_map(|(flag, path)| Some(format!(" {flag} {}", word(path.as_deref()?))));
        let (flags, code) = (flags.collect::<String>(), word(Path::new(code)));
        match code.starts_with('-') {
            true => format!("catalog-proxy {verb}{flags} -- {code}"),
            false => format!("catalog-proxy {verb} {code}{flags}"),
        }
    }
}

/// Quotes a path for a shell if it must be.
fn word(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

impl WhitelistFile {
    /// Reads and parses a file.
    ///
    /// # Errors
    /// If it cannot be read or is no whitelist.
    pub(crate) fn read(path: &Path) -> Result<Self, LoadError> {
        let bytes = read_file(path)?;
        let refused = |finding| LoadError::Parse { path: path.to_owned(), finding };
        let (list, warnings) = Whitelist::parse(&bytes).map_err(refused)?;
        let text = whitelist::text(&bytes).map_err(refused)?.to_owned();
        let entries = whitelist::entries(&text).map_err(refused)?;
        Ok(Self { path: path.to_owned(), text, list, entries, warnings })
    }

    /// Returns all places of a code.
    pub(crate) fn places(&self, code: &str) -> impl Iterator<Item = Place> {
        let entries = self.entries.iter().filter(move |entry| entry.code == code);
        entries.map(|entry| Place::of(&self.text, entry.span.start))
    }
}
