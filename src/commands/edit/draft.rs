//! The whitelist's text while codes are edited one after the other, and what is said about each.

use std::path::Path;

use super::Verb;
use crate::commands::CommandError;
use crate::commands::catalog_source::Listing;
use crate::commands::diff::always_shown;
use crate::commands::terminal::printable;
use crate::commands::whitelist_file::GivenFiles;
use crate::feed::listing::Listed;
use crate::place::Place;
use crate::policy::document::Document;
use crate::policy::edit::{self, EditError, Edited};
use crate::policy::{Day, HostsKey, Pattern, Policy, Rules, Verdict, ViewKind, WhitelistEntry, suggestion};
use crate::printable::joined;
use crate::seller::Seller;

/// What a file means that sets nothing yet.
const NO_ENTRIES: &str = "extensions = []";
/// Said where a comment may be taken for one about the next code.
const COMMENT_STAYS: &str = " (the comment beside it stays)";

/// Whitelist text during an edit.
pub(super) struct Draft<'a> {
    pub(super) before: &'a str,
    pub(super) text: String,
    pub(super) path: &'a Path,
    /// Without it no code is unknown.
    pub(super) catalog: Option<&'a Listing>,
    /// Files that a suggested command has to be given as well.
    pub(super) given: &'a GivenFiles,
    pub(super) force: bool,
    pub(super) today: Day,
}

/// What an edit says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct EditReport {
    /// What was done, one line a code.
    pub(super) done: String,
    /// Effects that may not be intended.
    pub(super) warnings: Vec<String>,
}

/// What was done with one code.
struct Outcome<'c> {
    code: &'c str,
    said: String,
    place: ToldPlace,
    /// What comes behind the place.
    rest: String,
}

/// Text in which the place of a code is told.
enum ToldPlace {
    Nowhere,
    Before,
    After,
}

/// Reason why the edit of a code is refused.
enum EditRefusal {
    /// It is probably mistyped.
    Unknown(String),
    /// The text cannot be edited.
    Edit(EditError),
}

impl From<EditError> for EditRefusal {
    fn from(error: EditError) -> Self {
        Self::Edit(error)
    }
}

impl<'a> Draft<'a> {
    /// Edits all codes or none. Returns what was done, or everything that is wrong, one line a code.
    pub(super) fn apply(&mut self, verb: Verb, codes: &[String]) -> Result<EditReport, CommandError> {
        let mut outcomes = Vec::new();
        let mut unknown = String::new();
        for code in codes {
            let done = match verb {
                Verb::Place(verdict) => self.place(code, verdict),
                Verb::Forget => self.forget(code),
            };
            match done {
                Ok(outcome) => outcomes.push(outcome),
                Err(EditRefusal::Unknown(message)) => unknown += &format!("{message}\n"),
                Err(EditRefusal::Edit(error @ EditError::Star(_))) => return Err(CommandError::wrong(error)),
                Err(EditRefusal::Edit(EditError::Invalid(finding))) => return Err(self.refused(&finding)),
                Err(EditRefusal::Edit(error @ EditError::Layout)) => {
                    return Err(CommandError::failed(format!("{}: {error}", self.path.display())));
                }
            }
        }
        if !unknown.is_empty() {
            let message = format!("{unknown}Nothing was changed; --force does it all the same.");
            return Err(CommandError::failed(message));
        }
        if self.text != self.before {
            // The proxy would not take it: it contradicts itself in what was not edited.
            Policy::parse(self.text.as_bytes(), HostsKey::Allowed)
                .map_err(|finding| self.refused(&finding))?;
        }
        let done = outcomes.iter().map(|outcome| self.told(outcome)).collect();
        let [before, after] = [self.before, &self.text].map(|text| rules(text, self.today));
        let gets_updates = |rules: &Option<Rules>, listed: &Listed| {
            let package = &listed.package;
            let verdict = |rules: &Rules| rules.verdict(package.code.as_deref(), package.seller);
            rules.as_ref().is_some_and(|rules| verdict(rules).is_in(ViewKind::Update))
        };
        let is_stranded = |listed: &Listed| gets_updates(&before, listed) && !gets_updates(&after, listed);
        let warnings = codes.iter().filter_map(|code| self.stranding(verb, code, is_stranded)).collect();
        Ok(EditReport { done, warnings })
    }

    fn place<'c>(&mut self, code: &'c str, verdict: Verdict) -> Result<Outcome<'c>, EditRefusal> {
        let listed = self.find(code);
        let was = self.state(&self.text, code);
        let named = self.names(code);
        let Some(edited) = edit::place(&self.text, code, verdict, name(listed).as_deref())? else {
            let state = if listed.is_some() { verdict.name().to_owned() } else { key(verdict) };
            return Ok(self.outcome(code, format!("already {state}"), ToldPlace::After));
        };
        if !self.force && !named {
            self.check_known(code)?;
            let seller = listed.map(|listed| listed.package.seller).filter(|seller| *seller != Seller::Plesk);
            if let (Verdict::Shown, Some(Verdict::Shown), Some(seller)) = (verdict, was, seller) {
                return Ok(self.outcome(
                    code,
                    format!("not listed: {}", always_shown(seller)),
                    ToldPlace::Nowhere,
                ));
            }
        }
        let said = match (listed, was) {
            (None, _) => {
                let keys = self.keys(code);
                let was =
                    if keys.is_empty() { String::new() } else { format!(" (was in {})", joined(&keys)) };
                format!("{} now{was}", key(verdict))
            }
            (Some(_), Some(was)) if was == verdict => format!("{}, as before", verdict.name()),
            (Some(_), Some(was)) => format!("{} now (was {})", verdict.name(), was.name()),
            (Some(_), None) => format!("{} now", verdict.name()),
        };
        let rest = rest(&edited);
        self.text = edited.text;
        Ok(Outcome { rest, ..self.outcome(code, said, ToldPlace::After) })
    }

    fn forget<'c>(&mut self, code: &'c str) -> Result<Outcome<'c>, EditRefusal> {
        let listed = self.find(code);
        let was = self.state(&self.text, code);
        let Some(edited) = edit::forget(&self.text, code, name(listed).as_deref())? else {
            if listed.is_none() && !self.force {
                self.check_named(code)?;
            }
            let state = self.default(code).map(|state| format!("; {state}")).unwrap_or_default();
            return Ok(self.outcome(code, format!("not named{state}"), ToldPlace::Nowhere));
        };
        let rest = if edited.leaves_comment { COMMENT_STAYS.to_owned() } else { String::new() };
        self.text = edited.text;
        let state = match (self.default(code), was) {
            (None, _) => String::new(),
            (Some(state), was) if was == self.state(&self.text, code) => format!("; {state}, as before"),
            (Some(state), Some(was)) => format!("; {state} now (was {})", was.name()),
            (Some(state), None) => format!("; {state} now"),
        };
        Ok(Outcome { rest, ..self.outcome(code, format!("no longer named{state}"), ToldPlace::Before) })
    }

    fn outcome<'c>(&self, code: &'c str, said: String, place: ToldPlace) -> Outcome<'c> {
        Outcome { code, said: format!("{}: {said}", self.label(code)), place, rest: String::new() }
    }

    fn told(&self, Outcome { code, said, place, rest }: &Outcome<'_>) -> String {
        let place = match place {
            ToldPlace::Nowhere => None,
            ToldPlace::Before => self.line(self.before, code),
            ToldPlace::After => self.line(&self.text, code),
        };
        let place = place.map(|line| format!(", {}:{line}", self.path.display())).unwrap_or_default();
        format!("{said}{place}{rest}\n")
    }

    /// Returns a warning if servers that have the package get no updates of it any more.
    fn stranding(&self, verb: Verb, code: &str, is_stranded: impl Fn(&Listed) -> bool) -> Option<String> {
        let stranded = match self.catalog {
            Some(_) => self.matched(code).into_iter().filter(|listed| is_stranded(listed)).count(),
            // Whoever sells it.
            None => usize::from(verb == Verb::Place(Verdict::Hidden) && self.text != self.before),
        };
        let retire = self.given.edit_command("retire", code);
        let what = match (stranded, code.ends_with('*')) {
            (0, _) => return None,
            (_, false) => "it".to_owned(),
            (stranded, true) => format!("one of {}", extensions(stranded)),
        };
        Some(format!(
            "warning: {}: servers that have {what} get no updates any more; to keep updates: {retire}",
            printable(code)
        ))
    }

    /// Refuses a code that no package has and no entry names.
    fn check_known(&self, code: &str) -> Result<(), EditRefusal> {
        match self.catalog {
            Some(catalog) if self.matched(code).is_empty() => {
                Err(EditRefusal::Unknown(catalog.unknown(code)))
            }
            _ => Ok(()),
        }
    }

    /// Refuses to forget what is in neither the whitelist nor the catalog, with a suggestion.
    fn check_named(&self, code: &str) -> Result<(), EditRefusal> {
        let entries = entries(&self.text);
        let codes: Vec<_> = entries.iter().map(|entry| entry.pattern.to_string()).collect();
        match suggestion::suggest(code, codes.iter().map(String::as_str)) {
            Some(meant) => {
                let message =
                    format!("{code:?} is not named in {}; did you mean {meant:?}?", self.path.display());
                Err(EditRefusal::Unknown(message))
            }
            None => self.check_known(code),
        }
    }

    /// Finds the package that has a code.
    fn find(&self, code: &str) -> Option<&'a Listed> {
        self.catalog?.find(code)
    }

    /// Finds the packages that an entry would match.
    fn matched(&self, code: &str) -> Vec<&'a Listed> {
        let catalog = self.catalog.zip(Pattern::parse(code));
        catalog.map(|(catalog, pattern)| catalog.matching(&pattern)).unwrap_or_default()
    }

    /// Returns true if an entry is written like that.
    fn names(&self, code: &str) -> bool {
        !self.keys(code).is_empty()
    }

    /// Returns the keys under which an entry is written like that.
    fn keys(&self, code: &str) -> Vec<&'static str> {
        let entries = entries(&self.text);
        let named = entries.iter().filter(|entry| entry.pattern.is_written(code));
        let mut keys: Vec<_> = named.map(|entry| entry.verdict.key()).collect();
        keys.dedup();
        keys
    }

    /// Returns today's state of the package that has a code.
    fn state(&self, text: &str, code: &str) -> Option<Verdict> {
        Some(rules(text, self.today)?.verdict(Some(code), self.find(code)?.package.seller))
    }

    /// Describes the state of a package that no entry names, and what decides it.
    fn default(&self, code: &str) -> Option<String> {
        let state = self.state(&self.text, code)?;
        let rules = rules(&self.text, self.today)?;
        let why =
            rules.entry(code).map_or("default".to_owned(), |star| format!("{:?}", star.pattern.to_string()));
        Some(format!("{} by {why}", state.name()))
    }

    /// Names a code with the name of its package, or with the number of packages that a star matches.
    fn label(&self, code: &str) -> String {
        let matched = || extensions(self.matched(code).len());
        let more = match name(self.find(code)) {
            Some(name) => Some(name),
            None => (self.catalog.is_some() && code.ends_with('*')).then(matched),
        };
        let more = more.map(|more| format!(" ({more})")).unwrap_or_default();
        format!("{}{more}", printable(code))
    }

    /// Returns the line of the first entry that is written like `code`.
    fn line(&self, text: &str, code: &str) -> Option<usize> {
        let entries = entries(text);
        let entry = entries.iter().find(|entry| entry.pattern.is_written(code))?;
        Some(Place::of(text, entry.span.start).line)
    }

    fn refused(&self, finding: &impl std::fmt::Display) -> CommandError {
        CommandError::wrong(format!("{}:{finding}", self.path.display()))
    }
}

/// Says what an edit did beyond moving the code.
fn rest(Edited { leaves_comment, dropped, .. }: &Edited) -> String {
    let comment = if *leaves_comment { COMMENT_STAYS } else { "" };
    match dropped.is_empty() {
        true => comment.to_owned(),
        false => format!("{comment}; its dates ({}) are gone", joined(dropped)),
    }
}

fn entries(text: &str) -> Vec<WhitelistEntry> {
    Document::read(text).map(|document| document.entries).unwrap_or_default()
}

/// Returns the rules of a day, unless the text is no good list.
fn rules(text: &str, today: Day) -> Option<Rules> {
    let text = if edit::is_empty(text) { NO_ENTRIES } else { text };
    let (policy, _) = Policy::parse(text.as_bytes(), HostsKey::Allowed).ok()?;
    Some(policy.on(today))
}

/// Returns the name of a package for messages and comments.
fn name(listed: Option<&Listed>) -> Option<String> {
    listed.and_then(|listed| listed.name.as_deref()).map(|name| printable(name.trim()).into_owned())
}

fn key(verdict: Verdict) -> String {
    format!("in {}", verdict.key())
}

fn extensions(count: usize) -> String {
    if count == 1 { "1 extension".to_owned() } else { format!("{count} extensions") }
}

#[cfg(test)]
mod tests;
