//! Text from elsewhere in lines for people: nothing in it may break a line, command a terminal, or make a text
//! read otherwise than it is.

use std::fmt::{self, Write as _};
use std::time::Duration;

/// Does a character stand for itself alone, without an effect on those around it?
///
/// Control characters do not, nor do separators of lines, marks that turn the direction of text, and those without
/// a width.
pub fn is_plain(c: char) -> bool {
    let odd = matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
    !c.is_control() && !odd
}

/// Writes all others as Rust does.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match is_plain(c) {
            true => out.push(c),
            false => out.extend(c.escape_default()),
        }
    }
    out
}

/// Writes all others as JSON does. In JSON they can only be inside of strings, but for line breaks.
pub fn escaped_json(json: &str) -> String {
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

/// Counts milliseconds, to the microsecond: the unit of durations in logs.
pub fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e3
}

/// Shows values one after the other.
pub fn joined(values: &[impl fmt::Display]) -> impl fmt::Display {
    fmt::from_fn(move |f| {
        values.iter().enumerate().try_for_each(|(n, value)| {
            f.write_str(if n == 0 { "" } else { ", " })?;
            value.fmt(f)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_is_not_plain() {
        let check = |text: &str, expected: &str| assert_eq!(escaped(text), expected);
        check("Größe 日本 🦀", "Größe 日本 🦀");
        check("a\nb\u{1b}[2Jc\u{9b}d\u{202e}", r"a\nb\u{1b}[2Jc\u{9b}d\u{202e}");
    }

    #[test]
    fn json_stays_what_it_says() {
        let text = "a\x1b\u{9b}\u{202e}\u{7f}\n\u{2028}é";
        let json = escaped_json(&serde_json::to_string_pretty(&[text]).expect("JSON"));
        assert!(json.replace('\n', "").chars().all(is_plain), "{json:?}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&json).expect("JSON"), [text]);
    }
}
