//! Line and column of a byte offset in a text.

use std::fmt;

/// Line and column, counted as editors do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Line number, from 1.
    pub line: usize,
    /// Column number in characters, from 1.
    pub column: usize,
}

impl Place {
    /// Returns the place of a byte offset. An offset inside a character counts as that character's, and one
    /// beyond the end as the end.
    pub fn of(text: &str, offset: usize) -> Self {
        let before = &text[..text.floor_char_boundary(offset)];
        let line = before.rfind('\n').map_or(before, |at| &before[at + 1..]);
        Self { line: before.matches('\n').count() + 1, column: line.chars().count() + 1 }
    }
}

/// Places in one text, asked for mostly in its order: each costs what lies between it and the one before.
#[derive(Debug)]
pub(crate) struct Places<'a> {
    text: &'a str,
    /// Offset of the last place, at the border of a character.
    offset: usize,
    last: Place,
}

impl<'a> Places<'a> {
    /// Starts at the beginning of a text.
    pub(crate) fn new(text: &'a str) -> Self {
        Self { text, offset: 0, last: Place { line: 1, column: 1 } }
    }

    /// Returns what [`Place::of`] does.
    pub(crate) fn of(&mut self, offset: usize) -> Place {
        let offset = self.text.floor_char_boundary(offset);
        if offset < self.offset {
            *self = Self::new(self.text);
        }
        let between = &self.text[self.offset..offset];
        let Place { line, column } = Place::of(between, between.len());
        let before = if line == 1 { self.last.column - 1 } else { 0 };
        self.last = Place { line: self.last.line + line - 1, column: before + column };
        self.offset = offset;
        self.last
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn places_in_any_order_are_those_of_each(
            text in "[a\u{e9}\n]{0,30}",
            offsets in prop::collection::vec(0..40usize, 0..8),
        ) {
            let mut places = Places::new(&text);
            for offset in offsets {
                prop_assert_eq!(places.of(offset), Place::of(&text, offset));
            }
        }
    }

    #[test]
    fn counts_as_editors_do() {
        let check = |text: &str, offset: usize, expected: &str| {
            assert_eq!(Place::of(text, offset).to_string(), expected, "{offset} in {text:?}");
        };
        check("", 0, "1:1");
        check("ab\ncd", 1, "1:2");
        check("ab\ncd", 2, "1:3");
        check("ab\ncd", 3, "2:1");
        check("é\nüx", 5, "2:2");
        check("é", 1, "1:1");
        check("ab", 99, "1:3");
    }
}
