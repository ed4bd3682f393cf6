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

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
