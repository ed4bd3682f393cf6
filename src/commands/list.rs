//! `list`: the packages of the catalog, who sells them, what the whitelist does with them, and why.

use std::cmp::Ordering;
use std::time::SystemTime;

use super::CommandError;
use super::catalog_source::Listing;
use super::shop_selection::ShopList;
use super::table::{Column, TextTable};
use super::terminal::{Style, Terminal, print, print_json};
use super::whitelist_file::WhitelistFile;
use crate::cli::{List, ListFormat, ListOrder, ListedPart, SellerArgument};
use crate::config::Config;
use crate::policy::{Day, Verdict, ViewKind};
use crate::printable::escaped;
use crate::report::PackageRow;
use crate::seller::Seller;
use crate::stderr;

/// Prints the packages that the arguments select.
///
/// # Errors
/// If there is no catalog or no whitelist.
pub(crate) fn list(arguments: &List) -> Result<(), CommandError> {
    let config = Config::load(arguments.sources.settings())?;
    let day = arguments.at.unwrap_or_else(|| Day::of(SystemTime::now()));
    let lists = ShopList::read_all(&config, &arguments.shops.names, day)?;
    let catalog = Listing::load(&arguments.sources, &config)?;
    let word = arguments.word.as_deref().unwrap_or_default().to_lowercase();
    let rows_of = |listed| {
        lists
            .iter()
            .map(|list| PackageRow::of(listed, list.name.as_str(), &list.file.rules))
            .collect::<Vec<_>>()
    };
    // The rows of one package stay together. What one of the shops has is listed.
    let mut packages: Vec<_> = catalog
        .packages
        .iter()
        .map(rows_of)
        .filter(|rows| rows.iter().any(|row| is_in(row, &arguments.part)))
        .filter(|rows| arguments.seller.is_none_or(|name| Seller::from(name).name() == rows[0].seller))
        .filter(|rows| has(&rows[0], &word))
        .collect();
    packages.sort_by(|one, other| order(one, other, arguments.sort));
    let single = || {
        let rows = packages.iter().flatten();
        rows.filter(|row| is_in(row, &arguments.part)).collect::<Vec<_>>()
    };
    match arguments.format {
        ListFormat::Json => print_json("packages", &single()),
        ListFormat::Csv => print(&csv(&single())),
        ListFormat::Table => {
            print(&table(&packages, &lists).render(Terminal::stdout()))?;
            for ShopList { name, file } in &lists {
                let shop = if lists.len() > 1 { format!("{name}: ") } else { String::new() };
                stderr::message(format_args!("{shop}{}", summary(&catalog, file)));
            }
            Ok(())
        }
    }
}

/// Makes the table: a row a package, and a column with the state for each shop.
fn table(packages: &[Vec<PackageRow<'_>>], lists: &[ShopList]) -> TextTable {
    let states = match lists {
        [_] => vec![Column::fixed("STATE")],
        lists => lists.iter().map(|list| Column::fixed(list.name.as_str())).collect(),
    };
    let columns = [Column::wrapped("CODE"), Column::cut("NAME"), Column::fixed("SELLER")].into_iter();
    let mut table = TextTable::new(columns.chain(states).chain([Column::optional("BUY LINK")]));
    for rows in packages {
        let PackageRow { code, name, seller, buy_url, .. } = rows[0];
        let cells =
            [(code.unwrap_or("-"), Style::Bold), (name.unwrap_or("-"), Style::Plain), (seller, Style::Plain)];
        let states = rows.iter().map(|row| (row.state, style(row.verdict)));
        table.row(cells.into_iter().chain(states).chain([(buy_url.unwrap_or("-"), Style::Dim)]));
    }
    table
}

/// Compares the rows of two packages.
fn order(one: &[PackageRow<'_>], other: &[PackageRow<'_>], order: ListOrder) -> Ordering {
    let (first, second) = (&one[0], &other[0]);
    let name = |row: &PackageRow<'_>| row.name.map(str::to_lowercase);
    let verdicts = |rows: &[PackageRow<'_>]| rows.iter().map(|row| row.verdict).collect::<Vec<_>>();
    let by_order = match order {
        ListOrder::Code => Ordering::Equal,
        ListOrder::Name => name(first).cmp(&name(second)),
        ListOrder::Seller => first.seller.cmp(second.seller),
        ListOrder::State => verdicts(one).cmp(&verdicts(other)),
    };
    by_order.then_with(|| (first.code, first.name).cmp(&(second.code, second.name)))
}

/// Returns the style of a state's name.
pub(super) fn style(verdict: Verdict) -> Style {
    match verdict {
        Verdict::Shown => Style::Green,
        Verdict::Retired => Style::Plain,
        Verdict::Hidden => Style::Yellow,
    }
}

/// Formats the totals of the whole catalog, whatever part of it is listed.
fn summary(catalog: &Listing, file: &WhitelistFile) -> String {
    let sold_by = |seller| catalog.packages.iter().filter(move |listed| listed.package.seller == seller);
    let count = |verdict| sold_by(Seller::Plesk).filter(|listed| file.verdict(listed) == verdict).count();
    let retired = match count(Verdict::Retired) {
        0 => String::new(),
        retired => format!(", {retired} retired"),
    };
    format!(
        "{} sold by Plesk: {} shown{retired}, {} hidden · {} free · {} by vendors",
        sold_by(Seller::Plesk).count(),
        count(Verdict::Shown),
        count(Verdict::Hidden),
        sold_by(Seller::Free).count(),
        sold_by(Seller::Vendor).count()
    )
}

/// Formats rows as CSV (RFC 4180). A cell that a spreadsheet would take for a formula gets an apostrophe before it.
///
/// SECURITY: codes, names and links come from the network, and a formula can send out what else is in the sheet.
fn csv(rows: &[&PackageRow<'_>]) -> String {
    let cell = |text: &str| {
        let mark = if text.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
        format!("\"{mark}{}\"", escaped(text).replace('"', "\"\""))
    };
    let mut out = "code,name,uuid,seller,state,decided,reason,buy_url,shop\r\n".to_owned();
    for row in rows {
        let PackageRow { code, name, uuid, seller, state, decided, reason, buy_url, shop, .. } = row;
        let [code, name, uuid, buy_url] = [code, name, uuid, buy_url].map(|text| cell(text.unwrap_or("")));
        out +=
            &format!("{code},{name},{uuid},{seller},{state},{decided},{},{buy_url},{shop}\r\n", cell(reason));
    }
    out
}

fn is_in(row: &PackageRow<'_>, part: &ListedPart) -> bool {
    let is_undecided = !row.decided && row.code.is_some() && row.seller == Seller::Plesk.name();
    (!part.shown || row.verdict == Verdict::Shown)
        && (!part.retired || row.verdict == Verdict::Retired)
        && (!part.hidden || row.verdict == Verdict::Hidden)
        && (!part.undecided || is_undecided)
        && (!part.updates || row.verdict.is_in(ViewKind::Update))
}

/// Returns true if code or name contain a word in small letters.
fn has(row: &PackageRow<'_>, word: &str) -> bool {
    let texts = [row.code, row.name];
    word.is_empty() || texts.into_iter().flatten().any(|text| text.to_lowercase().contains(word))
}

impl From<SellerArgument> for Seller {
    fn from(name: SellerArgument) -> Self {
        match name {
            SellerArgument::Free => Self::Free,
            SellerArgument::Vendor => Self::Vendor,
            SellerArgument::Plesk => Self::Plesk,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spreadsheet_gets_no_formula() {
        let row = PackageRow {
            code: Some("=1+1"),
            name: Some("A \"B\", C\u{1b}"),
            uuid: None,
            seller: "free",
            state: "shown",
            decided: false,
            reason: "it is free, and no entry names it".to_owned(),
            buy_url: Some("@x"),
            shop: "gold",
            verdict: Verdict::Shown,
        };
        let line = csv(&[&row]).lines().nth(1).expect("a row").to_owned();
        let expected = r#""'=1+1","A ""B"", C\u{1b}","",free,shown,false,"it is free, and no entry names it","'@x",gold"#;
        assert_eq!(line, expected);
    }
}
