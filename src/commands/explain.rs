//! `explain`: why an extension is shown, retired or hidden, and what to type to change that.

use std::fmt;
use std::time::SystemTime;

use serde::Serialize;

use super::CommandError;
use super::catalog_source::Listing;
use super::former_codes::{FormerCodes, unknown};
use super::list::style;
use super::shop_selection::ShopList;
use super::terminal::{Style, Terminal, print, print_json};
use super::whitelist_file::{GivenFiles, WhitelistFile};
use crate::cli::{Explain, TextFormat};
use crate::config::Config;
use crate::feed::listing::Listed;
use crate::news::renames::FormerCode;
use crate::policy::{Day, Reason, Verdict, ViewKind, WhitelistEntry};
use crate::printable::{joined, printable};
use crate::seller::{self, Seller};

/// Explanation of one code in one shop.
#[derive(Debug, Serialize)]
struct Explanation<'a> {
    code: &'a str,
    shop: &'a str,
    name: Option<&'a str>,
    uuid: Option<&'a str>,
    /// Codes that the package had before, the last one first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    was_called: Vec<FormerCode<'a>>,
    seller: &'static str,
    state: &'static str,
    /// True if an entry of the whitelist names it, or a star does.
    decided: bool,
    reason: String,
    /// True if it is in the shop view.
    in_shop: bool,
    /// True if it is in the update view.
    in_updates: bool,
    buy_url: Option<&'a str>,
    host: Option<String>,
    /// Entries that match it, the one that decides first.
    entries: Vec<MatchingEntry<'a>>,
    /// Sellers of other packages with the same code.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    also: Vec<&'static str>,
    /// Commands that would give it another state.
    commands: Vec<ChangeCommand>,
}

/// Entry of the whitelist that matches the code.
#[derive(Debug, Serialize)]
struct MatchingEntry<'a> {
    file: String,
    line: usize,
    column: usize,
    key: &'static str,
    pattern: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    note: Option<&'a str>,
    /// True if it is the one that decides.
    decides: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<String>,
}

/// Command that changes the state.
#[derive(Debug, Serialize)]
struct ChangeCommand {
    state: &'static str,
    command: String,
}

/// Prints why a package has its state.
///
/// # Errors
/// If there is no such extension, no catalog or no whitelist.
pub(crate) fn explain(arguments: &Explain) -> Result<(), CommandError> {
    let config = Config::load(arguments.sources.settings())?;
    let lists = ShopList::read_all(&config, &arguments.shops.names, Day::of(SystemTime::now()))?;
    let catalog = Listing::load(&arguments.sources, &config)?;
    let code = arguments.code.as_str();
    let former = FormerCodes::read(&config, arguments.sources.platform);
    let Some(listed) = catalog.find(code) else {
        let entry = |ShopList { file, .. }: &ShopList| {
            let entry = *file.matching(code).first()?;
            Some(format!("{}: ", MatchingEntry::of(entry, file, code)))
        };
        let place = lists.iter().find_map(entry).unwrap_or_default();
        let message = unknown(code, former.successor(code, &catalog), &catalog);
        return Err(CommandError::failed(format!("{place}{message}")));
    };
    let given = GivenFiles::from(&arguments.sources);
    let others = catalog.packages.iter().filter(|other| other.package.code.as_deref() == Some(code));
    let also: Vec<_> = others
        .filter(|other| !std::ptr::eq(*other, listed))
        .map(|other| other.package.seller.name())
        .collect();
    let explain = |list| Explanation {
        was_called: former.of(code),
        also: also.clone(),
        ..Explanation::of(code, listed, list, &given)
    };
    let explanations: Vec<_> = lists.iter().map(explain).collect();
    match (arguments.format, explanations.as_slice()) {
        (TextFormat::Json, [explanation]) => print_json("explanation", explanation),
        (TextFormat::Json, explanations) => print_json("explanations", &explanations),
        (TextFormat::Text, explanations) => {
            let text = |(explanation, list): (&Explanation<'_>, &ShopList)| {
                let shop = if lists.len() > 1 { format!("{}: ", list.name) } else { String::new() };
                format!("{shop}{}", explanation.text(listed, &list.file, Terminal::stdout()))
            };
            print(&explanations.iter().zip(&lists).map(text).collect::<String>())
        }
    }
}

/// Formats the reason for a state within a sentence.
fn because(reason: Reason<'_>, verdict: Verdict, has_entries: bool) -> String {
    // An offer that has ended, or not begun, is in the file all the same.
    let today = if has_entries { " today" } else { "" };
    match (reason, verdict) {
        (Reason::Entry(entry), _) => match entry.pattern.exact() {
            Some(_) => format!("because it is under `{}` in the whitelist", entry.verdict.key()),
            None => format!(
                "because {:?} is under `{}` in the whitelist",
                entry.pattern.to_string(),
                entry.verdict.key()
            ),
        },
        (Reason::Unlisted(Seller::Free | Seller::Vendor), _) => {
            "because what Plesk does not sell always is, unless the whitelist says otherwise".to_owned()
        }
        (Reason::Unlisted(Seller::Plesk), Verdict::Retired) => {
            format!(
                "because Plesk sells it, nothing in the whitelist names it{today}, and `unlisted` is \"retired\""
            )
        }
        (Reason::Unlisted(Seller::Plesk), _) => {
            format!("because Plesk sells it and nothing in the whitelist names it{today}")
        }
        (Reason::NoCode, _) => "because Plesk sells it and it has no code".to_owned(),
    }
}

impl<'a> Explanation<'a> {
    /// Explains a package without what other packages and former codes add.
    fn of(code: &'a str, listed: &'a Listed, list: &'a ShopList, given: &GivenFiles) -> Self {
        let ShopList { name: shop, file } = list;
        let (verdict, reason) = (file.verdict(listed), file.reason(listed));
        let verbs = [(Verdict::Shown, "allow"), (Verdict::Retired, "retire"), (Verdict::Hidden, "hide")];
        let commands = verbs.into_iter().filter(|(other, _)| *other != verdict);
        let commands = commands.map(|(other, verb)| ChangeCommand {
            state: other.name(),
            command: given.edit_command(verb, code, shop),
        });
        let entries = file.matching(code).into_iter().map(|entry| MatchingEntry::of(entry, file, code));
        Self {
            code,
            shop: shop.as_str(),
            name: listed.name.as_deref(),
            uuid: listed.uuid.as_deref(),
            was_called: Vec::new(),
            seller: listed.package.seller.name(),
            state: verdict.name(),
            decided: reason.is_decision(),
            reason: reason.to_string(),
            in_shop: verdict.is_in(ViewKind::Shop),
            in_updates: verdict.is_in(ViewKind::Update),
            buy_url: listed.buy_url.as_deref(),
            host: listed.buy_url.as_deref().and_then(seller::host),
            entries: entries.collect(),
            also: Vec::new(),
            commands: commands.collect(),
        }
    }

    fn text(&self, listed: &Listed, file: &WhitelistFile, terminal: Terminal) -> String {
        let (seller, verdict) = (listed.package.seller, file.verdict(listed));
        let because = because(file.reason(listed), verdict, !self.entries.is_empty());
        let name = self.name.map(|name| format!(" ({})", printable(name))).unwrap_or_default();
        let host = self.host.as_deref().unwrap_or("no host");
        let sold = match seller {
            Seller::Free => "nobody: it has no buy link".to_owned(),
            Seller::Vendor => format!("its vendor: the buy link leads to {}", printable(host)),
            Seller::Plesk => format!("Plesk: the buy link leads to {}", printable(host)),
        };
        let code = printable(self.code);
        let mut out = format!(
            "{}{name} is {}, {because}.\n",
            terminal.paint(Style::Bold, code),
            terminal.paint(style(verdict), verdict.name())
        );
        let mut line = |label: &str, text: &str| {
            out += &format!("  {}{text}\n", terminal.paint(Style::Dim, format_args!("{label:<14}")));
        };
        let is_in = |is_in: bool| if is_in { "in it" } else { "not in it" };
        line("shop", is_in(self.in_shop));
        line("updates", is_in(self.in_updates));
        line("sold by", &sold);
        line("buy link", &printable(self.buy_url.unwrap_or("none")));
        if let Some(uuid) = self.uuid {
            line("uuid", &printable(uuid));
        }
        for FormerCode { code, until } in &self.was_called {
            let day = until.split('T').next().unwrap_or(until);
            line("was called", &format!("{} until {day}", printable(code)));
        }
        if self.entries.is_empty() {
            line("whitelist", &format!("not in {}", file.path.display()));
        }
        for (n, entry) in self.entries.iter().enumerate() {
            let pattern =
                if entry.pattern == self.code { String::new() } else { format!(" {:?}", entry.pattern) };
            let because = entry.because.as_ref().map(|because| format!(", {because}")).unwrap_or_default();
            let text = format!("{entry} `{}`{}{because}", entry.key, printable(&pattern));
            line(if n == 0 { "whitelist" } else { "" }, &text);
            if let Some(note) = entry.note {
                line("", &format!("  note: {}", printable(note)));
            }
        }
        if !self.also.is_empty() {
            line("also", &format!("other packages have this code, by seller: {}", joined(&self.also)));
        }
        for ChangeCommand { state, command } in &self.commands {
            let verb = match *state {
                "shown" => "to show it",
                "retired" => "to retire it",
                _ => "to hide it",
            };
            line(verb, command);
        }
        out
    }
}

impl<'a> MatchingEntry<'a> {
    fn of(entry: &'a WhitelistEntry, file: &WhitelistFile, code: &str) -> Self {
        let deciding = file.rules.entry(code);
        let decides = deciding.is_some_and(|deciding| deciding.span == entry.span);
        let because = match (entry.window.from, entry.window.until) {
            _ if decides => None,
            (_, Some(until)) if until < file.day => Some(format!("which ended on {until}")),
            (Some(from), _) if file.day < from => Some(format!("which begins on {from}")),
            _ => deciding.map(|deciding| match deciding.pattern == entry.pattern {
                true => "again".to_owned(),
                false => format!("but line {} is more exact", deciding.place.line),
            }),
        };
        Self {
            file: file.path.display().to_string(),
            line: entry.place.line,
            column: entry.place.column,
            key: entry.verdict.key(),
            pattern: entry.pattern.to_string(),
            from: entry.window.from.map(|day| day.to_string()),
            until: entry.window.until.map(|day| day.to_string()),
            note: entry.note.as_deref(),
            decides,
            because,
        }
    }
}

impl fmt::Display for MatchingEntry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}
