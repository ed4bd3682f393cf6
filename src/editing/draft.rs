//! The whitelist's text while codes are edited one after the other.

use std::collections::HashMap;

use super::{
    AcceptedCodes, CodeEdit, CodeEffect, CodeOutcome, EditContext, EditRefusal, EditSubject, EditedList,
    MissingIn, StateByDefault, Stranded, UnknownCode, Verb, catalog, policy_of,
};
use crate::feed::listing::Listed;
use crate::place::Place;
use crate::policy::document::Document;
use crate::policy::edit::{self, Edited};
use crate::policy::{Day, Pattern, Policy, Rules, Verdict, ViewKind, WhitelistEntry, Window, suggestion};
use crate::printable::printable;
use crate::seller::Seller;
use crate::whitelist::load::MAX_FILE_SIZE;

/// Most unknown codes for which it is looked for what was meant: that compares with the whole catalog.
const MAX_SUGGESTIONS: usize = 100;

/// Whitelist text during an edit.
pub(super) struct Draft<'a> {
    before: ReadText,
    /// `None` until something is edited.
    after: Option<ReadText>,
    context: &'a EditContext<'a>,
    /// Unknown codes so far.
    unknown: usize,
}

/// A text with what it says.
struct ReadText {
    text: String,
    entries: Vec<WhitelistEntry>,
    /// Rules of the day, unless the text is no good list.
    rules: Option<Rules>,
}

/// What was done with one code, before it is known where the code will stand.
struct DraftedOutcome {
    subject: EditSubject,
    effect: CodeEffect,
    leaves_comment: bool,
    dropped: Vec<Window>,
}

/// Reason why the edit of one code is refused.
enum CodeRefusal {
    /// The code is unknown. The remaining edits are still checked, so that all unknown codes are reported together.
    Unknown(UnknownCode),
    Whole(EditRefusal),
}

impl<E: Into<EditRefusal>> From<E> for CodeRefusal {
    fn from(error: E) -> Self {
        Self::Whole(error.into())
    }
}

impl<'a> Draft<'a> {
    pub(super) fn new(text: &str, context: &'a EditContext<'a>) -> Self {
        Self { before: ReadText::of(text.to_owned(), context.today), after: None, context, unknown: 0 }
    }

    /// Makes all edits or none.
    pub(super) fn apply(mut self, edits: &[CodeEdit]) -> Result<EditedList, EditRefusal> {
        check_verbs(edits)?;
        let (mut drafted, mut unknown) = (Vec::new(), Vec::new());
        for CodeEdit { verb, code } in edits {
            let outcome = match verb {
                Verb::Place(verdict) => self.place(code, *verdict),
                Verb::Forget => self.forget(code),
            };
            match outcome {
                Ok(outcome) => drafted.push(outcome),
                Err(CodeRefusal::Unknown(code)) => {
                    unknown.push(code);
                    self.unknown += 1;
                }
                Err(CodeRefusal::Whole(refusal)) => return Err(refusal),
            }
        }
        if !unknown.is_empty() {
            return Err(EditRefusal::Unknown(unknown));
        }
        if let Some(after) = &self.after {
            // The proxy would not take it: it contradicts itself in what was not edited.
            Policy::parse(after.text.as_bytes(), self.context.hosts_key)?;
            if after.text.len() as u64 > MAX_FILE_SIZE {
                return Err(EditRefusal::TooLarge);
            }
        }
        let stranded = edits.iter().filter_map(|edit| self.stranded(edit)).collect();
        let outcomes = edits.iter().zip(drafted).map(|(edit, outcome)| self.outcome(&edit.code, outcome));
        let outcomes = outcomes.collect();
        Ok(EditedList { outcomes, stranded, text: self.after.unwrap_or(self.before).text })
    }

    fn place(&mut self, code: &str, verdict: Verdict) -> Result<DraftedOutcome, CodeRefusal> {
        let listed = self.find(code);
        let was = self.state(self.now(), code);
        let was_under = self.now().keys(code);
        let comment = name(listed);
        let Some(edited) = edit::place(&self.now().text, code, verdict, comment.as_deref())? else {
            return Ok(self.unchanged(code, CodeEffect::AlreadyPlaced(verdict)));
        };
        if self.context.accepted == AcceptedCodes::Known && was_under.is_empty() {
            self.check_known(code)?;
            let seller = listed.map(|listed| listed.package.seller).filter(|seller| *seller != Seller::Plesk);
            if let (Verdict::Shown, Some(Verdict::Shown), Some(seller)) = (verdict, was, seller) {
                return Ok(self.unchanged(code, CodeEffect::NotNeeded(seller)));
            }
        }
        Ok(self.take(code, edited, |_| CodeEffect::Placed { verdict, was, was_under }))
    }

    fn forget(&mut self, code: &str) -> Result<DraftedOutcome, CodeRefusal> {
        let listed = self.find(code);
        let was = self.state(self.now(), code);
        let Some(edited) = edit::forget(&self.now().text, code, name(listed).as_deref())? else {
            if listed.is_none() && self.context.accepted == AcceptedCodes::Known {
                self.check_named(code)?;
            }
            return Ok(self.unchanged(code, CodeEffect::NotNamed { now: self.default(code) }));
        };
        Ok(self.take(code, edited, |draft| CodeEffect::Forgotten { now: draft.default(code), was }))
    }

    /// Puts an edited text in the place of the one so far.
    fn take(
        &mut self,
        code: &str,
        edited: Edited,
        effect: impl FnOnce(&Self) -> CodeEffect,
    ) -> DraftedOutcome {
        let Edited { text, leaves_comment, dropped } = edited;
        self.after = Some(ReadText::of(text, self.context.today));
        DraftedOutcome { leaves_comment, dropped, ..self.unchanged(code, effect(self)) }
    }

    fn unchanged(&self, code: &str, effect: CodeEffect) -> DraftedOutcome {
        DraftedOutcome { subject: self.subject(code), effect, leaves_comment: false, dropped: Vec::new() }
    }

    fn outcome(&self, code: &str, outcome: DraftedOutcome) -> CodeOutcome {
        let DraftedOutcome { subject, effect, leaves_comment, dropped } = outcome;
        let line = match effect {
            CodeEffect::NotNeeded(_) | CodeEffect::NotNamed { .. } => None,
            CodeEffect::Forgotten { .. } => self.before.line(code),
            CodeEffect::AlreadyPlaced(_) | CodeEffect::Placed { .. } => self.now().line(code),
        };
        CodeOutcome { code: code.to_owned(), subject, effect, line, leaves_comment, dropped }
    }

    /// Returns how many packages servers get no updates of any more because of an edit, if there are any.
    fn stranded(&self, CodeEdit { verb, code }: &CodeEdit) -> Option<Stranded> {
        let gets_updates = |text: &ReadText, listed: &Listed| {
            let package = &listed.package;
            let verdict = |rules: &Rules| rules.verdict(package.code.as_deref(), package.seller);
            text.rules.as_ref().is_some_and(|rules| verdict(rules).is_in(ViewKind::Update))
        };
        let is_stranded =
            |listed: &&&Listed| gets_updates(&self.before, listed) && !gets_updates(self.now(), listed);
        let packages = match self.context.catalog {
            Some(_) => self.matched(code).iter().filter(is_stranded).count(),
            // Whoever sells it.
            None => usize::from(*verb == Verb::Place(Verdict::Hidden) && self.after.is_some()),
        };
        (packages > 0).then(|| Stranded { code: code.clone(), packages })
    }

    /// Refuses a code that no package has and no entry names.
    fn check_known(&self, code: &str) -> Result<(), CodeRefusal> {
        let Some(packages) = self.context.catalog.filter(|_| self.matched(code).is_empty()) else {
            return Ok(());
        };
        let is_looked_for = self.unknown < MAX_SUGGESTIONS;
        let meant = is_looked_for.then(|| catalog::suggest(packages, code)).flatten().map(str::to_owned);
        Err(CodeRefusal::Unknown(UnknownCode {
            code: code.to_owned(),
            missing_in: MissingIn::Catalog,
            meant,
        }))
    }

    /// Refuses to forget what is in neither the whitelist nor the catalog, with a suggestion.
    fn check_named(&self, code: &str) -> Result<(), CodeRefusal> {
        let codes: Vec<_> = self.now().entries.iter().map(|entry| entry.pattern.to_string()).collect();
        let Some(meant) = suggestion::suggest(code, codes.iter().map(String::as_str)) else {
            return self.check_known(code);
        };
        let (code, meant) = (code.to_owned(), Some(meant.to_owned()));
        Err(CodeRefusal::Unknown(UnknownCode { code, missing_in: MissingIn::Whitelist, meant }))
    }

    /// Returns the text as it is after the edits so far.
    fn now(&self) -> &ReadText {
        self.after.as_ref().unwrap_or(&self.before)
    }

    /// Finds the package that has a code.
    fn find(&self, code: &str) -> Option<&'a Listed> {
        catalog::find(self.context.catalog?, code)
    }

    /// Finds the packages that an entry would match.
    fn matched(&self, code: &str) -> Vec<&'a Listed> {
        let catalog = self.context.catalog.zip(Pattern::parse(code));
        catalog.map(|(packages, pattern)| catalog::matching(packages, &pattern)).unwrap_or_default()
    }

    /// Returns what a code stands for in the catalog.
    fn subject(&self, code: &str) -> EditSubject {
        match self.find(code) {
            Some(listed) => EditSubject::Package { name: name(Some(listed)) },
            None if self.context.catalog.is_some() && code.ends_with('*') => {
                EditSubject::Star { matches: self.matched(code).len() }
            }
            None => EditSubject::Unknown,
        }
    }

    /// Returns today's state of the package that has a code.
    fn state(&self, text: &ReadText, code: &str) -> Option<Verdict> {
        Some(text.rules.as_ref()?.verdict(Some(code), self.find(code)?.package.seller))
    }

    /// Returns the state of a package that no entry names, and what decides it.
    fn default(&self, code: &str) -> Option<StateByDefault> {
        let text = self.now();
        let verdict = self.state(text, code)?;
        let star = text.rules.as_ref()?.entry(code).map(|star| star.pattern.to_string());
        Some(StateByDefault { verdict, star })
    }
}

impl ReadText {
    fn of(text: String, today: Day) -> Self {
        let policy = policy_of(&text);
        let entries = match &policy {
            Some(policy) => policy.entries().to_vec(),
            None => Document::read(&text).map(|document| document.entries).unwrap_or_default(),
        };
        Self { rules: policy.map(|policy| policy.on(today)), entries, text }
    }

    /// Returns the keys under which an entry is written like a code.
    fn keys(&self, code: &str) -> Vec<&'static str> {
        let named = self.entries.iter().filter(|entry| entry.pattern.is_written(code));
        let mut keys: Vec<_> = named.map(|entry| entry.verdict.key()).collect();
        keys.dedup();
        keys
    }

    /// Returns the line of the first entry that is written like a code.
    fn line(&self, code: &str) -> Option<usize> {
        let entry = self.entries.iter().find(|entry| entry.pattern.is_written(code))?;
        Some(Place::of(&self.text, entry.span.start).line)
    }
}

/// Refuses edits that want two different things for one code.
fn check_verbs(edits: &[CodeEdit]) -> Result<(), EditRefusal> {
    let mut verbs = HashMap::new();
    for CodeEdit { verb, code } in edits {
        if *verbs.entry(code).or_insert(verb) != verb {
            return Err(EditRefusal::TwoVerbs(code.clone()));
        }
    }
    Ok(())
}

/// Returns the name of a package for messages and comments.
fn name(listed: Option<&Listed>) -> Option<String> {
    listed.and_then(|listed| listed.name.as_deref()).map(|name| printable(name.trim()).into_owned())
}
