//! Text tables that fit the terminal.
//!
//! What gives way when a terminal is narrow is decided for each column: a code that is cut cannot be typed, a link can be
//! looked up. `comfy-table` narrows all columns alike, so that is done here, and what is left for a library is padding.

mod cell;

use std::fmt::Write as _;

use unicode_width::UnicodeWidthStr;

use self::cell::{cut, wrap};
use super::terminal::{Style, Terminal};
use crate::printable::printable;

/// Blanks between columns.
const COLUMN_GAP: usize = 2;
/// Least width that a column is narrowed to. Lines are longer than the terminal if that does not suffice.
const MIN_COLUMN_WIDTH: usize = 8;
/// Least width of a column that can be left out: less than that is of no use, and the others need the room.
const MIN_OPTIONAL_WIDTH: usize = 16;

/// Width above which cells are wrapped before names are cut: the longest real code has some 40 characters, and one that
/// is made up must not leave the names without room.
const MAX_UNWRAPPED_WIDTH: usize = 40;

/// What happens to the cells of a column when the terminal is too narrow. The last in this list is narrowed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Narrowing {
    /// Nothing: times, states and numbers.
    Never,
    /// They are wrapped: codes and whatever has to be read whole.
    Wrapped,
    /// They are cut: names.
    Cut,
    /// They are cut, and left out altogether if little would be left: links.
    LeftOut,
}

/// Column of a table.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    title: String,
    narrowing: Narrowing,
}

/// Rows of cells under a header.
#[derive(Debug)]
pub(crate) struct TextTable {
    columns: Vec<Column>,
    rows: Vec<Vec<(String, Style)>>,
}

impl Column {
    /// Creates a column that is never narrowed.
    pub(crate) fn fixed(title: &str) -> Self {
        Self { title: title.to_owned(), narrowing: Narrowing::Never }
    }

    /// Creates a column whose cells are wrapped when nothing else helps.
    pub(crate) fn wrapped(title: &str) -> Self {
        Self { title: title.to_owned(), narrowing: Narrowing::Wrapped }
    }

    /// Creates a column whose cells may be cut.
    pub(crate) fn cut(title: &str) -> Self {
        Self { title: title.to_owned(), narrowing: Narrowing::Cut }
    }

    /// Creates a column that gives way before all others.
    pub(crate) fn optional(title: &str) -> Self {
        Self { title: title.to_owned(), narrowing: Narrowing::LeftOut }
    }
}

impl TextTable {
    /// Creates a table.
    pub(crate) fn new(columns: impl IntoIterator<Item = Column>) -> Self {
        Self { columns: columns.into_iter().collect(), rows: Vec::new() }
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
        let header = self.columns.iter().map(|column| (column.title.as_str(), Style::Dim));
        self.lines(&mut out, terminal, &widths, header);
        for row in &self.rows {
            self.lines(&mut out, terminal, &widths, row.iter().map(|(text, style)| (text.as_str(), *style)));
        }
        out
    }

    /// Computes the widths of the columns; one that is left out has none.
    fn widths(&self, available: Option<usize>) -> Vec<Option<usize>> {
        let natural = |(n, column): (usize, &Column)| {
            let cells = self.rows.iter().map(|row| row[n].0.width());
            cells.chain([column.title.width()]).max()
        };
        let mut widths: Vec<Option<usize>> = self.columns.iter().enumerate().map(natural).collect();
        let Some(available) = available else { return widths };
        self.narrow(&mut widths, available, Narrowing::LeftOut, MIN_OPTIONAL_WIDTH);
        if total(&widths) > available {
            let optional = |column: &Column| column.narrowing == Narrowing::LeftOut;
            let optional = widths.iter_mut().zip(&self.columns).filter(|(_, column)| optional(column));
            optional.for_each(|(width, _)| *width = None);
        }
        self.narrow(&mut widths, available, Narrowing::Wrapped, MAX_UNWRAPPED_WIDTH);
        self.narrow(&mut widths, available, Narrowing::Cut, MIN_COLUMN_WIDTH);
        self.narrow(&mut widths, available, Narrowing::Wrapped, MIN_COLUMN_WIDTH);
        widths
    }

    /// Narrows the widest columns of a kind, until the rows fit or all of these columns have `min`.
    fn narrow(&self, widths: &mut [Option<usize>], available: usize, kind: Narrowing, min: usize) {
        for _ in available..total(widths) {
            let of_kind = widths.iter_mut().zip(&self.columns).filter(|(_, column)| column.narrowing == kind);
            let widest = of_kind.filter_map(|(width, _)| width.as_mut()).max();
            let Some(widest) = widest.filter(|width| **width > min) else { break };
            *widest -= 1;
        }
    }

    /// Writes a row, with as many lines as its tallest cell.
    fn lines<'a>(
        &self,
        out: &mut String,
        terminal: Terminal,
        widths: &[Option<usize>],
        cells: impl Iterator<Item = (&'a str, Style)>,
    ) {
        let cells = cells.zip(widths).zip(&self.columns);
        let cells: Vec<_> = cells
            .filter_map(|(((text, style), width), column)| {
                let width = (*width)?;
                let lines = match column.narrowing {
                    Narrowing::Never => vec![text.to_owned()],
                    Narrowing::Wrapped => wrap(text, width).into_iter().map(str::to_owned).collect(),
                    Narrowing::Cut | Narrowing::LeftOut => vec![cut(text, width)],
                };
                Some((lines, width, style))
            })
            .collect();
        let height = cells.iter().map(|(lines, ..)| lines.len()).max().unwrap_or(0);
        for n in 0..height {
            // Blanks at the end of a line are not written, and no blanks are painted.
            let mut gap = 0;
            for (lines, width, style) in &cells {
                let text = lines.get(n).map_or("", String::as_str);
                if !text.is_empty() {
                    let _ = write!(out, "{:gap$}{}", "", terminal.paint(*style, text));
                    gap = 0;
                }
                gap += width.saturating_sub(text.width()) + COLUMN_GAP;
            }
            out.push('\n');
        }
    }
}

/// Returns the width of a row.
fn total(widths: &[Option<usize>]) -> usize {
    let shown = widths.iter().flatten();
    shown.clone().sum::<usize>() + COLUMN_GAP * shown.count().saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn catalog(code: &str) -> TextTable {
        let mut table = TextTable::new([
            Column::wrapped("CODE"),
            Column::cut("NAME"),
            Column::fixed("SELLER"),
            Column::optional("BUY LINK"),
        ]);
        let plain = |text| (text, Style::Plain);
        table.row([code, "WordPress Toolkit", "plesk", "https://shop.example/buy/wp"].map(plain));
        table.row(["x", "日本", "vendor", ""].map(plain));
        table
    }

    fn render(table: &TextTable, width: impl Into<Option<usize>>) -> String {
        table.render(Terminal { width: width.into(), ..Terminal::default() })
    }

    #[test]
    fn gives_way_in_order() {
        let table = catalog("wp-toolkit");
        let whole = "CODE        NAME               SELLER  BUY LINK\n\
                     wp-toolkit  WordPress Toolkit  plesk   https://shop.example/buy/wp\n\
                     x           日本               vendor\n";
        assert_eq!(render(&table, None), whole);
        assert_eq!(render(&table, 200), whole);
        assert_eq!(render(&table, 66), whole);
        let check = |width, expected: &str| assert_eq!(render(&table, width), expected, "{width}");
        // The link is cut, then left out.
        check(
            55,
            "CODE        NAME               SELLER  BUY LINK\n\
             wp-toolkit  WordPress Toolkit  plesk   https://shop.ex…\n\
             x           日本               vendor\n",
        );
        check(
            54,
            "CODE        NAME               SELLER\n\
             wp-toolkit  WordPress Toolkit  plesk\n\
             x           日本               vendor\n",
        );
        // Then the name is cut, and only then the code is wrapped.
        check(
            33,
            "CODE        NAME           SELLER\n\
             wp-toolkit  WordPress To…  plesk\n\
             x           日本           vendor\n",
        );
        check(
            27,
            "CODE       NAME      SELLER\n\
             wp-        WordPre…  plesk\n\
             toolkit\n\
             x          日本      vendor\n",
        );
        for width in 26..80 {
            assert!(render(&table, width).lines().all(|line| line.width() <= width), "{width}");
        }
        assert_eq!(render(&table, 3), render(&table, 26), "no narrower than that");
    }

    #[test]
    fn nothing_of_a_code_is_lost() {
        let code = "a-code-of-sixty-characters-that-no-terminal-of-eighty-can-sho";
        for code in [code.to_owned(), "x".repeat(200)] {
            let table = catalog(&code);
            assert!(render(&table, 80).contains("WordPress Toolkit"), "names have room");
            assert!(render(&table, None).contains(&code));
            for width in [26, 40, 80, 120, 200] {
                let text = render(&table, width);
                assert!(text.lines().all(|line| line.width() <= width), "{text}");
                let column = text.lines().skip(1).map(|line| line.split(' ').next().unwrap_or_default());
                assert_eq!(column.collect::<String>(), format!("{code}x"), "{text}");
                assert!(text.contains("  plesk") && text.contains("  vendor"), "{text}");
            }
        }
    }

    #[test]
    fn every_line_of_a_cell_is_painted_alone() {
        let mut table = TextTable::new([Column::wrapped("CODE"), Column::fixed("STATE")]);
        table.row([("one-two-three", Style::Bold), ("hidden", Style::Yellow)]);
        let text = table.render(Terminal { width: Some(16), colors: true });
        let expected = "\x1b[2mCODE\x1b[0m      \x1b[2mSTATE\x1b[0m\n\
                        \x1b[1mone-two-\x1b[0m  \x1b[33mhidden\x1b[0m\n\
                        \x1b[1mthree\x1b[0m\n";
        assert_eq!(text, expected);
    }
}
