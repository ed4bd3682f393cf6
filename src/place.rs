//! Line and column of a byte offset in a text, and the line itself to show to people.

use std::fmt;
use std::ops::Range;

use unicode_width::UnicodeWidthChar;

use crate::printable::is_plain;

/// Most columns of a line that an excerpt shows, so that it fits into a terminal.
const MAX_EXCERPT_COLUMNS: usize = 100;
/// Columns that it shows before what it points at, if the line is longer.
const COLUMNS_BEFORE: usize = 40;
/// Columns that a tab takes in an excerpt.
const TAB_COLUMNS: usize = 4;

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

/// One line of a text with a mark under a part of it, as compilers show it:
///
/// ```text
/// 3 | fresh-for = 10
///   |             ^^
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Excerpt {
    line_number: usize,
    /// The line, safe to print.
    line: String,
    /// Columns before the mark.
    before: usize,
    /// Columns of the mark, at least one.
    marked: usize,
}

impl Excerpt {
    /// Cuts the line out in which `span` begins. What of the span is in later lines is not marked.
    pub fn of(text: &str, span: Range<usize>) -> Self {
        let start = text.floor_char_boundary(span.start);
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line = text[line_start..].lines().next().unwrap_or_default();
        let marked = start - line_start..span.end.max(start) - line_start;
        let mut excerpt =
            Self { line_number: Place::of(text, start).line, line: String::new(), before: 0, marked: 0 };
        // Characters with their places on the screen.
        let mut columns = 0;
        let mut shown = Vec::new();
        for (at, c) in line.char_indices() {
            let (c, width) = match c {
                '\t' => (' ', TAB_COLUMNS),
                // SECURITY: what comes from a file must not control a terminal.
                c if !is_plain(c) => ('\u{fffd}', 1),
                c => (c, c.width().unwrap_or(0)),
            };
            match at {
                at if at < marked.start => excerpt.before += width,
                at if at < marked.end => excerpt.marked += width,
                _ => {}
            }
            shown.push((c, columns, width));
            columns += width;
        }
        let first = match columns > MAX_EXCERPT_COLUMNS && excerpt.before > COLUMNS_BEFORE {
            true => excerpt.before - COLUMNS_BEFORE,
            false => 0,
        };
        let last = first + MAX_EXCERPT_COLUMNS;
        let inside = shown.iter().filter(|(_, at, width)| *at >= first && at + width <= last);
        let skipped = shown.iter().filter(|(_, at, _)| *at < first).map(|(.., width)| width).sum::<usize>();
        let ellipsis = if first > 0 { "\u{2026}" } else { "" };
        excerpt.line.push_str(ellipsis);
        for (c, _, width) in inside {
            excerpt.line.extend(std::iter::repeat_n(*c, if *c == ' ' { *width } else { 1 }));
        }
        excerpt.line.push_str(if columns > last { "\u{2026}" } else { "" });
        excerpt.before = excerpt.before - skipped + ellipsis.chars().count();
        excerpt.marked = excerpt.marked.clamp(1, (last - first + 1).saturating_sub(excerpt.before).max(1));
        excerpt
    }

    /// Cuts the line out that has a place, and marks one character.
    pub fn at(text: &str, place: Place) -> Self {
        let line_start = text.split_inclusive('\n').take(place.line - 1).map(str::len).sum::<usize>();
        let start = text[line_start..]
            .char_indices()
            .nth(place.column - 1)
            .map_or(text.len(), |(at, _)| line_start + at);
        Self::of(text, start..start)
    }

    /// Returns the line without its number and mark.
    pub fn line(&self) -> &str {
        &self.line
    }
}

impl fmt::Display for Excerpt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line_number, line, before, marked } = self;
        let margin = line_number.to_string().len();
        write!(f, "{line_number} | {line}\n{:margin$} | {:before$}{}", "", "", "^".repeat(*marked))
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
    fn excerpts_mark_what_is_meant() {
        let check = |text: &str, span: Range<usize>, expected: &str| {
            assert_eq!(Excerpt::of(text, span.clone()).to_string(), expected, "{span:?} of {text:?}");
            let place = Place::of(text, span.start);
            let line = expected.lines().next().expect("a line");
            assert_eq!(Excerpt::at(text, place).to_string().lines().next(), Some(line), "{place}");
        };
        check("", 0..0, "1 | \n  | ^");
        check("a = 10", 4..6, "1 | a = 10\n  |     ^^");
        check("\n\ta = 1\r\nb", 6..7, "2 |     a = 1\n  |         ^");
        check("a = [\n1,\n", 4..8, "1 | a = [\n  |     ^");
        check("a", 9..12, "1 | a\n  |  ^");
        check("名前 = “x”", 9..18, "1 | 名前 = “x”\n  |        ^^^");
        check("a\u{1b}[31m\u{202e}b", 0..1, "1 | a\u{fffd}[31m\u{fffd}b\n  | ^");
        let nines = "\n".repeat(9) + "x";
        check(&nines, 9..10, "10 | x\n   | ^");
        let long = "a".repeat(60) + "XY" + &"b".repeat(90);
        let expected = format!("1 | …{}XY{}…\n  | {}^^", "a".repeat(40), "b".repeat(58), " ".repeat(41));
        check(&long, 60..62, &expected);
        let expected = format!("1 | XY{}…\n  | ^^", "b".repeat(98));
        check(&("XY".to_owned() + &"b".repeat(200)), 0..2, &expected);
    }

    proptest! {
        #[test]
        fn excerpts_take_any_text(text in "[a\t\r\n\u{e9}名\u{1b}]{0,300}", start in 0..700usize, len in 0..300usize) {
            let excerpt = Excerpt::of(&text, start..start + len).to_string();
            prop_assert_eq!(excerpt.lines().count(), 2);
            prop_assert!(excerpt.lines().all(|line| line.chars().count() < 220), "{}", excerpt);
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
