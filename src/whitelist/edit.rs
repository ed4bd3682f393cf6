//! Edits of the file's text that change nothing but what they are about.
//!
//! The text is cut and spliced around the codes where the TOML parser saw them, so that comments, order,
//! quotes, indentation and line ends stay as they are, byte for byte. What comes out is parsed again and
//! must list exactly what was meant.

use std::ops::Range;

use super::{Entry, Finding, array};

/// How far a code is indented where the file shows no way of its own.
const INDENT: &str = "  ";

/// Why a text cannot be edited.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// It is no whitelist.
    #[error("{0}")]
    Invalid(#[from] Finding),
    /// The edited text would not list what was meant.
    #[error("the file is written in a way that cannot be edited safely, so please edit it by hand")]
    Layout,
}

/// A text without a code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden {
    /// It.
    pub text: String,
    /// A comment that stood beside the code stays without it, and may pass for one about the next.
    pub leaves_comment: bool,
}

/// Lists `code`, with a comment beside it where it gets a line of its own.
///
/// Returns nothing if it is listed already. A file without the list gets one.
///
/// # Errors
/// If the text cannot be edited.
pub fn allow(text: &str, code: &str, comment: Option<&str>) -> Result<Option<String>, EditError> {
    let array = match array(text) {
        Ok((span, entries)) => Array { text, span, entries },
        Err(_) if is_empty(text) => {
            let newline = newline(text);
            let gap = if text.is_empty() || text.ends_with('\n') { "" } else { newline };
            return allow(&format!("{text}{gap}extensions = []{newline}"), code, comment);
        }
        Err(finding) => return Err(finding.into()),
    };
    if array.entries.iter().any(|entry| entry.code == code) {
        return Ok(None);
    }
    let edited = array.with(code, comment);
    let mut expected = codes(&array.entries);
    expected.push(code);
    proved(edited, &expected).map(Some)
}

/// Unlists `code`, all its duplicates included. A comment beside it goes too if it is `comment`, which
/// [`allow`] wrote; all others are somebody's, and stay.
///
/// Returns nothing if it is not listed.
///
/// # Errors
/// If the text cannot be edited.
pub fn hide(text: &str, code: &str, comment: Option<&str>) -> Result<Option<Hidden>, EditError> {
    if is_empty(text) {
        return Ok(None);
    }
    let (_, before) = array(text)?;
    let mut expected = codes(&before);
    expected.retain(|listed| *listed != code);
    let mut edited = None;
    let mut leaves_comment = false;
    loop {
        let text = edited.as_deref().unwrap_or(text);
        let (span, entries) = array(text).map_err(|finding| match edited {
            None => EditError::Invalid(finding),
            Some(_) => EditError::Layout,
        })?;
        let Some(nth) = entries.iter().position(|entry| entry.code == code) else { break };
        let (without, leaves) = Array { text, span, entries }.without(nth, comment);
        edited = Some(without);
        leaves_comment |= leaves;
    }
    let hidden = |edited| Ok(Hidden { text: proved(edited, &expected)?, leaves_comment });
    edited.map(hidden).transpose()
}

/// INVARIANT: an edit does what was meant or nothing.
fn proved(edited: String, expected: &[&str]) -> Result<String, EditError> {
    match array(&edited) {
        Ok((_, entries)) if codes(&entries) == expected => Ok(edited),
        _ => Err(EditError::Layout),
    }
}

fn codes(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.code.as_str()).collect()
}

/// The list in its text. Between codes there are only blanks, line ends, comments and commas.
struct Array<'a> {
    text: &'a str,
    /// Brackets included.
    span: Range<usize>,
    entries: Vec<Entry>,
}

impl Array<'_> {
    fn with(&self, code: &str, comment: Option<&str>) -> String {
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
    fn without(&self, nth: usize, comment: Option<&str>) -> (String, bool) {
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
        let own_line = |entry: &&Entry| self.begins_line(entry.span.start);
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

/// Does a file set nothing at all?
fn is_empty(text: &str) -> bool {
    toml::from_str::<toml::Table>(text).is_ok_and(|table| table.is_empty())
}

fn newline(text: &str) -> &'static str {
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn allows_a_code() {
        let check = |text: &str, expected: &str| {
            for newline in ["\n", "\r\n"] {
                let (text, expected) = (text.replace('\n', newline), expected.replace('\n', newline));
                assert_eq!(allow(&text, "x", Some("Name")), Ok(Some(expected)), "{text}");
            }
        };
        check("extensions = [\n  \"a\",\n]\n", "extensions = [\n  \"a\",\n  \"x\", # Name\n]\n");
        check("extensions = [\n  \"a\"\n]\n", "extensions = [\n  \"a\",\n  \"x\" # Name\n]\n");
        check("extensions=[\n\t'a' # A, B\n]", "extensions=[\n\t'a', # A, B\n\t\"x\" # Name\n]");
        check(
            "extensions = [\n    \"a\", # A\n    # \"b\",\n\n]\n# end",
            "extensions = [\n    \"a\", # A\n    # \"b\",\n\n    \"x\", # Name\n]\n# end",
        );
        check("extensions = [\n  # none\n]\n", "extensions = [\n  # none\n  \"x\", # Name\n]\n");
        check(
            "extensions = [\n  \"a\", \"b\",\n]\n",
            "extensions = [\n  \"a\", \"b\",\n  \"x\", # Name\n]\n",
        );
        check("extensions = [\n  \"a\",\n  \"b\"]\n", "extensions = [\n  \"a\",\n  \"b\",\n  \"x\"]\n");
        check("extensions = [\n  \"a\"\n  , \"b\" ]\n", "extensions = [\n  \"a\"\n  , \"b\", \"x\" ]\n");
        check("extensions = [\n  \"a\"\n  ,]\n", "extensions = [\n  \"a\"\n  ,\n  \"x\",]\n");
        check("# none\nextensions = []\n", "# none\nextensions = [\n  \"x\", # Name\n]\n");
        check("extensions = [ ]\n", "extensions = [\n  \"x\", # Name\n]\n");
        check("extensions = [\"a\"]\n", "extensions = [\"a\", \"x\"]\n");
        check("extensions = [\"a\", ] # b, c\n", "extensions = [\"a\", \"x\", ] # b, c\n");
        check("# list\n", "# list\nextensions = [\n  \"x\", # Name\n]\n");
        check("\u{feff}extensions = [\"a\"]\n", "\u{feff}extensions = [\"a\", \"x\"]\n");
        assert_eq!(allow("", "x", None), Ok(Some("extensions = [\n  \"x\",\n]\n".to_owned())));
        assert_eq!(allow("# a", "x", None), Ok(Some("# a\nextensions = [\n  \"x\",\n]\n".to_owned())));
        assert_eq!(allow("extensions = ['x']", "x", None), Ok(None));
        assert_eq!(
            allow("extensions = [\"a\"]", "\"\\\n", None),
            Ok(Some("extensions = [\"a\", \"\\\"\\\\\\u000A\"]".to_owned()))
        );
    }

    fn text_without(text: &str, code: &str, comment: Option<&str>) -> Result<Option<String>, EditError> {
        Ok(hide(text, code, comment)?.map(|hidden| hidden.text))
    }

    #[test]
    fn tells_of_a_comment_that_stays() {
        let check = |text: &str, leaves: bool| {
            let hidden = hide(text, "x", Some("X")).expect("an edit").expect("a code to hide");
            assert_eq!(hidden.leaves_comment, leaves, "{text}");
        };
        check("extensions = [\n  \"x\", # X\n  # X\n]\n", false);
        check("extensions = [\n  \"x\",\n  # above a\n  \"a\", # A\n]\n", false);
        check("extensions = [\n  \"x\", # X, for Bob\n]\n", true);
        check("extensions = [\n  \"a\", \"x\", # both\n]\n", true);
        check("extensions = [\n  \"x\", # X\n  \"x\", # twice\n]\n", true);
    }

    #[test]
    fn hides_a_code() {
        let check = |text: &str, expected: &str| {
            for newline in ["\n", "\r\n"] {
                let (text, expected) = (text.replace('\n', newline), expected.replace('\n', newline));
                assert_eq!(text_without(&text, "x", Some("X")), Ok(Some(expected)), "{text}");
            }
        };
        check("extensions = [\n  \"x\", # X\n  \"a\",\n]\n", "extensions = [\n  \"a\",\n]\n");
        check(
            "extensions = [\n  # first\n  \"a\", # A\n  # second\n  'x' # X\n  # end\n]\n",
            "extensions = [\n  # first\n  \"a\", # A\n  # second\n  # end\n]\n",
        );
        check("extensions = [\n  \"a\", \"x\", # both\n]\n", "extensions = [\n  \"a\", # both\n]\n");
        check("extensions = [\n  \"x\", \"a\", # both\n]\n", "extensions = [\n  \"a\", # both\n]\n");
        check("extensions = [\"x\"]", "extensions = []");
        check("extensions = [ \"x\", ]", "extensions = []");
        check("extensions = [\"a\", \"x\"]", "extensions = [\"a\"]");
        check("extensions = [\"a\", \"x\", ]", "extensions = [\"a\", ]");
        check("extensions = [\"a\", \"x\", \"b\"]", "extensions = [\"a\", \"b\"]");
        check("extensions = [\"x\", \"a\", \"x\", \"b\", \"x\"]", "extensions = [\"a\", \"b\"]");
        check("extensions = [\"x\", # X\n  \"a\"]", "extensions = [\n  \"a\"]");
        check("extensions = [\n  \"a\",\n  \"x\"]\n", "extensions = [\n  \"a\",\n]\n");
        check("extensions = [ # paid\n  \"x\"]\n", "extensions = [ # paid\n]\n");
        check("extensions = [\n    \"x\"\n  # a,\n  , \"a\"\n]\n", "extensions = [\n  # a,\n   \"a\"\n]\n");
        check("extensions = [\n  \"a\"\n  , \"x\" # X\n]", "extensions = [\n  \"a\"\n  , \n]");
        // Somebody's comments stay.
        check(
            "extensions = [\n  \"a\",\n  \"x\", # X, for Bob\n]\n",
            "extensions = [\n  \"a\",\n  # X, for Bob\n]\n",
        );
        check("extensions = [\n  \"x\" # keep\n  , \"a\"\n]\n", "extensions = [\n  # keep\n   \"a\"\n]\n");
        check("extensions = [\"x\", # keep\n  \"a\"]", "extensions = [# keep\n  \"a\"]");
        check("extensions = [\n  \"x\", # X\n  \"x\", # twice\n]\n", "extensions = [\n  # twice\n]\n");
        assert_eq!(
            text_without("extensions = [\n'x', #\n]", "x", None),
            Ok(Some("extensions = [\n#\n]".into()))
        );
        assert_eq!(text_without("extensions = ['a']", "x", None), Ok(None));
        assert_eq!(text_without("# none", "x", None), Ok(None));
        assert!(matches!(text_without("extension = []", "x", None), Err(EditError::Invalid(_))));
        assert!(matches!(allow("extensions = 1", "x", None), Err(EditError::Invalid(_))));
    }

    /// One code in some layout: the text from behind the comma before to its own comma.
    #[derive(Debug, Clone)]
    struct Piece {
        before: String,
        code: String,
        quote: char,
        /// Between the code and its comma.
        between: String,
        /// Behind the comma.
        after: String,
    }

    fn blanks() -> impl Strategy<Value = String> {
        prop::sample::select(vec!["", " ", "  ", "\t", "\n", "\n  ", " \n\n\t"]).prop_map(str::to_owned)
    }

    fn comments() -> impl Strategy<Value = String> {
        let text = prop_oneof![3 => "[ a-z,\"'\\]\\[é#]{0,6}", 1 => " ?N "];
        let comment = ("[ \n]?", text, blanks());
        prop_oneof![
            3 => blanks(),
            2 => comment.prop_map(|(before, text, blanks)| format!("{before}#{text}\n{blanks}")),
        ]
    }

    fn pieces() -> impl Strategy<Value = Vec<Piece>> {
        let between = prop_oneof![5 => Just(String::new()), 1 => comments()];
        let piece = (comments(), "[a-d]", prop::sample::select(vec!['"', '\'']), between, comments());
        let piece = piece.prop_map(|(before, code, quote, between, after)| Piece {
            before,
            code,
            quote,
            between,
            after,
        });
        prop::collection::vec(piece, 0..7)
    }

    /// Writes the list, and says which codes and comments are in it.
    fn write(pieces: &[Piece], trailing_comma: bool, around: &str, crlf: bool) -> String {
        let mut text = format!("{around}extensions = [");
        for (n, piece) in pieces.iter().enumerate() {
            let Piece { before, code, quote, between, after } = piece;
            let comma = if n + 1 < pieces.len() || trailing_comma { "," } else { "" };
            text += &format!("{before}{quote}{code}{quote}{between}{comma}{after}");
        }
        text += &format!("]{around}");
        if crlf { text.replace('\n', "\r\n") } else { text }
    }

    fn listed(text: &str) -> Vec<String> {
        array(text).expect("a list").1.into_iter().map(|entry| entry.code).collect()
    }

    /// The comments of a file that has no `#` in its codes, each with whether it may be one of ours.
    fn comments_in(text: &str) -> Vec<(bool, String)> {
        let comments = text.lines().filter_map(|line| line.split_once('#'));
        comments
            .map(|(code, comment)| (code.contains(['"', '\'']) && comment.trim() == "N", comment.to_owned()))
            .collect()
    }

    proptest! {
        #[test]
        fn edits_any_layout(
            pieces in pieces(),
            trailing_comma in any::<bool>(),
            around in prop::sample::select(vec!["", "\n", "\n# around\n"]),
            crlf in any::<bool>(),
            code in "[a-e]",
        ) {
            let text = write(&pieces, trailing_comma, around, crlf);
            let before = listed(&text);

            let allowed = allow(&text, &code, Some("N")).expect("an edit");
            prop_assert_eq!(allowed.is_none(), before.contains(&code));
            let allowed = allowed.unwrap_or_else(|| text.clone());
            let with: Vec<_> = before.iter().cloned().chain((!before.contains(&code)).then(|| code.clone())).collect();
            prop_assert_eq!(listed(&allowed), with);
            prop_assert_eq!(allow(&allowed, &code, Some("N")), Ok(None));
            // Nothing is lost: what was there is there still, in order.
            let mut rest = allowed.chars();
            prop_assert!(text.chars().all(|c| rest.any(|other| other == c)), "{:?}", allowed);
            let bare = |text: &str| text.matches('\n').count() - text.matches("\r\n").count();
            prop_assert!(!crlf || !text.contains('\n') || bare(&allowed) == 0, "{:?}", allowed);

            let hidden = text_without(&text, &code, Some("N")).expect("an edit");
            prop_assert_eq!(hidden.is_some(), before.contains(&code));
            let hidden = hidden.unwrap_or_else(|| text.clone());
            prop_assert_eq!(listed(&hidden), before.into_iter().filter(|listed| *listed != code).collect::<Vec<_>>());
            prop_assert_eq!(text_without(&hidden, &code, Some("N")), Ok(None));
            // What is left was there before, in order; no comment goes but those that `allow` wrote.
            let mut all = text.chars();
            prop_assert!(hidden.chars().all(|c| all.any(|other| other == c)), "{:?}", hidden);
            let kept: Vec<_> = comments_in(&hidden).into_iter().map(|(_, comment)| comment).collect();
            let mut kept = kept.iter();
            for (_, comment) in comments_in(&text).iter().filter(|(ours, _)| !ours) {
                prop_assert!(kept.any(|other| other == comment), "{:?} lost {:?}", hidden, comment);
            }
            let allowed_and_hidden = text_without(&allowed, &code, Some("N")).expect("an edit").expect("a code to hide");
            prop_assert_eq!(allowed_and_hidden.matches('#').count() <= text.matches('#').count(), true);
        }

        #[test]
        fn one_code_a_line_loses_that_line_only(
            codes in prop::collection::vec("[a-d]", 0..8),
            comments in prop::collection::vec("[a-z ]{0,5}|N", 8),
            trailing_comma in any::<bool>(),
            code in "[a-e]",
        ) {
            let line = |n: usize, listed: bool| {
                let comma = if n + 1 < codes.len() || trailing_comma { "," } else { "" };
                match (listed, comments[n].as_str()) {
                    (true, comment) => format!("  \"{}\"{comma} # {comment}\n", codes[n]),
                    (false, "N") => String::new(),
                    (false, comment) => format!("  # {comment}\n"),
                }
            };
            let text = |listed: &dyn Fn(usize) -> bool| {
                let lines: String = (0..codes.len()).map(|n| line(n, listed(n))).collect();
                format!("# top\nextensions = [\n  # inside\n{lines}  # end\n]\n")
            };
            let before = text(&|_| true);
            let expected = text(&|n| codes[n] != code);
            prop_assert_eq!(text_without(&before, &code, Some("N")).expect("an edit").unwrap_or(before), expected);
        }
    }
}
