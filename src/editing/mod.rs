//! Edits of a whitelist's text with the catalog at hand: what is done with each code, and why an edit is refused.
//!
//! [`edit`] takes texts and returns texts, for the commands and for the admin port alike. [`crate::policy::edit`] does
//! the writing, code by code; here several edits become one that is made as a whole or not at all.

pub(crate) mod catalog;
mod draft;

use crate::feed::listing::Listed;
use crate::policy::document::Finding;
use crate::policy::edit::{EditError, is_empty};
use crate::policy::{Day, HostsKey, Policy, Verdict, Window};
use crate::seller::Seller;
use crate::whitelist::load::MAX_FILE_SIZE;
use draft::Draft;

/// Kind of edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verb {
    /// Puts codes under the key of a verdict.
    Place(Verdict),
    /// Takes codes out of all keys.
    Forget,
}

/// Edit of one code. A code with a star at its end stands for the entry that is written like that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CodeEdit {
    pub(crate) verb: Verb,
    pub(crate) code: String,
}

/// Which codes an edit accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AcceptedCodes {
    /// Those that the catalog or the file has; an entry that would change nothing is not added.
    Known,
    /// All codes.
    Any,
}

/// What an edit depends on besides the text.
#[derive(Debug, Clone, Copy)]
pub(crate) struct EditContext<'a> {
    /// Packages of the catalog. Without them no code is unknown.
    pub(crate) catalog: Option<&'a [Listed]>,
    pub(crate) accepted: AcceptedCodes,
    /// Whether the edited file may have hosts.
    pub(crate) hosts_key: HostsKey,
    /// Day whose states are told.
    pub(crate) today: Day,
}

/// Text after an edit, and what was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EditedList {
    pub(crate) text: String,
    /// One for each edit, in their order.
    pub(crate) outcomes: Vec<CodeOutcome>,
    /// Edits after which servers get no updates any more.
    pub(crate) stranded: Vec<Stranded>,
}

/// What was done with one code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CodeOutcome {
    pub(crate) code: String,
    pub(crate) subject: EditSubject,
    pub(crate) effect: CodeEffect,
    /// Line of the code's entry: in the edited text, or in the text before if it was forgotten.
    pub(crate) line: Option<usize>,
    /// True if a comment that stood beside the code stays, and may be taken for one about the next code.
    pub(crate) leaves_comment: bool,
    /// Windows of the code's entries, which the text has no more.
    pub(crate) dropped: Vec<Window>,
}

/// What a code stands for in the catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EditSubject {
    /// A package with this name, in which all characters are plain.
    Package { name: Option<String> },
    /// All packages that a star matches.
    Star { matches: usize },
    /// Nothing, or there is no catalog.
    Unknown,
}

/// Effect of an edit on the text and on today's state of the package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CodeEffect {
    /// The code stood there and nowhere else.
    AlreadyPlaced(Verdict),
    /// The code was not added: what this seller sells is shown whether listed or not.
    NotNeeded(Seller),
    /// The code is under the key of the verdict now.
    Placed {
        verdict: Verdict,
        /// State of the package before, if there is a package.
        was: Option<Verdict>,
        /// Keys under which the code stood.
        was_under: Vec<&'static str>,
    },
    /// No entry was written like the code.
    NotNamed { now: Option<StateByDefault> },
    /// No entry is written like the code any more.
    Forgotten {
        now: Option<StateByDefault>,
        /// State of the package before, if there is a package.
        was: Option<Verdict>,
    },
}

/// State of a package that no entry names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StateByDefault {
    pub(crate) verdict: Verdict,
    /// The star that decides, if one does.
    pub(crate) star: Option<String>,
}

/// Edit after which servers that have a package get no updates of it any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stranded {
    pub(crate) code: String,
    /// Number of packages concerned; more than one only if the code has a star.
    pub(crate) packages: usize,
}

/// Code that is probably mistyped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct UnknownCode {
    pub(crate) code: String,
    /// Where it was looked for last.
    pub(crate) missing_in: MissingIn,
    /// The code that was probably meant.
    pub(crate) meant: Option<String>,
}

/// Where a code is not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MissingIn {
    Whitelist,
    Catalog,
}

/// Reason why an edit is refused. Nothing of it is done then.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EditRefusal {
    /// Codes are in neither the catalog nor the file.
    #[error("unknown codes")]
    Unknown(Vec<UnknownCode>),
    /// One code is to get two states.
    #[error("{0:?} is in two of the lists: it can have one state only")]
    TwoVerbs(String),
    /// The text is no whitelist, or would be none.
    #[error("{0}")]
    Invalid(#[from] Finding),
    /// No list can have the code.
    #[error("{}", EditError::Star(.0.clone()))]
    Star(String),
    /// The edited text would not say what was meant.
    #[error("{}", EditError::Layout)]
    Layout,
    /// The edited text would be too large to be read again.
    #[error("would have more than {MAX_FILE_SIZE} bytes")]
    TooLarge,
}

impl CodeEdit {
    /// Returns the edits that use one verb for all codes.
    pub(crate) fn all(verb: Verb, codes: &[String]) -> Vec<Self> {
        codes.iter().map(|code| Self { verb, code: code.clone() }).collect()
    }
}

impl From<EditError> for EditRefusal {
    fn from(error: EditError) -> Self {
        match error {
            EditError::Invalid(finding) => Self::Invalid(finding),
            EditError::Star(code) => Self::Star(code),
            EditError::Layout => Self::Layout,
        }
    }
}

/// What a file means that sets nothing yet.
const NO_ENTRIES: &str = "extensions = []";

/// Returns what the entries of a text say, if it is a list or sets nothing yet. Whose file it is does not matter for that.
pub(crate) fn policy_of(text: &str) -> Option<Policy> {
    let parse = |text: &str| Policy::parse(text.as_bytes(), HostsKey::Allowed).ok();
    let parsed = parse(text).or_else(|| parse(NO_ENTRIES).filter(|_| is_empty(text)));
    parsed.map(|(policy, _)| policy)
}

/// Makes all edits in the text of a whitelist, one after the other.
///
/// # Errors
/// If one of them cannot be made, or the file would be none that the proxy reads.
pub(crate) fn edit(
    text: &str,
    edits: &[CodeEdit],
    context: &EditContext<'_>,
) -> Result<EditedList, EditRefusal> {
    Draft::new(text, context).apply(edits)
}

#[cfg(test)]
mod tests;
