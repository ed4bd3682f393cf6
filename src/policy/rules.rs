//! The rules of a policy on one day.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::{Day, Entry, Pattern, Verdict};
use crate::digest::Digest;
use crate::seller::Seller;

/// What a policy decides on one day, and on those around it until an entry begins or ceases to count.
#[derive(Debug)]
pub struct Rules {
    /// Digest of what decides: rules with the same one give the same verdicts.
    pub digest: Digest,
    entries: Arc<[Entry]>,
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

/// What an edit or a day changes: patterns by their new state, each list sorted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub shown: Vec<String>,
    pub retired: Vec<String>,
    pub hidden: Vec<String>,
    /// No entry names them any more.
    pub unlisted: Vec<String>,
}

impl Rules {
    pub(super) fn new(entries: Arc<[Entry]>, unlisted: Verdict, day: Day) -> Self {
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

    /// Returns the entry that decides about a code: an exact one before stars, of stars the longest.
    pub fn entry(&self, code: &str) -> Option<&Entry> {
        let star = |length: &usize| self.stars.get(code.get(..*length)?);
        let n = self.exact.get(code).or_else(|| self.star_lengths.iter().find_map(star))?;
        self.entries.get(*n)
    }

    /// Returns the entries that count, in no particular order, without duplicates.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.exact.values().chain(self.stars.values()).filter_map(|n| self.entries.get(*n))
    }

    /// Returns what a package sold by Plesk is that no entry matches.
    pub fn unlisted(&self) -> Verdict {
        self.unlisted
    }

    /// Returns true if these rules hold on a day.
    pub fn hold_on(&self, day: Day) -> bool {
        self.first.is_none_or(|first| first <= day) && self.next_change.is_none_or(|next| day < next)
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
                list.push(pattern.to_string());
            }
        }
        let gone = old.keys().filter(|pattern| !new.contains_key(*pattern));
        changes.unlisted = gone.map(ToString::to_string).collect();
        changes
    }
}
