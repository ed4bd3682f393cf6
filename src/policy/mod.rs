//! What a shop's whitelist decides: text to [`Policy`], policy and day to [`Rules`], rules and package to [`Verdict`].

mod day;
pub mod document;
pub mod edit;
#[cfg(test)]
pub(crate) mod model;
mod rules;
pub(crate) mod suggestion;

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::place::Place;
pub use day::Day;
use document::{Document, Finding, finding};
pub use rules::{Changes, Reason, Rules, VerdictCounts, ViewRules};

/// State of a package in a shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verdict {
    /// In all views.
    Shown,
    /// Out of the shop; servers that have it installed still find it in the update view.
    Retired,
    /// In no view.
    Hidden,
}

/// Form of a feed that a client asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ViewKind {
    /// What customers can get, and every view that is not clearly the other.
    Shop,
    /// What servers look for updates in.
    Update,
}

/// Days on which an entry counts, both inclusive; those of `None` are without an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Window {
    pub from: Option<Day>,
    pub until: Option<Day>,
}

/// Codes that an entry matches. They compare exactly.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pattern {
    Exact(Box<str>),
    /// All codes that begin so; written with a star at the end.
    Star(Box<str>),
}

/// Entry of a whitelist file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhitelistEntry {
    pub pattern: Pattern,
    /// State of the packages that it matches: the key under which it stands.
    pub verdict: Verdict,
    pub window: Window,
    /// What somebody noted about it.
    pub note: Option<String>,
    pub place: Place,
    /// Byte range in the text, quotes or braces included.
    pub span: Range<usize>,
}

impl WhitelistEntry {
    /// Returns true if two entries decide the same at all times, wherever they stand.
    pub fn decides_like(&self, other: &Self) -> bool {
        (&self.pattern, self.verdict, self.window) == (&other.pattern, other.verdict, other.window)
    }
}

/// Whether a file may say for which hosts it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostsKey {
    Allowed,
    Refused,
}

/// Everything that one version of a whitelist file says; immutable.
#[derive(Debug)]
pub struct Policy {
    entries: Arc<[WhitelistEntry]>,
    unlisted: Verdict,
    hosts: Vec<String>,
}

impl Verdict {
    /// All verdicts, in the order in which people read them.
    pub const ALL: [Self; 3] = [Self::Shown, Self::Retired, Self::Hidden];

    /// Returns the name that the command line, JSON and metrics use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Shown => "shown",
            Self::Retired => "retired",
            Self::Hidden => "hidden",
        }
    }

    /// Returns the key of the file under which codes of this state stand.
    pub fn key(self) -> &'static str {
        match self {
            Self::Shown => "extensions",
            Self::Retired | Self::Hidden => self.name(),
        }
    }

    fn of_key(key: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|verdict| verdict.key() == key)
    }

    /// Returns true if packages of this state are in views of this kind.
    pub fn is_in(self, kind: ViewKind) -> bool {
        match kind {
            ViewKind::Shop => self == Self::Shown,
            ViewKind::Update => self != Self::Hidden,
        }
    }
}

impl Window {
    /// Returns true if the entry counts on a day.
    pub fn contains(self, day: Day) -> bool {
        self.from.is_none_or(|from| from <= day) && self.until.is_none_or(|until| day <= until)
    }

    /// Returns the days on which the entry begins or ceases to count.
    fn boundaries(self) -> impl Iterator<Item = Day> {
        self.from.into_iter().chain(self.until.map(Day::next))
    }
}

impl Pattern {
    /// Parses a code, with a star at its end if it stands for all that begin so. Returns `None` for stars elsewhere.
    pub fn parse(code: &str) -> Option<Self> {
        match code.split_once('*') {
            None => Some(Self::Exact(code.into())),
            Some((prefix, "")) => Some(Self::Star(prefix.into())),
            Some(_) => None,
        }
    }

    /// Returns the code if it matches one only.
    pub fn exact(&self) -> Option<&str> {
        match self {
            Self::Exact(code) => Some(code),
            Self::Star(_) => None,
        }
    }

    /// Returns true if it is written like that.
    pub fn is_written(&self, text: &str) -> bool {
        match self {
            Self::Exact(code) => **code == *text,
            Self::Star(prefix) => text.strip_suffix('*') == Some(&**prefix),
        }
    }

    /// Returns true if it matches a code.
    pub fn matches(&self, code: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *code,
            Self::Star(prefix) => code.starts_with(&**prefix),
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(code) => f.write_str(code),
            Self::Star(prefix) => write!(f, "{prefix}*"),
        }
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.from, self.until) {
            (None, None) => Ok(()),
            (Some(from), None) => write!(f, "from {from}"),
            (None, Some(until)) => write!(f, "until {until}"),
            (Some(from), Some(until)) => write!(f, "from {from} until {until}"),
        }
    }
}

impl Policy {
    /// Parses the content of a file. Warnings are about entries that are valid, but probably not intended.
    ///
    /// # Errors
    /// Those of [`Document::read`], and entries that contradict each other.
    pub fn parse(bytes: &[u8], hosts_key: HostsKey) -> Result<(Self, Vec<Finding>), Finding> {
        let text = document::text(bytes)?;
        let Document { entries, unlisted, hosts, mut warnings, .. } = Document::read(text)?;
        if let (HostsKey::Refused, Some(host)) = (hosts_key, hosts.first()) {
            let message = "`hosts` is only for a shop of --shops: this file is the default shop's";
            return Err(finding(text, host.span(), message));
        }
        for overlap in overlaps(&entries) {
            let Overlap { earlier, later } = overlap;
            if earlier.verdict == later.verdict {
                warnings.push(Finding {
                    place: later.place,
                    message: format!("{:?} is listed twice", later.pattern.to_string()),
                });
            } else {
                let message = format!(
                    "{:?} is in `{}` here and in `{}` in line {}: it can have one state only on a day",
                    later.pattern.to_string(),
                    later.verdict.key(),
                    earlier.verdict.key(),
                    earlier.place.line
                );
                return Err(Finding { place: later.place, message });
            }
        }
        warnings.sort_by_key(|warning| warning.place);
        let hosts = hosts.into_iter().map(toml::Spanned::into_inner).collect();
        Ok((Self { entries: entries.into(), unlisted, hosts }, warnings))
    }

    /// Returns the rules that hold on a day.
    pub fn on(&self, day: Day) -> Rules {
        Rules::new(Arc::clone(&self.entries), self.unlisted, day)
    }

    /// Returns all entries in the order of the file, whenever they count.
    pub fn entries(&self) -> &[WhitelistEntry] {
        &self.entries
    }

    /// Returns the hosts for which the shop is served at `/`.
    pub fn hosts(&self) -> &[String] {
        &self.hosts
    }
}

/// Two entries of one pattern that count on the same day, in the order of the file.
struct Overlap<'a> {
    earlier: &'a WhitelistEntry,
    later: &'a WhitelistEntry,
}

/// Finds entries of one pattern that count on the same day, in the order of the file; of several that overlap, each
/// with one other. All that contradict each other are among them or come before one that is.
fn overlaps(entries: &[WhitelistEntry]) -> Vec<Overlap<'_>> {
    let mut by_pattern = BTreeMap::<&Pattern, Vec<&WhitelistEntry>>::new();
    for entry in entries {
        by_pattern.entry(&entry.pattern).or_default().push(entry);
    }
    let mut overlaps = Vec::new();
    for (_, mut entries) in by_pattern {
        entries.sort_by_key(|entry| entry.window.from);
        let mut rest = entries.into_iter();
        let Some(mut longest) = rest.next() else { continue };
        for entry in rest {
            // INVARIANT: sorted by their beginning, an entry overlaps an earlier one if and only if it overlaps
            // the one that ends last.
            if entry.window.from.is_none_or(|from| longest.window.until.is_none_or(|until| from <= until)) {
                let (earlier, later) =
                    if longest.span.start < entry.span.start { (longest, entry) } else { (entry, longest) };
                overlaps.push(Overlap { earlier, later });
            }
            if longest.window.until.is_some_and(|until| entry.window.until.is_none_or(|end| end > until)) {
                longest = entry;
            }
        }
    }
    overlaps.sort_by_key(|overlap| overlap.later.span.start);
    overlaps
}

#[cfg(test)]
mod tests;
