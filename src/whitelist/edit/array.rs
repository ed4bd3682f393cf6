//! Layout of the array of codes: where a code goes in, and what goes out with one.

use std::ops::Range;

use crate::whitelist::ListedCode;

/// Indentation of a code where the file shows none.
const INDENT: &str = "  ";

/// The list in its text. Between codes there are only blanks, line ends, comments and commas.
pub(super) struct Array<'a> {
    pub(super) text: &'a str,
    /// Where the array stands, brackets included.
    pub(super) span: Range<usize>,
    pub(super) entries: Vec<ListedCode>,
}

impl Array<'_> {
    /// Returns the text with one more code.
    pub(super) fn with(&self, code: &str, comment: Option<&str>) -> String {
        let Self { text, entries, .. } = self;
        let code = quoted(code);
        let comment = comment.map(|comment| format!(" # {comment}")).unwrap_or_default();
        let newline = newline(text);
        let close = self.span.end - 1;
        let indent = self.indent();
        let Some(last) = entries.last().map(|last| last.span.end) else {
            let inside = self.span.start + 1..close;
            return match text[inside.clone()].rfind('\n') {
                // Before the bracket, on its line, are only blanks.
                Some(at) => {
                    let at = inside.start + at + 1;
                    splice(text, &[(at..at, &format!("{indent}{code},{comment}{newline}"))])
                }
                None => splice(text, &[(inside, &format!("{newline}{indent}{code},{comment}{newline}"))]),
            };
        };
        let comma = self.comma(last..close);
        match text[last..close].rfind('\n') {
            Some(at) if comma.is_none_or(|comma| comma <= last + at) => {
                let at = last + at + 1;
                let (before, after) = if comma.is_some() { ("", ",") } else { (",", "") };
                splice(
                    text,
                    &[(last..last, before), (at..at, &format!("{indent}{code}{after}{comment}{newline}"))],
                )
            }
            // The bracket follows on the same line, so a comment would swallow it.
            _ => {
                let own_line = entries.last().is_some_and(|last| self.begins_line(last.span.start));
                let gap = if own_line { format!("{newline}{indent}") } else { " ".to_owned() };
                match comma {
                    Some(at) => splice(text, &[(at + 1..at + 1, &format!("{gap}{code},"))]),
                    None => splice(text, &[(last..last, &format!(",{gap}{code}"))]),
                }
            }
        }
    }

    /// Returns the text without a code, and whether a comment beside it stays.
    pub(super) fn without(&self, nth: usize, comment: Option<&str>) -> (String, bool) {
        let Self { text, entries, .. } = self;
        let Range { start, end } = entries[nth].span.clone();
        let close = self.span.end - 1;
        let before = nth.checked_sub(1).map(|previous| entries[previous].span.end);
        let after = entries.get(nth + 1).map(|next| next.span.start);
        let comma = self.comma(end..after.unwrap_or(close));
        let own_comma = comma.filter(|at| is_blank(&text[end..*at]));
        let behind = own_comma.map_or(end, |at| at + 1);
        let line_end = self.line_end(behind);
        let foreign_comment = line_end.and_then(|line_end| {
            let at = behind + text[behind..line_end].find('#')?;
            (Some(text[at + 1..line_end].trim()) != comment.map(str::trim)).then_some(at)
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

    /// Finds the comma in a gap between codes, outside of comments.
    fn comma(&self, gap: Range<usize>) -> Option<usize> {
        let mut in_comment = false;
        let found = self.text[gap.clone()].bytes().position(|byte| {
            in_comment = if in_comment { byte != b'\n' } else { byte == b'#' };
            byte == b',' && !in_comment
        });
        found.map(|at| gap.start + at)
    }

    /// Finds the line's end (before its line break) from behind a code and its comma, if nothing but blanks
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

    /// Returns the blanks before the last code or comment that begins a line.
    fn indent(&self) -> &str {
        let own_line = |entry: &&ListedCode| self.begins_line(entry.span.start);
        if let Some(entry) = self.entries.iter().rev().find(own_line) {
            return &self.text[self.line_start(entry.span.start)..entry.span.start];
        }
        let lines = self.text[self.span.clone()].lines().skip(1);
        let comments = lines.filter(|line| line.trim_start().starts_with('#'));
        comments.last().map_or(INDENT, |line| &line[..line.len() - line.trim_start().len()])
    }
}

/// Replaces ranges, in order and apart, with other text.
fn splice(text: &str, changes: &[(Range<usize>, &str)]) -> String {
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

/// Writes a basic string (TOML 1.0, "String").
fn quoted(code: &str) -> String {
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
