//! Mistakes in the syntax of a configuration file: all of them, in plain words.
//!
//! The parser tells where the first mistake is. Its line is blanked out and the rest is parsed again, until nothing is
//! wrong, so one mistake does not hide or cause another.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use crate::cli::{SettingKey, ValueKind};
use crate::place::Place;
use crate::printable::escaped;

/// Most mistakes of a file that are reported. One with more is hardly a configuration of this program.
pub(super) const MAX_FLAWS: usize = 50;
/// Quotes that word processors and web pages make of straight ones.
const CURLY_QUOTES: [char; 8] =
    ['\u{201c}', '\u{201d}', '\u{201e}', '\u{201f}', '\u{2018}', '\u{2019}', '\u{201a}', '\u{201b}'];
/// Part of the parser's message about a key that was there before.
const DUPLICATE: &str = "duplicate key";

/// A mistake at a place of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flaw {
    pub(super) span: Range<usize>,
    pub(super) message: String,
}

type KeyAndValue<'t, 'a> = (&'t Spanned<DeString<'a>>, &'t Spanned<DeValue<'a>>);

/// Returns the text with blanks instead of the lines that are wrong, and what is wrong with them.
pub(super) fn repair(text: &str, keys: &[SettingKey]) -> (String, Vec<Flaw>) {
    let mut repaired = text.to_owned();
    let mut flaws = Vec::new();
    while flaws.len() < MAX_FLAWS {
        let Some((flaw, broken)) = first_flaw(&repaired, keys) else { return (repaired, flaws) };
        flaws.push(flaw);
        let blank = |c: char| if matches!(c, '\n' | '\r') { c.to_string() } else { " ".repeat(c.len_utf8()) };
        let blanks: String = repaired[broken.clone()].chars().map(blank).collect();
        if repaired[broken.clone()] == blanks {
            break;
        }
        repaired.replace_range(broken, &blanks);
    }
    // What is left cannot be told from what is right.
    (String::new(), flaws)
}

/// Returns the first mistake, and the lines that it spoils.
fn first_flaw(text: &str, keys: &[SettingKey]) -> Option<(Flaw, Range<usize>)> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let at = |error: &toml::de::Error| error.span().unwrap_or_default().start.min(text.len());
    let Some(error) = errors.iter().min_by_key(|error| at(error)) else { return section(text, &table) };
    let span = error.span().unwrap_or_default();
    let offset = text.floor_char_boundary(at(error));
    // At the end of the text it is the last line with anything in it.
    let within = if text[offset..].trim().is_empty() { text[..offset].trim_end().len() } else { offset };
    let enclosing = table.get_ref().iter().find(|(key, value)| {
        let value = value.span();
        line_start(text, key.span().start) < line_start(text, within)
            && value.start <= offset
            && offset <= value.end
    });
    if let Some(member) = enclosing {
        return Some(unclosed(text, member, error, offset, keys));
    }
    let line = line_start(text, within)..line_end(text, within);
    let message = error.message();
    if message == DUPLICATE {
        let key = text.get(span.clone()).unwrap_or_default();
        let first = table.get_ref().iter().find(|(other, _)| other.get_ref() == key);
        let first = first.map_or(1, |(other, _)| Place::of(text, other.span().start).line);
        let message = format!("`{}` is there a second time; the first is in line {first}", escaped(key));
        return Some((Flaw { span, message }, line));
    }
    let (part, message) = explained(&text[line.clone()], message, offset - line.start.min(offset), keys);
    Some((Flaw { span: line.start + part.start..line.start + part.end, message }, line))
}

/// Finds a line like `[server]`, which is right in other files of this kind.
fn section(text: &str, table: &Spanned<DeTable<'_>>) -> Option<(Flaw, Range<usize>)> {
    let is_section = |(_, value): &KeyAndValue<'_, '_>| {
        let is_table = matches!(value.get_ref(), DeValue::Table(_) | DeValue::Array(_));
        let start = line_start(text, value.span().start);
        is_table
            && text[start..value.span().start].trim().is_empty()
            && text[value.span().start..].starts_with('[')
    };
    let (_, value) = table.get_ref().iter().filter(is_section).min_by_key(|(_, value)| value.span().start)?;
    let span = value.span();
    let message = "this file has no sections: take this line away, the keys stand for themselves".to_owned();
    let line = line_start(text, span.start)..line_end(text, span.start);
    Some((Flaw { span: span.start..line.end, message }, line))
}

/// Explains a mistake in a later line of a value, which is a list or a text of several lines.
fn unclosed(
    text: &str,
    (key, value): KeyAndValue<'_, '_>,
    error: &toml::de::Error,
    offset: usize,
    keys: &[SettingKey],
) -> (Flaw, Range<usize>) {
    let start = line_start(text, key.span().start);
    let value = value.span();
    let end = line_end(text, value.end.max(offset));
    if !text[value.start..].starts_with('[') {
        let quotes = &text[value.start..text.len().min(value.start + 3)];
        let message = format!("the text that begins here is not closed with {}", escaped(quotes));
        return (Flaw { span: value.start..value.start + quotes.len(), message }, start..text.len());
    }
    // A list that is not closed swallows the settings behind it.
    let mut line = line_end(text, start);
    while line < end {
        let next = (line + 1).min(text.len());
        let name = text[next..line_end(text, next)].split('=').next().unwrap_or_default().trim();
        if keys.iter().any(|key| key.name == name) {
            let message = "this list is not closed with `]`".to_owned();
            return (Flaw { span: value.start..value.start + 1, message }, start..line);
        }
        line = line_end(text, next);
        if next == text.len() {
            break;
        }
    }
    if error.message().starts_with("unclosed array") {
        let message = "this list is not closed with `]`".to_owned();
        return (Flaw { span: value.start..value.start + 1, message }, start..end);
    }
    let line = line_start(text, offset)..line_end(text, offset);
    let message =
        match text[line.clone()].contains(CURLY_QUOTES) || error.message().contains("must be quoted") {
            true => "each value of a list needs straight quotes (\")".to_owned(),
            false => escaped(error.message()),
        };
    let span = error.span().unwrap_or(offset..offset);
    (Flaw { span, message }, start..end)
}

/// Explains what is wrong with a line, and with which part of it.
fn explained(line: &str, message: &str, at: usize, keys: &[SettingKey]) -> (Range<usize>, String) {
    let known = |name: &str| keys.iter().find(|key| key.name == name);
    let content_start = line.len() - line.trim_start().len();
    let content = content_start..line.trim_end().len();
    let Some(equals) = line.find('=') else {
        let name = line.trim().split([':', ' ', '\t']).next().unwrap_or_default();
        let colon = line.find(':').filter(|colon| line[..*colon].trim() == name);
        return match (known(name), colon) {
            (_, Some(colon)) => {
                (colon..colon + 1, "between a key and its value stands `=`, not `:`".to_owned())
            }
            (Some(_), None) => {
                let end = content_start + name.len();
                (end..end, format!("`=` and a value are missing behind `{name}`"))
            }
            (None, None) => (content, "expected key = value, or `#` before a comment".to_owned()),
        };
    };
    let name = line[..equals].trim();
    let value_start = equals + 1 + (line[equals + 1..].len() - line[equals + 1..].trim_start().len());
    let value = line[value_start..].split(" #").next().unwrap_or_default().trim_end();
    let value_span = value_start..value_start + value.len();
    let key = known(name);
    if name.is_empty() {
        return (equals..equals + 1, "a key is missing before `=`".to_owned());
    }
    if name.contains(char::is_whitespace) && !name.contains(['"', '\'']) {
        let joined = name.split_whitespace().collect::<Vec<_>>().join("-");
        let meant =
            if known(&joined).is_some() { format!("; did you mean `{joined}`?") } else { String::new() };
        return (content_start..content_start + name.len(), format!("a key has no blanks{meant}"));
    }
    if value.is_empty() || value.starts_with('#') {
        return (equals..equals + 1, "a value is missing behind `=`".to_owned());
    }
    // SECURITY: the value of a secret is not repeated.
    let shown = |value: String| match key.is_some_and(SettingKey::is_secret) || value.contains("://") {
        true => "\u{2026}".to_owned(),
        false => escaped(&value),
    };
    if value.contains(CURLY_QUOTES) {
        let straight = shown(value.replace(CURLY_QUOTES, "\"").trim_matches('"').to_owned());
        let example = match value.starts_with('[') {
            true => straight,
            false => format!("\"{straight}\""),
        };
        return (value_span, format!("curly quotes: write straight ones, {} = {example}", escaped(name)));
    }
    match value.chars().next() {
        Some('"') if value.contains('\\') && (message.contains("escape") || message.contains("unicode")) => {
            let message =
                "in double quotes a backslash has a meaning of its own: use single quotes ('), or \\\\";
            (value_span, message.to_owned())
        }
        Some(quote @ ('"' | '\'')) if value.matches(quote).count() == 1 => {
            (value_span, format!("the closing {quote} is missing"))
        }
        Some('"' | '\'') if value.contains(',') => (
            value_span,
            format!("several values need brackets: {} = [{}]", escaped(name), shown(value.to_owned())),
        ),
        Some('[') if message.contains("must be quoted") || message.contains("invalid") => {
            (value_span, "each value of a list needs quotes: [\"\u{2026}\", \"\u{2026}\"]".to_owned())
        }
        Some('"' | '\'' | '[' | '{') => (at.min(line.len())..at.min(line.len()), escaped(message)),
        _ => match key.map(|key| key.kind) {
            Some(ValueKind::Boolean) => {
                (value_span, "expected true or false, in small letters and without quotes".to_owned())
            }
            Some(ValueKind::Number) => (value_span, "expected a whole number".to_owned()),
            _ => (
                value_span,
                format!("a value needs quotes: {} = \"{}\"", escaped(name), shown(value.to_owned())),
            ),
        },
    }
}

fn line_start(text: &str, offset: usize) -> usize {
    text[..offset].rfind('\n').map_or(0, |at| at + 1)
}

/// Returns where the line of an offset ends, without its line break.
fn line_end(text: &str, offset: usize) -> usize {
    text[offset..].find('\n').map_or(text.len(), |at| offset + at)
}
