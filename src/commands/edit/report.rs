//! What the commands say about an edit.

use std::collections::BTreeSet;
use std::path::Path;

use crate::commands::CommandError;
use crate::commands::shop_selection::SelectedShop;
use crate::commands::whitelist_file::GivenFiles;
use crate::editing::{
    CodeEffect, CodeOutcome, EditRefusal, EditSubject, EditedList, MissingIn, StateByDefault, Stranded,
    UnknownCode,
};
use crate::policy::Verdict;
use crate::printable::{joined, printable};
use crate::report::{always_shown, not_in_catalog};
use crate::shops::ShopName;

/// Said where a comment may be taken for one about the next code.
const COMMENT_STAYS: &str = " (the comment beside it stays)";

/// What is said about an edit that can be made.
pub(super) struct EditReport<'a> {
    /// Files that a suggested command has to be given as well.
    pub(super) given: &'a GivenFiles,
    /// True if it is one of several edits, so that each line names the shop.
    pub(super) is_of_several: bool,
}

impl EditReport<'_> {
    /// Formats what was done, one line a code.
    pub(super) fn done(&self, edited: &EditedList, shop: &SelectedShop) -> String {
        let prefix = self.prefix(&shop.name);
        edited.outcomes.iter().map(|outcome| format!("{prefix}{}", line(outcome, &shop.path))).collect()
    }

    /// Formats a warning for each code whose edit cuts servers off from updates.
    pub(super) fn warnings(&self, edited: &EditedList, shop: &ShopName) -> Vec<String> {
        let prefix = self.prefix(shop);
        let warning = |Stranded { code, packages }: &Stranded| {
            let what = match code.ends_with('*') {
                true => format!("one of {}", extensions(*packages)),
                false => "it".to_owned(),
            };
            let retire = self.given.edit_command("retire", code, shop);
            let code = printable(code);
            format!(
                "warning: {prefix}{code}: servers that have {what} get no updates any more; to keep updates: {retire}"
            )
        };
        edited.stranded.iter().map(warning).collect()
    }

    fn prefix(&self, shop: &ShopName) -> String {
        if self.is_of_several { format!("{shop}: ") } else { String::new() }
    }
}

/// Turns refusals into the error of the command; `origin` is where the catalog is from.
pub(super) fn refused(refusals: Vec<(&Path, EditRefusal)>, origin: Option<&str>) -> CommandError {
    let mut lines = Vec::new();
    for (path, refusal) in refusals {
        let file = path.display();
        match refusal {
            EditRefusal::Unknown(codes) => lines.extend(codes.iter().map(|code| unknown(code, path, origin))),
            EditRefusal::Invalid(finding) => return CommandError::wrong(format!("{file}:{finding}")),
            EditRefusal::Star(_) | EditRefusal::TwoVerbs(_) => return CommandError::wrong(refusal),
            EditRefusal::Layout => return CommandError::failed(format!("{file}: {refusal}")),
            EditRefusal::TooLarge => {
                return CommandError::failed(format!("{file}: {refusal}; nothing was changed"));
            }
        }
    }
    // What the catalog does not have is the same in all shops.
    let mut told = BTreeSet::new();
    let lines = lines.into_iter().filter(|line| told.insert(line.clone()));
    let lines: String = lines.map(|line| line + "\n").collect();
    CommandError::failed(format!("{lines}Nothing was changed; --force does it all the same."))
}

fn unknown(unknown: &UnknownCode, path: &Path, origin: Option<&str>) -> String {
    let UnknownCode { code, missing_in, meant } = unknown;
    match missing_in {
        MissingIn::Catalog => not_in_catalog(code, origin.unwrap_or_default(), meant.as_deref()),
        MissingIn::Whitelist => {
            let meant = meant.as_ref().map(|meant| format!("; did you mean {meant:?}?")).unwrap_or_default();
            format!("{code:?} is not named in {}{meant}", path.display())
        }
    }
}

fn line(outcome: &CodeOutcome, path: &Path) -> String {
    let CodeOutcome { code, subject, effect, line, leaves_comment, dropped } = outcome;
    let subject = match subject {
        EditSubject::Package { name: Some(name) } => format!(" ({name})"),
        EditSubject::Star { matches } => format!(" ({})", extensions(*matches)),
        EditSubject::Package { name: None } | EditSubject::Unknown => String::new(),
    };
    let place = line.map(|line| format!(", {}:{line}", path.display())).unwrap_or_default();
    let comment = if *leaves_comment { COMMENT_STAYS } else { "" };
    let dates = match effect {
        CodeEffect::Placed { .. } if !dropped.is_empty() => {
            format!("; its dates ({}) are gone", joined(dropped))
        }
        _ => String::new(),
    };
    format!("{}{subject}: {}{place}{comment}{dates}\n", printable(code), told(outcome, effect))
}

fn told(outcome: &CodeOutcome, effect: &CodeEffect) -> String {
    let is_package = matches!(outcome.subject, EditSubject::Package { .. });
    match effect {
        CodeEffect::AlreadyPlaced(verdict) if is_package => format!("already {}", verdict.name()),
        CodeEffect::AlreadyPlaced(verdict) => format!("already {}", key(*verdict)),
        CodeEffect::NotNeeded(seller) => format!("not listed: {}", always_shown(*seller)),
        CodeEffect::Placed { verdict, was, .. } if is_package => match was {
            Some(was) if was == verdict => format!("{}, as before", verdict.name()),
            Some(was) => format!("{} now (was {})", verdict.name(), was.name()),
            None => format!("{} now", verdict.name()),
        },
        CodeEffect::Placed { verdict, was_under, .. } if was_under.is_empty() => {
            format!("{} now", key(*verdict))
        }
        CodeEffect::Placed { verdict, was_under, .. } => {
            format!("{} now (was in {})", key(*verdict), joined(was_under))
        }
        CodeEffect::NotNamed { now: None } => "not named".to_owned(),
        CodeEffect::NotNamed { now: Some(now) } => format!("not named; {}", by_default(now)),
        CodeEffect::Forgotten { now: None, .. } => "no longer named".to_owned(),
        CodeEffect::Forgotten { now: Some(now), was } => {
            let changed = match was {
                Some(was) if *was == now.verdict => ", as before".to_owned(),
                Some(was) => format!(" now (was {})", was.name()),
                None => " now".to_owned(),
            };
            format!("no longer named; {}{changed}", by_default(now))
        }
    }
}

/// Describes the state of a package that no entry names, and what decides it.
fn by_default(StateByDefault { verdict, star }: &StateByDefault) -> String {
    let why = star.as_ref().map_or("default".to_owned(), |star| format!("{star:?}"));
    format!("{} by {why}", verdict.name())
}

fn key(verdict: Verdict) -> String {
    format!("in {}", verdict.key())
}

fn extensions(count: usize) -> String {
    if count == 1 { "1 extension".to_owned() } else { format!("{count} extensions") }
}

#[cfg(test)]
mod tests;
