//! Edits of a whitelist's text. Everything but the edited codes stays as it is.
//!
//! The text is cut and spliced around the codes at the places that the TOML parser reports, so that comments,
//! order, quotes, indentation and line ends stay as they are, byte for byte. The result is parsed again and must
//! say exactly what was meant.
//!
//! `toml_edit` cannot do this. Its output has no carriage returns and no byte order mark, and ends with a line
//! break, whatever the file had; and it keeps a comment with what follows it: in an array of one code a line, the
//! comment beside a code would go with the next one. The tables of the tests hold these points.

mod array;

use self::array::{Array, ArrayLine, Beside, Tail, newline, quoted, splice};
use super::document::{Document, Finding};
use super::{Verdict, WhitelistEntry, Window};

/// Indentation of an entry where the file shows none.
const INDENT: &str = "  ";

/// Why a text cannot be edited.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// It is no whitelist.
    #[error("{0}")]
    Invalid(#[from] Finding),
    /// No list can have the code.
    #[error("{0:?}: a star stands for any rest, so only one can be there, at the end")]
    Star(String),
    /// The edited text would not say what was meant.
    #[error("the file is written in a way that cannot be edited safely, so please edit it by hand")]
    Layout,
}

/// Text after an edit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edited {
    /// The edited text.
    pub text: String,
    /// True if a comment that stood beside the code stays, and may be taken for one about the next code.
    pub leaves_comment: bool,
    /// Windows of the code's entries, which the text has no more.
    pub dropped: Vec<Window>,
}

/// Puts a code under the key of a verdict, where exactly one entry names it then, without a window. Stars count as
/// codes: only an entry that is written the same is edited.
///
/// A code that stands elsewhere moves with its notes and the comment beside it; a new one gets `comment` where it gets
/// a line of its own. A file without the key gets it.
///
/// Returns `None` if there is nothing to do.
///
/// # Errors
/// If the text cannot be edited.
pub fn place(
    text: &str,
    code: &str,
    verdict: Verdict,
    comment: Option<&str>,
) -> Result<Option<Edited>, EditError> {
    if code.split_once('*').is_some_and(|(_, rest)| !rest.is_empty()) {
        return Err(EditError::Star(code.to_owned()));
    }
    let before = match Document::read(text) {
        Err(_) if is_empty(text) => return place(&with_extensions(text), code, verdict, comment),
        read => read?,
    };
    let named: Vec<_> = named(&before, code).collect();
    let target = named.iter().enumerate().filter(|(_, entry)| entry.verdict == verdict);
    let kept = target.min_by_key(|(_, entry)| entry.window != Window::default()).map(|(nth, _)| nth);
    let note = joined_notes(&named);
    let source = named.get(kept.unwrap_or(0)).copied();
    let is_as_meant = |entry: &WhitelistEntry| entry.window == Window::default() && entry.note == note;
    if kept.is_some() && named.len() == 1 && source.is_some_and(is_as_meant) {
        return Ok(None);
    }
    let written = match source {
        Some(entry) if is_as_meant(entry) => text[entry.span.clone()].to_owned(),
        // A table of several lines can have comments inside.
        Some(entry) if text[entry.span.clone()].contains('\n') => return Err(EditError::Layout),
        _ => written(code, note.as_deref()),
    };

    let mut draft = TextDraft { text: text.to_owned(), leaves_comment: false };
    let mut tail = None;
    for nth in (0..named.len()).rev().filter(|nth| Some(*nth) != kept) {
        tail = match (kept, nth) {
            (None, 0) => draft.take(code)?,
            _ => draft.remove(code, nth, comment).map(|()| None)?,
        };
    }
    match (kept, source) {
        (Some(_), _) => draft.rewrite(code, &written)?,
        (None, Some(_)) => match tail {
            Some(tail) => draft.add(verdict, &written, Tail::Kept(&tail))?,
            None => draft.add(verdict, &written, Tail::Optional(""))?,
        },
        (None, None) => {
            let comment = comment.map(|comment| format!(" # {comment}")).unwrap_or_default();
            draft.add(verdict, &written, Tail::Optional(&comment))?;
        }
    }

    let meant = EntryContent { verdict, pattern: code.to_owned(), window: Window::default(), note };
    let kept = kept.and(source);
    draft.proved(DocumentContent::after(&before, code, kept, Some(meant)), windows(&named)).map(Some)
}

/// Takes a code out of all keys. The comment beside it is removed if it is `comment`, which [`place`] wrote. Other
/// comments are left alone.
///
/// Returns `None` if no entry is written like that.
///
/// # Errors
/// If the text cannot be edited.
pub fn forget(text: &str, code: &str, comment: Option<&str>) -> Result<Option<Edited>, EditError> {
    let before = match Document::read(text) {
        Err(_) if is_empty(text) => return Ok(None),
        read => read?,
    };
    let named: Vec<_> = named(&before, code).collect();
    if named.is_empty() {
        return Ok(None);
    }
    let mut draft = TextDraft { text: text.to_owned(), leaves_comment: false };
    for nth in (0..named.len()).rev() {
        draft.remove(code, nth, comment)?;
    }
    draft.proved(DocumentContent::after(&before, code, None, None), windows(&named)).map(Some)
}

/// Finds the entries that are written like `code`.
fn named<'a>(document: &'a Document, code: &'a str) -> impl Iterator<Item = &'a WhitelistEntry> {
    document.entries.iter().filter(move |entry| entry.pattern.is_written(code))
}

/// Joins the different notes of entries that become one.
fn joined_notes(entries: &[&WhitelistEntry]) -> Option<String> {
    let mut notes: Vec<&str> = Vec::new();
    for note in entries.iter().filter_map(|entry| entry.note.as_deref()) {
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
    (!notes.is_empty()).then(|| notes.join("; "))
}

fn windows(entries: &[&WhitelistEntry]) -> Vec<Window> {
    entries.iter().map(|entry| entry.window).filter(|window| *window != Window::default()).collect()
}

fn written(code: &str, note: Option<&str>) -> String {
    match note {
        None => quoted(code),
        Some(note) => format!("{{ code = {}, note = {} }}", quoted(code), quoted(note)),
    }
}

/// Text between the steps of an edit.
struct TextDraft {
    text: String,
    leaves_comment: bool,
}

impl TextDraft {
    fn read(&self) -> Result<Document, EditError> {
        Document::read(&self.text).map_err(|_| EditError::Layout)
    }

    /// Removes the `nth` of the entries that are written like `code`.
    fn remove(&mut self, code: &str, nth: usize, comment: Option<&str>) -> Result<(), EditError> {
        let document = self.read()?;
        let (array, nth) = self.find(&document, code, nth)?;
        let (text, leaves_comment) = array.without(nth, Beside::StaysUnless(comment));
        self.leaves_comment |= leaves_comment;
        self.text = text;
        Ok(())
    }

    /// Removes the first entry that is written like `code`, and returns the comment that was beside it alone.
    fn take(&mut self, code: &str) -> Result<Option<String>, EditError> {
        let document = self.read()?;
        let (array, nth) = self.find(&document, code, 0)?;
        let tail = array.tail(nth).map(str::to_owned);
        let beside = if tail.is_some() { Beside::Goes } else { Beside::StaysUnless(None) };
        let (text, leaves_comment) = array.without(nth, beside);
        self.leaves_comment |= leaves_comment;
        self.text = text;
        Ok(tail)
    }

    /// Writes the only entry that is written like `code` anew.
    fn rewrite(&mut self, code: &str, written: &str) -> Result<(), EditError> {
        let span = named(&self.read()?, code).next().map(|entry| entry.span.clone());
        self.text = splice(&self.text, &[(span.ok_or(EditError::Layout)?, written)]);
        Ok(())
    }

    /// Adds an entry at the end of a key's array. A file without it gets one after its last array.
    fn add(&mut self, verdict: Verdict, entry: &str, tail: Tail<'_>) -> Result<(), EditError> {
        let document = self.read()?;
        let keys = document.arrays.iter().map(|(verdict, _)| *verdict);
        let target = Array::of(&self.text, &document, verdict);
        let others: Vec<_> = keys.filter_map(|key| Array::of(&self.text, &document, key)).collect();
        let indent = target.iter().chain(others.iter().rev()).find_map(Array::indent).unwrap_or(INDENT);
        let line = ArrayLine { indent, entry, tail };
        let text = match (target, others.last()) {
            (Some(array), _) => array.with(&line),
            // Should the key be there as an array of tables, the text does not parse any more, and is refused.
            (None, Some(last)) => last.with_array_behind(verdict.key(), &line),
            (None, None) => return Err(EditError::Layout),
        };
        self.text = text;
        Ok(())
    }

    /// Finds the array in which the `nth` entry that is written like `code` stands, and its number there.
    fn find(&self, document: &Document, code: &str, nth: usize) -> Result<(Array<'_>, usize), EditError> {
        let entry = named(document, code).nth(nth).ok_or(EditError::Layout)?;
        let array = Array::of(&self.text, document, entry.verdict).ok_or(EditError::Layout)?;
        let nth = array.entries.iter().position(|span| *span == entry.span).ok_or(EditError::Layout)?;
        Ok((array, nth))
    }

    /// Parses the edited text and compares it with what was meant.
    ///
    /// INVARIANT: an edit does exactly what was asked for, or nothing.
    fn proved(self, expected: DocumentContent, dropped: Vec<Window>) -> Result<Edited, EditError> {
        match DocumentContent::of(&self.read()?) == expected {
            true => Ok(Edited { text: self.text, leaves_comment: self.leaves_comment, dropped }),
            false => Err(EditError::Layout),
        }
    }
}

/// What a document says, without places; the entries key by key.
#[derive(Debug, PartialEq, Eq)]
struct DocumentContent {
    entries: Vec<EntryContent>,
    unlisted: Verdict,
    hosts: Vec<String>,
}

/// An entry without its place.
#[derive(Debug, PartialEq, Eq)]
struct EntryContent {
    verdict: Verdict,
    pattern: String,
    window: Window,
    note: Option<String>,
}

impl DocumentContent {
    fn of(document: &Document) -> Self {
        Self::with(document, document.entries.iter().map(EntryContent::of).collect())
    }

    /// Replaces all entries of a code by one, which stands in the place of one of them or at the end of its key.
    fn after(
        before: &Document,
        code: &str,
        kept: Option<&WhitelistEntry>,
        mut meant: Option<EntryContent>,
    ) -> Self {
        let is_named = |entry: &WhitelistEntry| entry.pattern.is_written(code);
        let entries = before.entries.iter().filter_map(|entry| match is_named(entry) {
            true if kept.is_some_and(|kept| kept.span == entry.span) => meant.take(),
            true => None,
            false => Some(EntryContent::of(entry)),
        });
        let mut entries: Vec<_> = entries.collect();
        entries.extend(meant);
        Self::with(before, entries)
    }

    fn with(document: &Document, mut entries: Vec<EntryContent>) -> Self {
        entries.sort_by_key(|entry| entry.verdict);
        let hosts = document.hosts.iter().map(|host| host.get_ref().clone()).collect();
        Self { entries, unlisted: document.unlisted, hosts }
    }
}

impl EntryContent {
    fn of(entry: &WhitelistEntry) -> Self {
        let WhitelistEntry { pattern, verdict, window, note, .. } = entry;
        Self { verdict: *verdict, pattern: pattern.to_string(), window: *window, note: note.clone() }
    }
}

/// Returns true if a file sets no key at all.
pub(crate) fn is_empty(text: &str) -> bool {
    toml::from_str::<toml::Table>(text).is_ok_and(|table| table.is_empty())
}

/// Adds the key that a file must have.
fn with_extensions(text: &str) -> String {
    let newline = newline(text);
    let gap = if text.is_empty() || text.ends_with('\n') { "" } else { newline };
    format!("{text}{gap}{} = []{newline}", Verdict::Shown.key())
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
