//! Escaping of foreign text in output for people, so that it cannot break a line, control a terminal or change the
//! direction of the text around it.

use std::borrow::Cow;
use std::fmt::{self, Write as _};
use std::time::Duration;

/// Returns true if a character is shown as itself and has no effect on those around it. Control characters, line
/// separators, direction marks and characters without a width are not plain.
pub(crate) fn is_plain(c: char) -> bool {
    let odd = matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    !c.is_control() && !odd
}

/// Replaces characters that are not plain.
///
/// SECURITY: names, codes and links come from the network, and could control a terminal.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_plain) {
        return text.into();
    }
    let mut before = None;
    let mut after = text.chars().skip(1);
    let printed = text.chars().map(|c| {
        let (previous, next) = (before.replace(c), after.next());
        let is_shown = is_plain(c) || (c == ZERO_WIDTH_JOINER && is_joined(previous) && is_joined(next));
        if is_shown { c } else { char::REPLACEMENT_CHARACTER }
    });
    printed.collect::<String>().into()
}

/// Joins emoji to one, and letters of Indic scripts.
const ZERO_WIDTH_JOINER: char = '\u{200d}';

/// Returns true for a character that a joiner can stand beside: among the letters of ASCII it would only hide.
fn is_joined(c: Option<char>) -> bool {
    c.is_some_and(|c| !c.is_ascii() && !c.is_whitespace() && is_plain(c))
}

/// Escapes characters that are not plain, in Rust's notation.
pub(crate) fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match is_plain(c) {
            true => out.push(c),
            false => out.extend(c.escape_default()),
        }
    }
    out
}

/// Spells a value of a log line: escaped in Rust's notation, and in quotes if it is empty or has what ends values.
pub(crate) fn log_value(text: &str) -> Cow<'_, str> {
    let is_escaped = |c: char| !is_plain(c) || matches!(c, '"' | '\\');
    let is_quoted = text.is_empty() || text.contains([' ', '"', '=']);
    if !is_quoted && !text.contains(is_escaped) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 2);
    for c in text.chars() {
        match is_escaped(c) {
            true => out.extend(c.escape_default()),
            false => out.push(c),
        }
    }
    if is_quoted { format!("\"{out}\"").into() } else { out.into() }
}

/// Escapes characters that are not plain in JSON. Apart from line breaks, JSON can have them inside of strings only.
pub(crate) fn escaped_json(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            // It fails for no string. All of these are in the basic plane.
            c if c != '\n' && !is_plain(c) => drop(write!(out, "\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// Returns a duration in milliseconds, with microseconds as decimals: the unit of durations in logs.
pub(crate) fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}

/// Formats values with commas between them.
pub(crate) fn joined(values: &[impl fmt::Display]) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        values.iter().enumerate().try_for_each(|(n, value)| {
            f.write_str(if n == 0 { "" } else { ", " })?;
            value.fmt(f)
        })
    })
}

/// Most values that a log line lists; the files and the history have all.
pub(crate) const MAX_LISTED: usize = 20;

/// Formats values with commas between them, at most [`MAX_LISTED`]; of the others it tells the number.
pub(crate) fn listed(values: &[impl fmt::Display]) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        write!(f, "{}", joined(&values[..values.len().min(MAX_LISTED)]))?;
        match values.len().checked_sub(MAX_LISTED) {
            None | Some(0) => Ok(()),
            Some(more) => write!(f, " and {more} more"),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lets_nothing_through_that_commands_a_terminal() {
        let check = |text: &str, expected: &str| assert_eq!(printable(text), expected, "{text:?}");
        check("Größe 日本 🦀", "Größe 日本 🦀");
        check("a\x1b[31mb\r\n\t\x07\x7f", "a\u{fffd}[31mb\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}");
        check("a\u{9b}31m\u{202e}b\u{2066}", "a\u{fffd}31m\u{fffd}b\u{fffd}");
        check("👨\u{200d}👩\u{200d}👧 ❤\u{fe0f}\u{200d}🔥", "👨\u{200d}👩\u{200d}👧 ❤\u{fe0f}\u{200d}🔥");
        check("a\u{200d}b 日\u{200d}", "a\u{fffd}b 日\u{fffd}");
        check("\u{200d}日\u{200d}\u{200d}本\u{200c}語", "\u{fffd}日\u{fffd}\u{fffd}本\u{fffd}語");
    }

    #[test]
    fn escapes_what_is_not_plain() {
        let check = |text: &str, expected: &str| assert_eq!(escaped(text), expected);
        check("Größe 日本 🦀", "Größe 日本 🦀");
        check("a\nb\u{1b}[2Jc\u{9b}d\u{202e}", r"a\nb\u{1b}[2Jc\u{9b}d\u{202e}");
    }

    #[test]
    fn a_value_ends_where_it_seems_to() {
        let check = |text: &str, expected: &str| assert_eq!(log_value(text), expected);
        check("/api/v4/packages", "/api/v4/packages");
        check("Größe日本", "Größe日本");
        check("", r#""""#);
        check("a b", r#""a b""#);
        check("a=b", r#""a=b""#);
        check(r#"a" status=500"#, r#""a\" status=500""#);
        check(r"a\n", r"a\\n");
        check("a\nb\u{85}\u{202e}", r"a\nb\u{85}\u{202e}");
    }

    #[test]
    fn long_lists_are_cut() {
        let check = |values: usize, end: &str| {
            let values: Vec<usize> = (1..=values).collect();
            let listed = listed(&values).to_string();
            assert!(listed.ends_with(end), "{listed}");
        };
        assert_eq!(listed(&[] as &[&str]).to_string(), "");
        assert_eq!(listed(&["a", "b"]).to_string(), "a, b");
        check(MAX_LISTED, ", 19, 20");
        check(MAX_LISTED + 1, ", 19, 20 and 1 more");
        check(57, ", 20 and 37 more");
    }

    #[test]
    fn json_stays_what_it_says() {
        let text = "a\x1b\u{9b}\u{202e}\u{7f}\n\u{2028}é";
        let json = escaped_json(&serde_json::to_string_pretty(&[text]).expect("JSON"));
        assert!(json.replace('\n', "").chars().all(is_plain), "{json:?}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&json).expect("JSON"), [text]);
    }
}
