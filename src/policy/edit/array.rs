//! Layout of an array of codes: where an entry goes in, and what goes out with one.

use std::ops::Range;

use crate::policy::Verdict;
use crate::policy::document::Document;

/// An array in its text. Between entries there are only blanks, line ends, comments and commas.
pub(super) struct Array<'a> {
    text: &'a str,
    /// Where the array stands, brackets included.
    span: Range<usize>,
    /// Where its entries stand.
    pub(super) entries: Vec<Range<usize>>,
}

/// Line of an array.
pub(super) struct ArrayLine<'a> {
    pub(super) indent: &'a str,
    /// The entry as it is written.
    pub(super) entry: &'a str,
    pub(super) tail: Tail<'a>,
}

/// What comes behind an entry and its comma: blanks and a comment, or nothing.
#[derive(Clone, Copy)]
pub(super) enum Tail<'a> {
    /// It is left out where the entry has no line of its own.
    Optional(&'a str),
    /// The entry gets a line of its own for it.
    Kept(&'a str),
}

/// What becomes of a comment beside an entry that is removed.
#[derive(Clone, Copy)]
pub(super) enum Beside<'a> {
    Goes,
    /// It stays if it says anything else.
    StaysUnless(Option<&'a str>),
}

impl<'a> Array<'a> {
    /// Returns the array of a key, or `None` if the key is missing or written as an array of tables (`[[hidden]]`).
    pub(super) fn of(text: &'a str, document: &Document, verdict: Verdict) -> Option<Self> {
        let (_, span) = document.arrays.iter().find(|(other, _)| *other == verdict)?;
        let entries = document.entries.iter().filter(|entry| entry.verdict == verdict);
        let entries: Vec<_> = entries.map(|entry| entry.span.clone()).collect();
        // A document that parses has an array behind an equals sign, on the same line.
        let is_value = text[..span.start].trim_end_matches([' ', '\t']).ends_with('=');
        is_value.then(|| Self { text, span: span.clone(), entries })
    }

    /// Returns the text with one more entry.
    pub(super) fn with(&self, line: &ArrayLine<'_>) -> String {
        let Self { text, entries, .. } = self;
        let ArrayLine { indent, entry, tail: Tail::Optional(tail) | Tail::Kept(tail) } = line;
        let newline = newline(text);
        let close = self.span.end - 1;
        let Some(last) = entries.last().map(|last| last.end) else {
            let inside = self.span.start + 1..close;
            return match text[inside.clone()].rfind('\n') {
                // Before the bracket, on its line, are only blanks.
                Some(at) => {
                    let at = inside.start + at + 1;
                    splice(text, &[(at..at, &format!("{indent}{entry},{tail}{newline}"))])
                }
                None => splice(text, &[(inside, &format!("{newline}{indent}{entry},{tail}{newline}"))]),
            };
        };
        let comma = self.comma(last..close);
        match text[last..close].rfind('\n') {
            Some(at) if comma.is_none_or(|comma| comma <= last + at) => {
                let at = last + at + 1;
                let (before, after) = if comma.is_some() { ("", ",") } else { (",", "") };
                splice(
                    text,
                    &[(last..last, before), (at..at, &format!("{indent}{entry}{after}{tail}{newline}"))],
                )
            }
            // The bracket follows on the same line, so a comment would swallow it.
            _ if matches!(line.tail, Tail::Kept(_)) => {
                let (behind, before, after) = match comma {
                    Some(at) => (at + 1, "", ","),
                    None => (last, ",", ""),
                };
                let line = format!("{before}{newline}{indent}{entry}{after}{tail}{newline}");
                splice(text, &[(behind..close, &line)])
            }
            _ => {
                let own_line = entries.last().is_some_and(|last| self.begins_line(last.start));
                let gap = if own_line { format!("{newline}{indent}") } else { " ".to_owned() };
                match comma {
                    Some(at) => splice(text, &[(at + 1..at + 1, &format!("{gap}{entry},"))]),
                    None => splice(text, &[(last..last, &format!(",{gap}{entry}"))]),
                }
            }
        }
    }

    /// Returns the text with a new array behind this one.
    pub(super) fn with_array_behind(&self, key: &str, line: &ArrayLine<'_>) -> String {
        let (text, newline) = (self.text, newline(self.text));
        let ArrayLine { indent, entry, tail: Tail::Optional(tail) | Tail::Kept(tail) } = line;
        let array = format!("{key} = [{newline}{indent}{entry},{tail}{newline}]");
        match text[self.span.end..].find('\n') {
            Some(at) => {
                let at = self.span.end + at + 1;
                splice(text, &[(at..at, &format!("{array}{newline}"))])
            }
            None => format!("{text}{newline}{array}"),
        }
    }

    /// Returns what is behind an entry and its comma up to the end of the line, if there is a comment and no other
    /// entry on the line, so that the comment is about this one.
    pub(super) fn tail(&self, nth: usize) -> Option<&'a str> {
        let start = self.entries[nth].start;
        let is_alone = nth
            .checked_sub(1)
            .is_none_or(|previous| self.text[self.entries[previous].end..start].contains('\n'));
        let behind = self.behind(nth);
        let tail = &self.text[behind..self.line_end(behind)?];
        (is_alone && tail.contains('#')).then_some(tail)
    }

    /// Returns the text without an entry, and whether a comment beside it stays.
    pub(super) fn without(&self, nth: usize, beside: Beside<'_>) -> (String, bool) {
        let Self { text, entries, .. } = self;
        let Range { start, end } = entries[nth].clone();
        let close = self.span.end - 1;
        let before = nth.checked_sub(1).map(|previous| entries[previous].end);
        let after = entries.get(nth + 1).map(|next| next.start);
        let comma = self.comma(end..after.unwrap_or(close));
        let behind = self.behind(nth);
        let line_end = self.line_end(behind);
        let foreign_comment = line_end.and_then(|line_end| {
            let at = behind + text[behind..line_end].find('#')?;
            match beside {
                Beside::Goes => None,
                Beside::StaysUnless(ours) => {
                    (Some(text[at + 1..line_end].trim()) != ours.map(str::trim)).then_some(at)
                }
            }
        });
        let comma_behind = |at: usize| comma.filter(|comma| *comma >= at).map_or(at..at, |at| at..at + 1);
        let edited = match (before, after, line_end) {
            // A line of its own goes as a whole, but for somebody's comment.
            (_, _, Some(line_end)) if self.begins_line(start) => {
                let whole =
                    || self.line_start(start)..line_end + text[line_end..].find('\n').map_or(0, |at| at + 1);
                let gone = foreign_comment.map_or_else(whole, |comment| start..comment);
                let comma = comma_behind(gone.end);
                splice(text, &[(gone, ""), (comma, "")])
            }
            (Some(before), _, _) if !text[before..start].contains('\n') => splice(text, &[(before..end, "")]),
            (_, Some(after), _) if !text[end..after].contains('\n') => splice(text, &[(start..after, "")]),
            (None, None, _) if !text[self.span.clone()].contains('\n') => {
                splice(text, &[(self.span.start + 1..close, "")])
            }
            // It shares its line with a bracket, or its comma stands on another line.
            _ => {
                let from = if self.begins_line(start) { self.line_start(start) } else { start };
                let to = foreign_comment.or(line_end).unwrap_or(behind);
                splice(text, &[(from..to, ""), (comma_behind(to), "")])
            }
        };
        (edited, foreign_comment.is_some())
    }

    /// Returns the place behind an entry and its comma, if nothing but blanks is between them.
    fn behind(&self, nth: usize) -> usize {
        let end = self.entries[nth].end;
        let next = self.entries.get(nth + 1).map_or(self.span.end, |next| next.start);
        let comma = self.comma(end..next).filter(|at| is_blank(&self.text[end..*at]));
        comma.map_or(end, |at| at + 1)
    }

    /// Finds the comma in a gap between entries, outside of comments.
    fn comma(&self, gap: Range<usize>) -> Option<usize> {
        let mut in_comment = false;
        let found = self.text[gap.clone()].bytes().position(|byte| {
            in_comment = if in_comment { byte != b'\n' } else { byte == b'#' };
            byte == b',' && !in_comment
        });
        found.map(|at| gap.start + at)
    }

    /// Finds the line's end (before its line break) from behind an entry and its comma, if nothing but blanks
    /// and a comment comes before it.
    fn line_end(&self, from: usize) -> Option<usize> {
        let rest = &self.text[from..self.span.end];
        let line = &rest[..rest.find('\n')?];
        let line = line.strip_suffix('\r').unwrap_or(line);
        let blanks = line.trim_start_matches([' ', '\t']);
        (blanks.is_empty() || blanks.starts_with('#')).then_some(from + line.len())
    }

    fn line_start(&self, at: usize) -> usize {
        self.text[..at].rfind('\n').map_or(0, |newline| newline + 1)
    }

    fn begins_line(&self, at: usize) -> bool {
        let start = self.line_start(at);
        start > self.span.start && is_blank(&self.text[start..at])
    }

    /// Returns the blanks before the last entry or comment that begins a line.
    pub(super) fn indent(&self) -> Option<&'a str> {
        if let Some(entry) = self.entries.iter().rev().find(|entry| self.begins_line(entry.start)) {
            return Some(&self.text[self.line_start(entry.start)..entry.start]);
        }
        let lines = self.text[self.span.clone()].lines().skip(1);
        let comments = lines.filter(|line| line.trim_start().starts_with('#'));
        comments.last().map(|line| &line[..line.len() - line.trim_start().len()])
    }
}

/// Replaces ranges, in order and apart, with other text.
pub(super) fn splice(text: &str, changes: &[(Range<usize>, &str)]) -> String {
    let mut out = String::with_capacity(text.len() + 64);
    let mut at = 0;
    for (range, with) in changes {
        out += &text[at..range.start];
        out += with;
        at = range.end;
    }
    out + &text[at..]
}

fn is_blank(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b' ' | b'\t'))
}

/// Returns the line end that the text uses first.
pub(super) fn newline(text: &str) -> &'static str {
    match text.find('\n') {
        Some(at) if text[..at].ends_with('\r') => "\r\n",
        _ => "\n",
    }
}

/// Writes a basic string (TOML 1.1, "String").
pub(super) fn quoted(code: &str) -> String {
    let mut out = "\"".to_owned();
    for c in code.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out += &format!("\\u{:04X}", u32::from(c)),
            c => out.push(c),
        }
    }
    out + "\""
}
