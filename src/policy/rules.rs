//! The rules of a policy on one day.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use super::{Day, Pattern, Verdict, ViewKind, WhitelistEntry};
use crate::digest::Digest;
use crate::seller::Seller;

/// What a policy decides on one day, and on those around it until an entry begins or ceases to count.
#[derive(Debug)]
pub struct Rules {
    /// Digest of what decides: rules with the same one give the same verdicts.
    pub digest: Digest,
    entries: Arc<[WhitelistEntry]>,
    /// Indices of the entries that count, by code.
    exact: HashMap<Box<str>, usize>,
    /// Indices of those with a star, by what stands before it.
    stars: HashMap<Box<str>, usize>,
    /// Lengths of what stands before stars, the longest first.
    star_lengths: Vec<usize>,
    unlisted: Verdict,
    /// First day on which these rules hold; `None` if that is without a beginning.
    first: Option<Day>,
    /// Day on which others hold, if any ever do.
    next_change: Option<Day>,
}

/// Number of packages, or of entries of the whitelist, by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct VerdictCounts {
    pub shown: usize,
    pub retired: usize,
    pub hidden: usize,
}

/// Why a package has its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason<'a> {
    /// This entry decides.
    Entry(&'a WhitelistEntry),
    /// No entry matches, and this is what its seller's packages are then.
    Unlisted(Seller),
    /// Plesk sells it and it has no code that an entry could name.
    NoCode,
}

/// Rules as views of one kind apply them.
#[derive(Debug, Clone)]
pub struct ViewRules {
    pub rules: Arc<Rules>,
    pub kind: ViewKind,
}

/// What an edit or a day changes: patterns by their new state, each list sorted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub shown: Vec<Pattern>,
    pub retired: Vec<Pattern>,
    pub hidden: Vec<Pattern>,
    /// No entry names them any more.
    pub unlisted: Vec<Pattern>,
}

impl Rules {
    pub(super) fn new(entries: Arc<[WhitelistEntry]>, unlisted: Verdict, day: Day) -> Self {
        let mut exact = HashMap::new();
        let mut stars = HashMap::new();
        for (n, entry) in entries.iter().enumerate().filter(|(_, entry)| entry.window.contains(day)) {
            match &entry.pattern {
                Pattern::Exact(code) => exact.entry(code.clone()),
                Pattern::Star(prefix) => stars.entry(prefix.clone()),
            }
            .or_insert(n);
        }
        let mut star_lengths: Vec<_> = stars.keys().map(|prefix| prefix.len()).collect();
        star_lengths.sort_unstable_by(|a, b| b.cmp(a));
        star_lengths.dedup();
        let boundaries = || entries.iter().flat_map(|entry| entry.window.boundaries());
        let first = boundaries().filter(|boundary| *boundary <= day).max();
        let next_change = boundaries().filter(|boundary| *boundary > day).min();
        let mut rules = Self {
            digest: Digest::of(b""),
            entries,
            exact,
            stars,
            star_lengths,
            unlisted,
            first,
            next_change,
        };
        rules.digest = rules.compute_digest();
        rules
    }

    fn compute_digest(&self) -> Digest {
        let patterns: Vec<_> =
            self.by_pattern().into_iter().map(|(pattern, verdict)| (pattern.to_string(), verdict)).collect();
        let parts =
            patterns.iter().flat_map(|(pattern, verdict)| [pattern.as_bytes(), verdict.name().as_bytes()]);
        Digest::of_parts(parts.chain([self.unlisted.name().as_bytes()]))
    }

    fn by_pattern(&self) -> BTreeMap<&Pattern, Verdict> {
        self.entries().map(|entry| (&entry.pattern, entry.verdict)).collect()
    }

    /// Returns the state of a package.
    pub fn verdict(&self, code: Option<&str>, seller: Seller) -> Verdict {
        match (code.and_then(|code| self.entry(code)), code, seller) {
            (Some(entry), ..) => entry.verdict,
            (None, _, Seller::Free | Seller::Vendor) => Verdict::Shown,
            (None, Some(_), Seller::Plesk) => self.unlisted,
            // No list can name a package without a code.
            (None, None, Seller::Plesk) => Verdict::Hidden,
        }
    }

    /// Returns why a package has its state.
    pub fn reason(&self, code: Option<&str>, seller: Seller) -> Reason<'_> {
        match (code.and_then(|code| self.entry(code)), code, seller) {
            (Some(entry), ..) => Reason::Entry(entry),
            (None, None, Seller::Plesk) => Reason::NoCode,
            (None, _, seller) => Reason::Unlisted(seller),
        }
    }

    /// Returns the entry that decides about a code: an exact one before stars, of stars the longest.
    pub fn entry(&self, code: &str) -> Option<&WhitelistEntry> {
        let star = |length: &usize| self.stars.get(code.get(..*length)?);
        let n = self.exact.get(code).or_else(|| self.star_lengths.iter().find_map(star))?;
        self.entries.get(*n)
    }

    /// Returns the entries that count, in no particular order, without duplicates.
    pub fn entries(&self) -> impl Iterator<Item = &WhitelistEntry> {
        self.exact.values().chain(self.stars.values()).filter_map(|n| self.entries.get(*n))
    }

    /// Returns the codes that entries name exactly.
    pub fn codes(&self) -> impl Iterator<Item = &str> {
        self.exact.keys().map(|code| &**code)
    }

    /// Returns true if an entry names exactly this code.
    pub fn has_code(&self, code: &str) -> bool {
        self.exact.contains_key(code)
    }

    /// Counts the entries that count, by state.
    pub fn counts(&self) -> VerdictCounts {
        let of = |verdict| self.entries().filter(|entry| entry.verdict == verdict).count();
        VerdictCounts {
            shown: of(Verdict::Shown),
            retired: of(Verdict::Retired),
            hidden: of(Verdict::Hidden),
        }
    }

    /// Returns what a package sold by Plesk is that no entry matches.
    pub fn unlisted(&self) -> Verdict {
        self.unlisted
    }

    /// Returns true if these rules hold on a day.
    pub fn hold_on(&self, day: Day) -> bool {
        self.first.is_none_or(|first| first <= day) && self.next_change.is_none_or(|next| day < next)
    }

    /// Returns the first day on which these rules hold; `None` if that is without a beginning.
    pub fn first_day(&self) -> Option<Day> {
        self.first
    }

    /// Returns the first day after these on which other rules hold, if any ever do.
    pub fn next_change(&self) -> Option<Day> {
        self.next_change
    }

    /// Compares with the rules that were in force before.
    pub fn changes(&self, before: &Self) -> Changes {
        let (old, new) = (before.by_pattern(), self.by_pattern());
        let mut changes = Changes::default();
        for (pattern, verdict) in &new {
            let list = match verdict {
                Verdict::Shown => &mut changes.shown,
                Verdict::Retired => &mut changes.retired,
                Verdict::Hidden => &mut changes.hidden,
            };
            if old.get(pattern) != Some(verdict) {
                list.push((*pattern).clone());
            }
        }
        let gone = old.keys().filter(|pattern| !new.contains_key(*pattern));
        changes.unlisted = gone.map(|pattern| (*pattern).clone()).collect();
        changes
    }
}

impl Reason<'_> {
    /// Returns true if an entry names the package, or a star does.
    pub fn is_decision(self) -> bool {
        matches!(self, Self::Entry(_))
    }
}

impl fmt::Display for Reason<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(entry) => {
                let (key, pattern) = (entry.verdict.key(), entry.pattern.to_string());
                write!(f, "`{key}` has {pattern:?} in line {}", entry.place.line)
            }
            Self::Unlisted(Seller::Free) => f.write_str("it is free, and no entry names it"),
            Self::Unlisted(Seller::Vendor) => f.write_str("its vendor sells it, and no entry names it"),
            Self::Unlisted(Seller::Plesk) => f.write_str("Plesk sells it, and no entry names it"),
            Self::NoCode => f.write_str("Plesk sells it, and it has no code"),
        }
    }
}

impl ViewRules {
    /// Returns true if a package is in the view.
    pub fn show(&self, code: Option<&str>, seller: Seller) -> bool {
        self.rules.verdict(code, seller).is_in(self.kind)
    }
}

#[cfg(test)]
impl Rules {
    /// Returns the rules of a text on a day long ago.
    pub(crate) fn of_text(text: &str) -> Self {
        let (policy, _) = super::Policy::parse(text.as_bytes(), super::HostsKey::Allowed).expect(text);
        policy.on(Day::of(std::time::UNIX_EPOCH))
    }
}

#[cfg(test)]
impl ViewRules {
    /// Returns [`Rules::of_text`] for a kind of view.
    pub(crate) fn of_text(text: &str, kind: ViewKind) -> Self {
        Self { rules: Arc::new(Rules::of_text(text)), kind }
    }
}
