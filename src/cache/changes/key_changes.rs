//! Changes that the fetches of one key show.

use std::collections::HashSet;

use super::rename::Rename;
use crate::news::{Change, Kind};

/// Changes of one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyChanges {
    /// Codes that are new, gone, or have another seller.
    pub by_code: Vec<Change>,
    /// Uuids that have another code.
    pub renames: Vec<Rename>,
}

impl KeyChanges {
    /// Returns how many there are.
    pub fn len(&self) -> usize {
        self.by_code.len() + self.renames.len()
    }

    /// Returns true if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns the approximate size in memory, in bytes.
    pub fn weight(&self) -> usize {
        let by_code = self.by_code.iter().map(Change::weight).sum::<usize>();
        by_code + self.renames.iter().map(Rename::weight).sum::<usize>()
    }

    /// Drops what the renames explain: the old code that is gone, and the new one that is there or has a seller.
    pub(super) fn absorb(&mut self) {
        let from: HashSet<&str> = self.renames.iter().map(|rename| &*rename.from).collect();
        let to: HashSet<&str> = self.renames.iter().map(|rename| &*rename.to).collect();
        self.by_code.retain(|change| {
            let codes = if change.change == Kind::Gone { &from } else { &to };
            !codes.contains(&*change.code)
        });
    }
}
