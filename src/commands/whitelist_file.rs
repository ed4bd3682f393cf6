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
