//! `list`: the packages of the catalog, who sells them, what the whitelist does with them, and why.

use std::cmp::Ordering;
use std::time::SystemTime;

use serde::Serialize;

use super::CommandError;
use super::catalog_source::Listing;
use super::table::TextTable;
use super::terminal::{Style, Terminal, print, print_json};
use super::whitelist_file::{WhitelistFile, whitelist_path};
use crate::cli::{List, ListFormat, ListOrder, ListedPart, SellerArgument};
use crate::config::Config;
use crate::feed::listing::Listed;
use crate::policy::{Day, HostsKey, Verdict, ViewKind};
use crate::printable::escaped;
use crate::seller::Seller;
use crate::stderr;

/// One package in the list.
#[derive(Debug, Serialize)]
struct ListRow<'a> {
    code: Option<&'a str>,
    name: Option<&'a str>,
    uuid: Option<&'a str>,
    seller: &'static str,
    state: &'static str,
    /// True if an entry of the whitelist names it, or a star does.
    decided: bool,
    reason: String,
    buy_url: Option<&'a str>,
    #[serde(skip)]
    verdict: Verdict,
}

/// Prints the packages that the arguments select.
///
/// # Errors
/// If there is no catalog or no whitelist.
pub(crate) fn list(arguments: &List) -> Result<(), CommandError> {
    let config = Config::load(arguments.sources.settings())?;
    let day = arguments.at.unwrap_or_else(|| Day::of(SystemTime::now()));
    let file = WhitelistFile::read(whitelist_path(&config)?, HostsKey::Allowed, day)?;
    let catalog = Listing::load(&arguments.sources, &config)?;
    let word = arguments.word.as_deref().unwrap_or_default().to_lowercase();
    let mut rows: Vec<_> = catalog
        .packages
        .iter()
        .map(|listed| ListRow::of(listed, &file))
        .filter(|row| row.is_in(&arguments.part))
        .filter(|row| arguments.seller.is_none_or(|name| Seller::from(name).name() == row.seller))
        .filter(|row| row.has(&word))
        .collect();
    rows.sort_by(|one, other| one.order(other, arguments.sort));
    match arguments.format {
        ListFormat::Json => print_json("packages", &rows),
        ListFormat::Csv => print(&csv(&rows)),
        ListFormat::Table => {
            let mut table = TextTable::new(&["CODE", "NAME", "SELLER", "STATE", "BUY LINK"]);
            for row in &rows {
                table.row([
                    (row.code.unwrap_or("-"), Style::Bold),
                    (row.name.unwrap_or("-"), Style::Plain),
                    (row.seller, Style::Plain),
                    (row.state, style(row.verdict)),
                    (row.buy_url.unwrap_or("-"), Style::Dim),
                ]);
            }
            print(&table.render(Terminal::stdout()))?;
            stderr::message(summary(&catalog, &file));
            Ok(())
        }
    }
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
fn csv(rows: &[ListRow<'_>]) -> String {
    let cell = |text: &str| {
        let mark = if text.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
        format!("\"{mark}{}\"", escaped(text).replace('"', "\"\""))
    };
    let mut out = "code,name,uuid,seller,state,decided,reason,buy_url\r\n".to_owned();
    for row in rows {
        let ListRow { code, name, uuid, seller, state, decided, reason, buy_url, .. } = row;
        let [code, name, uuid, buy_url] = [code, name, uuid, buy_url].map(|text| cell(text.unwrap_or("")));
        out += &format!("{code},{name},{uuid},{seller},{state},{decided},{},{buy_url}\r\n", cell(reason));
    }
    out
}

impl<'a> ListRow<'a> {
    fn of(listed: &'a Listed, file: &WhitelistFile) -> Self {
        let (verdict, reason) = (file.verdict(listed), file.reason(listed));
        Self {
            code: listed.package.code.as_deref(),
            name: listed.name.as_deref(),
            uuid: listed.uuid.as_deref(),
            seller: listed.package.seller.name(),
            state: verdict.name(),
            decided: reason.is_decision(),
            reason: reason.to_string(),
            buy_url: listed.buy_url.as_deref(),
            verdict,
        }
    }

    fn is_in(&self, part: &ListedPart) -> bool {
        let is_undecided = !self.decided && self.code.is_some() && self.seller == Seller::Plesk.name();
        (!part.shown || self.verdict == Verdict::Shown)
            && (!part.retired || self.verdict == Verdict::Retired)
            && (!part.hidden || self.verdict == Verdict::Hidden)
            && (!part.undecided || is_undecided)
            && (!part.updates || self.verdict.is_in(ViewKind::Update))
    }

    /// Returns true if code or name contain a word in small letters.
    fn has(&self, word: &str) -> bool {
        let texts = [self.code, self.name];
        word.is_empty() || texts.into_iter().flatten().any(|text| text.to_lowercase().contains(word))
    }

    fn order(&self, other: &Self, order: ListOrder) -> Ordering {
        let by_name = || self.name.map(str::to_lowercase).cmp(&other.name.map(str::to_lowercase));
        let first = match order {
            ListOrder::Code => Ordering::Equal,
            ListOrder::Name => by_name(),
            ListOrder::Seller => self.seller.cmp(other.seller),
            ListOrder::State => self.verdict.cmp(&other.verdict),
        };
        first.then_with(|| (self.code, self.name).cmp(&(other.code, other.name)))
    }
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
        let row = ListRow {
            code: Some("=1+1"),
            name: Some("A \"B\", C\u{1b}"),
            uuid: None,
            seller: "free",
            state: "shown",
            decided: false,
            reason: "it is free, and no entry names it".to_owned(),
            buy_url: Some("@x"),
            verdict: Verdict::Shown,
        };
        let line = csv(&[row]).lines().nth(1).expect("a row").to_owned();
        let expected =
            r#""'=1+1","A ""B"", C\u{1b}","",free,shown,false,"it is free, and no entry names it","'@x""#;
        assert_eq!(line, expected);
    }
}
