//! Text tables that fit the terminal.

use std::fmt::Write as _;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::terminal::{Style, Terminal};
use crate::printable::printable;

/// Blanks between columns.
const COLUMN_GAP: usize = 2;
/// Least width that a cell is cut to. Lines are longer than the terminal if that does not suffice.
const MIN_COLUMN_WIDTH: usize = 8;

/// Least width that a code is cut to: the longest real one has some 40 characters, and it has to be typed.
const MIN_CODE_WIDTH: usize = 40;
/// Title of the column of codes.
const CODE_TITLE: &str = "CODE";

/// Rows of cells under a header.
#[derive(Debug)]
pub(crate) struct TextTable {
    header: Vec<String>,
    /// Title of the column that is never cut.
    whole: Option<&'static str>,
    rows: Vec<Vec<(String, Style)>>,
}

impl TextTable {
    /// Creates a table with the titles of its columns.
    pub(crate) fn new(header: &[&str]) -> Self {
        Self { header: header.iter().map(ToString::to_string).collect(), whole: None, rows: Vec::new() }
    }

    /// Exempts the column with this title from being cut.
    pub(crate) fn whole(self, title: &'static str) -> Self {
        Self { whole: Some(title), ..self }
    }

    /// Appends a row.
    pub(crate) fn row<'c>(&mut self, cells: impl IntoIterator<Item = (&'c str, Style)>) {
        let printed = |(text, style): (&str, Style)| (printable(text).into_owned(), style);
        self.rows.push(cells.into_iter().map(printed).collect());
    }

    /// Returns true if there are no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Formats the table for a terminal or a pipe.
    pub(crate) fn render(&self, terminal: Terminal) -> String {
        let widths = self.widths(terminal.width);
        let mut out = String::new();
        let header = self.header.iter().map(|title| (title.as_str(), Style::Dim));
        line(&mut out, terminal, &widths, header);
        for row in &self.rows {
            line(&mut out, terminal, &widths, row.iter().map(|(text, style)| (text.as_str(), *style)));
        }
        out
    }

    /// Computes the widths of the columns. Long codes are cut first, then the widest other columns, until the rows fit.
    fn widths(&self, available: Option<usize>) -> Vec<usize> {
        let mut widths: Vec<_> = (0..self.header.len())
            .map(|n| {
                self.rows.iter().map(|row| row[n].0.width()).chain([self.header[n].len()]).max().unwrap_or(0)
            })
            .collect();
        let gaps = COLUMN_GAP * widths.len().saturating_sub(1);
        let mut excess =
            available.map_or(0, |available| (widths.iter().sum::<usize>() + gaps).saturating_sub(available));
        if let Some(at) = self.header.iter().position(|title| *title == CODE_TITLE) {
            let cut = excess.min(widths[at].saturating_sub(MIN_CODE_WIDTH));
            widths[at] -= cut;
            excess -= cut;
        }
        let is_whole = |title: &str| title == CODE_TITLE || self.whole == Some(title);
        while excess > 0 {
            let others = widths.iter_mut().zip(&self.header).filter(|(_, title)| !is_whole(title));
            let widest = others.map(|(width, _)| width).max().filter(|width| **width > MIN_COLUMN_WIDTH);
            let Some(widest) = widest else { break };
            *widest -= 1;
            excess -= 1;
        }
        widths
    }
}

fn line<'a>(
    out: &mut String,
    terminal: Terminal,
    widths: &[usize],
    cells: impl ExactSizeIterator<Item = (&'a str, Style)>,
) {
    let last = cells.len() - 1;
    for (n, (text, style)) in cells.enumerate() {
        let text = cut(text, widths[n]);
        // The padding is not painted, and not written at the end of a line.
        let padding = if n == last { 0 } else { widths[n].saturating_sub(text.width()) + COLUMN_GAP };
        let _ = write!(out, "{}{:padding$}", terminal.paint(style, &text), "");
    }
    out.truncate(out.trim_end_matches(' ').len());
    out.push('\n');
}

/// Cuts a text to a width, with an ellipsis.
fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.to_owned();
    }
    let mut used = 1;
    let fits = |c: &char| {
        used += c.width().unwrap_or(0);
        used <= columns
    };
    let mut out: String = text.chars().take_while(fits).collect();
    out.truncate(out.trim_end().len());
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_by_columns() {
        let check = |text: &str, columns, expected: &str| assert_eq!(cut(text, columns), expected, "{text}");
        check("toolkit", 7, "toolkit");
        check("toolkit", 6, "toolk…");
        check("tool kit", 6, "tool…");
        check("日本語", 6, "日本語");
        check("日本語", 5, "日本…");
        check("日本語", 4, "日…");
        check("éa\u{301}bc", 3, "éa\u{301}…");
    }

    #[test]
    fn fits_the_terminal() {
        let mut table = TextTable::new(&["CODE", "NAME", "LINK"]);
        table.row([
            ("wp-toolkit", Style::Plain),
            ("WordPress Toolkit", Style::Plain),
            ("https://shop.example/wp", Style::Plain),
        ]);
        table.row([("x", Style::Plain), ("日本", Style::Plain), ("", Style::Plain)]);
        let render = |width| table.render(Terminal { width, ..Terminal::default() });
        assert_eq!(
            render(None),
            "CODE        NAME               LINK\n\
             wp-toolkit  WordPress Toolkit  https://shop.example/wp\n\
             x           日本\n"
        );
        assert_eq!(render(Some(200)), render(None));
        assert_eq!(
            render(Some(40)),
            "CODE        NAME           LINK\n\
             wp-toolkit  WordPress To…  https://shop…\n\
             x           日本\n"
        );
        for width in 30..80 {
            assert!(render(Some(width)).lines().all(|line| line.width() <= width), "{width}");
        }
        assert!(render(Some(3)).contains("\nwp-toolkit  "));
    }

    #[test]
    fn codes_are_whole() {
        let row = |code: &str| {
            let mut table = TextTable::new(&["CHANGE", "CODE", "NAME"]);
            table.row([("vanishes", Style::Plain), (code, Style::Plain), (&"name ".repeat(9), Style::Plain)]);
            let render = |width| table.render(Terminal { width, ..Terminal::default() });
            (render(None), render(Some(80)), render(Some(40)))
        };
        let long = "x".repeat(MIN_CODE_WIDTH);
        let (pipe, wide, narrow) = row(&long);
        assert!([&pipe, &wide, &narrow].iter().all(|text| text.contains(&long)), "{wide}{narrow}");
        assert!(wide.lines().all(|line| line.width() <= 80), "{wide}");
        let monstrous = "x".repeat(200);
        let (pipe, wide, _) = row(&monstrous);
        assert!(pipe.contains(&monstrous) && wide.lines().all(|line| line.width() <= 80), "{wide}");
        assert!(wide.contains("xxx…  name"), "{wide}");

        let mut table = TextTable::new(&["CODE", "CHANGE"]).whole("CHANGE");
        table.row([("a", Style::Plain), (&long, Style::Plain)]);
        assert!(table.render(Terminal { width: Some(20), ..Terminal::default() }).contains(&long));
    }
}
