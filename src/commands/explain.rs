//! `explain`: why an extension is shown or hidden, and what to type to change that.

use std::fmt;
use std::path::Path;

use serde::Serialize;

use super::CommandError;
use super::catalog_source::Listing;
use super::former_codes::{FormerCodes, unknown};
use super::list::is_shown;
use super::terminal::{Style, Terminal, print, print_json, printable};
use super::whitelist_file::{GivenFiles, WhitelistFile};
use crate::cli::{Explain, Sources, TextFormat};
use crate::config::Config;
use crate::news::renames::FormerCode;
use crate::place::Place;
use crate::printable::joined;
use crate::seller::{self, Seller};

/// Explanation of one code.
#[derive(Debug, Serialize)]
struct Explanation<'a> {
    code: &'a str,
    name: Option<&'a str>,
    uuid: Option<&'a str>,
    /// Codes that the package had before, the last one first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    was_called: Vec<FormerCode<'a>>,
    seller: &'static str,
    shown: bool,
    buy_url: Option<&'a str>,
    host: Option<String>,
    /// First place in the whitelist.
    listed: Option<At>,
    /// Further places.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    listed_again: Vec<At>,
    /// Sellers of other packages with the same code.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    also: Vec<&'static str>,
    /// Command that would show or hide the package, if there is one.
    change: Option<String>,
}

/// Place in the whitelist.
#[derive(Debug, Serialize)]
struct At {
    file: String,
    line: usize,
    column: usize,
}

/// Prints why a package is shown or hidden.
///
/// # Errors
/// If there is no such extension, no catalog or no whitelist.
pub(crate) fn explain(arguments: &Explain) -> Result<(), CommandError> {
    let config = Config::load(arguments.sources.settings())?;
    let file = WhitelistFile::read(&config.whitelist)?;
    let catalog = Listing::load(arguments.sources.feed.as_deref(), &config)?;
    let code = arguments.code.as_str();
    let former = FormerCodes::read(&config);
    let mut places = file.places(code).map(|Place { line, column }| {
        let file = config.whitelist.display().to_string();
        At { file, line, column }
    });
    let place = places.next();
    let Some(listed) = catalog.find(code) else {
        let listed = place.map(|place| format!("{place}: ")).unwrap_or_default();
        return Err(CommandError::failed(format!(
            "{listed}{}",
            unknown(code, former.successor(code, &catalog), &catalog)
        )));
    };
    let seller = listed.package.seller;
    let shown = is_shown(listed, &file.list);
    let verb = if shown { "hide" } else { "allow" };
    let Sources { config: given, whitelist, .. } = &arguments.sources;
    let given = GivenFiles { config: given.clone(), whitelist: whitelist.clone() };
    let others = catalog.packages.iter().filter(|other| other.package.code.as_deref() == Some(code));
    let others = others.filter(|other| !std::ptr::eq(*other, listed));
    let explanation = Explanation {
        code,
        name: listed.name.as_deref(),
        uuid: listed.uuid.as_deref(),
        was_called: former.of(code),
        seller: seller.name(),
        shown,
        buy_url: listed.buy_url.as_deref(),
        host: listed.buy_url.as_deref().and_then(seller::host),
        listed: place,
        listed_again: places.collect(),
        also: others.map(|other| other.package.seller.name()).collect(),
        change: (seller == Seller::Plesk).then(|| given.edit_command(verb, code)),
    };
    match arguments.format {
        TextFormat::Json => print_json(&explanation),
        TextFormat::Text => print(&explanation.text(seller, &config.whitelist, Terminal::stdout())),
    }
}

impl Explanation<'_> {
    fn text(&self, seller: Seller, file: &Path, terminal: Terminal) -> String {
        let name = self.name.map(|name| format!(" ({})", printable(name))).unwrap_or_default();
        let host = self.host.as_deref().unwrap_or("no host");
        let (sold, always) = match seller {
            Seller::Free => ("nobody: it has no buy link".to_owned(), true),
            Seller::Vendor => (format!("its vendor: the buy link leads to {}", printable(host)), true),
            Seller::Plesk => (format!("Plesk: the buy link leads to {}", printable(host)), false),
        };
        let (verdict, style) = if self.shown { ("shown", Style::Green) } else { ("hidden", Style::Yellow) };
        let because = match (always, self.shown) {
            (true, _) => "because what Plesk does not sell always is",
            (false, true) => "because it is in the whitelist",
            (false, false) => "because Plesk sells it and it is not in the whitelist",
        };
        let places: Vec<_> = self.listed.iter().chain(&self.listed_again).collect();
        let listed = match &self.listed {
            Some(_) if always => format!("{}, which changes nothing", joined(&places)),
            Some(_) => joined(&places).to_string(),
            None => format!("not in {}", file.display()),
        };
        let code = printable(self.code);
        let mut out = format!(
            "{}{name} is {}, {because}.\n",
            terminal.paint(Style::Bold, code),
            terminal.paint(style, verdict)
        );
        let mut line = |label: &str, text: &str| {
            out += &format!("  {}{text}\n", terminal.paint(Style::Dim, format_args!("{label:<12}")));
        };
        line("sold by", &sold);
        line("buy link", &printable(self.buy_url.unwrap_or("none")));
        if let Some(uuid) = self.uuid {
            line("uuid", &printable(uuid));
        }
        for FormerCode { code, until } in &self.was_called {
            let day = until.split('T').next().unwrap_or(until);
            line("was called", &format!("{} until {day}", printable(code)));
        }
        line("whitelist", &listed);
        if !self.also.is_empty() {
            line("also", &format!("other packages have this code, by seller: {}", joined(&self.also)));
        }
        if let Some(change) = &self.change {
            line(if self.shown { "to hide it" } else { "to show it" }, change);
        }
        out
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}
