//! Standard output: width, colors, and no characters that control the terminal.

use std::env;
use std::fmt::{self, Display};
use std::io::{self, ErrorKind, IsTerminal, Write};

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::CommandError;
use crate::printable::escaped_json;
use crate::report::FORMAT;
use crate::stderr;

/// Capabilities of standard output.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Terminal {
    /// Width in columns; `None` for a pipe.
    pub(crate) width: Option<usize>,
    /// True if it shows colors, and the user has not switched them off.
    pub(crate) colors: bool,
}

/// Style of a text (ECMA-48 §8.3.117, select graphic rendition).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    Plain,
    Bold,
    Dim,
    Green,
    Yellow,
    Red,
}

impl Terminal {
    /// Examines standard output and the environment (<https://no-color.org>).
    pub(crate) fn stdout() -> Self {
        if !io::stdout().is_terminal() {
            return Self::default();
        }
        let is_set = |name| env::var_os(name).is_some_and(|value| !value.is_empty());
        // Shells say 0 when they do not know.
        let is_known = |width: &usize| *width > 0;
        let typed = env::var("COLUMNS").ok().and_then(|columns| columns.trim().parse().ok());
        let actual = || Some(usize::from(terminal_size::terminal_size_of(io::stdout())?.0.0));
        Self {
            width: typed.filter(is_known).or_else(actual).filter(is_known),
            colors: !is_set("NO_COLOR") && env::var_os("TERM").is_none_or(|term| term != "dumb"),
        }
    }

    /// Applies a style to a text if colors are on.
    pub(crate) fn paint(self, style: Style, text: impl Display) -> impl Display {
        let code = match style {
            Style::Plain => 0,
            Style::Bold => 1,
            Style::Dim => 2,
            Style::Green => 32,
            Style::Yellow => 33,
            Style::Red => 31,
        };
        let colors = self.colors && code != 0;
        fmt::from_fn(move |f| match colors {
            true => write!(f, "\x1b[{code}m{text}\x1b[0m"),
            false => text.fmt(f),
        })
    }
}

/// Writes to standard output, after all earlier messages on standard error.
///
/// # Errors
/// If that fails. A reader that closes the pipe early is no failure.
pub(crate) fn print(text: &str) -> Result<(), CommandError> {
    stderr::settle();
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(not_written(&error)),
        _ => Ok(()),
    }
}

/// Creates the error for a failed write to standard output.
pub(super) fn not_written(error: &io::Error) -> CommandError {
    CommandError::failed(format!("cannot write to standard output: {error}"))
}

/// Writes JSON to standard output: an object with the format's version and one member. Characters that could control a
/// terminal are escaped.
///
/// # Errors
/// If that fails.
pub(crate) fn print_json(member: &str, value: &impl Serialize) -> Result<(), CommandError> {
    let document = JsonDocument { member, value };
    let json = serde_json::to_string_pretty(&document).map_err(CommandError::failed)?;
    print(&(escaped_json(&json) + "\n"))
}

/// What [`print_json`] writes.
struct JsonDocument<'a, T> {
    member: &'a str,
    value: &'a T,
}

impl<T: Serialize> Serialize for JsonDocument<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("format", &FORMAT)?;
        map.serialize_entry(self.member, self.value)?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paints_on_terminals_only() {
        let painted = |colors, style| Terminal { width: None, colors }.paint(style, "x").to_string();
        assert_eq!(painted(true, Style::Red), "\x1b[31mx\x1b[0m");
        assert_eq!(painted(true, Style::Plain), "x");
        assert_eq!(painted(false, Style::Red), "x");
    }
}
