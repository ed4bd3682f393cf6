//! The text of a whitelist file: its keys and entries, each with its place.

use std::fmt;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeString, DeTable, DeValue};

use super::day::Day;
use super::suggestion::suggest;
use super::{Pattern, Verdict, WhitelistEntry, Window};
use crate::place::{Place, Places};
use crate::printable;

/// Error or warning about a place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Place in the file.
    pub place: Place,
    /// Description of the problem.
    pub message: String,
}

/// What a file says, in its order, before it is checked for contradictions.
#[derive(Debug)]
pub struct Document {
    /// The arrays of codes that the file has, and where each stands, brackets included.
    pub arrays: Vec<(Verdict, Range<usize>)>,
    /// The entries in the order of the file.
    pub entries: Vec<WhitelistEntry>,
    /// What a package sold by Plesk is that no entry matches.
    pub unlisted: Verdict,
    /// Host names, and where each stands.
    pub hosts: Vec<Spanned<String>>,
    /// Valid, but probably not intended.
    pub warnings: Vec<Finding>,
}

/// Names of the keys that are not arrays of codes.
const UNLISTED: &str = "unlisted";
const HOSTS: &str = "hosts";

type Value<'a> = Spanned<DeValue<'a>>;

/// A table's members in the order of the text. (`DeTable` sorts them by name.)
fn members<'a, 't>(table: &'t DeTable<'a>) -> Vec<(&'t Spanned<DeString<'a>>, &'t Value<'a>)> {
    let mut members: Vec<_> = table.iter().collect();
    members.sort_unstable_by_key(|(key, _)| key.span().start);
    members
}

impl Document {
    /// Reads a file's text.
    ///
    /// # Errors
    /// The first thing that is wrong: bad syntax, an unknown key, a wrong type, no `extensions`. A file
    /// that was cut off while being written fails here as well, down to an empty one.
    pub fn read(text: &str) -> Result<Self, Finding> {
        let table = DeTable::parse(text)
            .map_err(|error| finding(text, error.span().unwrap_or_default(), escaped(error.message())))?;
        let mut document = Self {
            arrays: Vec::new(),
            entries: Vec::new(),
            unlisted: Verdict::Hidden,
            hosts: Vec::new(),
            warnings: Vec::new(),
        };
        for (key, value) in members(table.get_ref()) {
            match (key.get_ref().as_ref(), Verdict::of_key(key.get_ref())) {
                (_, Some(verdict)) => document.read_array(text, verdict, value)?,
                (UNLISTED, _) => document.unlisted = unlisted(text, value)?,
                (HOSTS, _) => document.hosts = hosts(text, value)?,
                (other, None) => {
                    let keys = Verdict::ALL.map(Verdict::key).into_iter().chain([UNLISTED, HOSTS]);
                    return Err(unknown_key(text, key.span(), other, keys));
                }
            }
        }
        if document.arrays.iter().all(|(verdict, _)| *verdict != Verdict::Shown) {
            return Err(finding(text, 0..0, "missing key `extensions`; to list none: extensions = []"));
        }
        Ok(document)
    }

    fn read_array(&mut self, text: &str, verdict: Verdict, value: &Value<'_>) -> Result<(), Finding> {
        let DeValue::Array(array) = value.get_ref() else {
            let expected = format!("an array of codes, such as {} = [\"wp-toolkit\"]", verdict.key());
            return Err(expected_other(text, value, &expected));
        };
        self.arrays.push((verdict, value.span()));
        let mut places = Places::new(text);
        for element in array {
            let entry = entry(text, verdict, element, places.of(element.span().start))?;
            self.warnings.extend(doubt(&entry));
            self.entries.push(entry);
        }
        Ok(())
    }
}

/// Reads the file's bytes as text.
///
/// # Errors
/// If they are not UTF-8.
pub fn text(bytes: &[u8]) -> Result<&str, Finding> {
    std::str::from_utf8(bytes).map_err(|error| {
        let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        finding(&valid, valid.len()..valid.len(), "not UTF-8")
    })
}

/// Reads an entry: a string, or a table with a window or a note.
fn entry(text: &str, verdict: Verdict, element: &Value<'_>, place: Place) -> Result<WhitelistEntry, Finding> {
    let mut entry = WhitelistEntry {
        pattern: Pattern::Exact("".into()),
        verdict,
        window: Window::default(),
        note: None,
        place,
        span: element.span(),
    };
    let table = match element.get_ref() {
        DeValue::String(code) => {
            entry.pattern = pattern(text, code, element.span())?;
            return Ok(entry);
        }
        DeValue::Table(table) => table,
        _ => {
            return Err(expected_other(
                text,
                element,
                "a code in quotes, or a table such as { code = \"kolab\" }",
            ));
        }
    };
    let mut has_code = false;
    for (key, value) in members(table) {
        match key.get_ref().as_ref() {
            "code" => {
                entry.pattern = pattern(text, string(text, value)?, value.span())?;
                has_code = true;
            }
            "note" => entry.note = Some(string(text, value)?.to_owned()),
            "from" => entry.window.from = Some(day(text, value)?),
            "until" => entry.window.until = Some(day(text, value)?),
            other => return Err(unknown_key(text, key.span(), other, ["code", "from", "until", "note"])),
        }
    }
    if !has_code {
        return Err(finding(text, element.span(), "an entry needs a `code`, such as { code = \"kolab\" }"));
    }
    match entry.window {
        Window { from: Some(from), until: Some(until) } if from > until => {
            Err(finding(text, element.span(), format!("`from` ({from}) is after `until` ({until})")))
        }
        _ => Ok(entry),
    }
}

fn pattern(text: &str, code: &str, span: Range<usize>) -> Result<Pattern, Finding> {
    Pattern::parse(code).ok_or_else(|| {
        let message = format!("{code:?}: a star stands for any rest, so only one can be there, at the end");
        finding(text, span, message)
    })
}

/// Returns a warning about an entry that can hardly be meant.
fn doubt(entry: &WhitelistEntry) -> Option<Finding> {
    let code = entry.pattern.to_string();
    let message = match code.trim() {
        "*" if code == "*" => {
            format!(
                "\"*\" matches every extension, free ones too; all that is not named elsewhere is {}",
                entry.verdict.name()
            )
        }
        "" => format!("{code:?} matches no extension: codes have no blanks around them"),
        meant if meant != code => {
            format!(
                "{code:?} matches no extension: codes have no blanks around them; did you mean {meant:?}?"
            )
        }
        _ => return None,
    };
    Some(Finding { place: entry.place, message })
}

fn unlisted(text: &str, value: &Value<'_>) -> Result<Verdict, Finding> {
    match string(text, value)? {
        "hidden" => Ok(Verdict::Hidden),
        "retired" => Ok(Verdict::Retired),
        "shown" => {
            let message = "`unlisted` is \"hidden\" or \"retired\"; to show all: extensions = [\"*\"]";
            Err(finding(text, value.span(), message))
        }
        other => {
            let message = format!("`unlisted` is \"hidden\" or \"retired\", not {other:?}");
            Err(finding(text, value.span(), message))
        }
    }
}

fn hosts(text: &str, value: &Value<'_>) -> Result<Vec<Spanned<String>>, Finding> {
    let DeValue::Array(array) = value.get_ref() else {
        return Err(expected_other(
            text,
            value,
            "an array of host names, such as hosts = [\"gold.catalog.example\"]",
        ));
    };
    let host = |element| {
        let name = string(text, element)?;
        let message =
            || format!("{name:?} is no host name: letters, digits, hyphens and dots, without a port");
        match host_name(name) {
            Some(host) => Ok(Spanned::new(element.span(), host)),
            None => Err(finding(text, element.span(), message())),
        }
    };
    array.iter().map(host).collect()
}

/// Normalizes a host: a name or an IP address, in small letters, without a dot at its end. `None` if it is neither.
pub fn host_name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    let is_ipv6 = || {
        let inside = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        inside.is_some_and(|inside| inside.parse::<std::net::Ipv6Addr>().is_ok())
    };
    (name.split('.').all(is_label) || is_ipv6()).then(|| name.to_ascii_lowercase())
}

fn string<'v>(text: &str, value: &'v Value<'_>) -> Result<&'v str, Finding> {
    value.get_ref().as_str().ok_or_else(|| expected_other(text, value, "a string in quotes"))
}

fn day(text: &str, value: &Value<'_>) -> Result<Day, Finding> {
    let written = match value.get_ref() {
        DeValue::Datetime(toml::value::Datetime { date: Some(date), time: None, .. }) => date.to_string(),
        _ => return Err(expected_other(text, value, "a date without quotes and time, such as 2026-12-01")),
    };
    Day::parse(&written).ok_or_else(|| finding(text, value.span(), format!("{written} is before 1970")))
}

fn expected_other(text: &str, value: &Value<'_>, expected: &str) -> Finding {
    finding(text, value.span(), format!("expected {expected}, not {}", described(value.get_ref())))
}

fn described(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a string",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "a boolean",
        DeValue::Datetime(_) => "another form of a date or time",
        DeValue::Array(_) => "an array",
        DeValue::Table(_) => "a table",
    }
}

fn unknown_key(
    text: &str,
    span: Range<usize>,
    key: &str,
    keys: impl IntoIterator<Item = &'static str> + Clone,
) -> Finding {
    let meant = match suggest(key, keys.clone().into_iter()) {
        Some(meant) => format!("; did you mean `{meant}`?"),
        None => {
            let keys: Vec<_> = keys.into_iter().map(|key| format!("`{key}`")).collect();
            format!("; there are {}", printable::joined(&keys))
        }
    };
    finding(text, span, format!("unknown key `{}`{meant}", escaped(key)))
}

/// Escapes what repeats the file, which a log or a terminal will show.
fn escaped(text: &str) -> String {
    printable::escaped(text)
}

pub(super) fn finding(text: &str, span: Range<usize>, message: impl Into<String>) -> Finding {
    Finding { place: Place::of(text, span.start), message: message.into() }
}

impl std::error::Error for Finding {}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}
