//! The whitelist file as commands read it: once, with the places of its codes.

use std::path::{Path, PathBuf};

use crate::place::Place;
use crate::whitelist::watch::{LoadError, read_file};
use crate::whitelist::{self, Entry, Finding, Whitelist};

/// A good list and its text.
#[derive(Debug)]
pub struct WhitelistFile {
    /// The file as it was named.
    pub path: PathBuf,
    /// Its bytes.
    pub text: String,
    /// What it says.
    pub list: Whitelist,
    /// Its codes in order, duplicates included.
    pub entries: Vec<Entry>,
    /// What can hardly be meant.
    pub warnings: Vec<Finding>,
}

impl WhitelistFile {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read or is no whitelist.
    pub fn read(path: &Path) -> Result<Self, LoadError> {
        let bytes = read_file(path)?;
        let refused = |finding| LoadError::Parse { path: path.to_owned(), finding };
        let (list, warnings) = Whitelist::parse(&bytes).map_err(refused)?;
        let text = whitelist::text(&bytes).map_err(refused)?.to_owned();
        let entries = whitelist::entries(&text).map_err(refused)?;
        Ok(Self { path: path.to_owned(), text, list, entries, warnings })
    }

    /// Finds where a code is listed.
    pub fn places(&self, code: &str) -> impl Iterator<Item = Place> {
        let entries = self.entries.iter().filter(move |entry| entry.code == code);
        entries.map(|entry| Place::of(&self.text, entry.span.start))
    }
}
