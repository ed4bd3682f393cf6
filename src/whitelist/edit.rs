//! Edits of a whitelist's text. Everything but the edited codes stays as it is.
//!
//! The text is cut and spliced around the codes at the places that the TOML parser reports, so that comments,
//! order, quotes, indentation and line ends stay as they are, byte for byte. The result is parsed again and must
//! list exactly what was meant.
//!
//! `toml_edit` cannot do this. Its output has no carriage returns and no byte order mark, and ends with a line
//! break, whatever the file had; and it keeps a comment with what follows it: in an array of one code a line, the
//! comment beside a code would go with the next one. The tables of the tests hold these points.

mod array;

use self::array::{Array, newline};
use super::ListedCode;
use crate::policy::document::Finding;

/// Why a text cannot be edited.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EditError {
    /// It is no whitelist.
    #[error("{0}")]
    Invalid(#[from] Finding),
    /// The edited text would not list what was meant.
    #[error("the file is written in a way that cannot be edited safely, so please edit it by hand")]
    Layout,
}

/// Text after [`hide`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden {
    /// The edited text.
    pub text: String,
    /// True if a comment that stood beside the code stays, and may be taken for one about the next code.
    pub leaves_comment: bool,
}

/// Adds `code` to the list, with a comment beside it where it gets a line of its own.
///
/// Returns `None` if it is listed already. A file without a list gets one.
///
/// # Errors
/// If the text cannot be edited.
pub fn allow(text: &str, code: &str, comment: Option<&str>) -> Result<Option<String>, EditError> {
    let array = match super::array(text) {
        Ok((span, entries)) => Array { text, span, entries },
        Err(_) if is_empty(text) => {
            let newline = newline(text);
            let gap = if text.is_empty() || text.ends_with('\n') { "" } else { newline };
            return allow(&format!("{text}{gap}extensions = []{newline}"), code, comment);
        }
        Err(finding) => return Err(finding.into()),
    };
    if array.entries.iter().any(|entry| entry.code == code) {
        return Ok(None);
    }
    let edited = array.with(code, comment);
    let mut expected = codes(&array.entries);
    expected.push(code);
    proved(edited, &expected).map(Some)
}

/// Removes `code` and its duplicates from the list. A comment beside it is removed if it is `comment`, which [`allow`]
/// wrote; all other comments stay.
///
/// Returns `None` if it is not listed.
///
/// # Errors
/// If the text cannot be edited.
pub fn hide(text: &str, code: &str, comment: Option<&str>) -> Result<Option<Hidden>, EditError> {
    if is_empty(text) {
        return Ok(None);
    }
    let (_, before) = super::array(text)?;
    let mut expected = codes(&before);
    expected.retain(|listed| *listed != code);
    let mut edited = None;
    let mut leaves_comment = false;
    loop {
        let text = edited.as_deref().unwrap_or(text);
        let (span, entries) = super::array(text).map_err(|finding| match edited {
            None => EditError::Invalid(finding),
            Some(_) => EditError::Layout,
        })?;
        let Some(nth) = entries.iter().position(|entry| entry.code == code) else { break };
        let (without, leaves) = Array { text, span, entries }.without(nth, comment);
        edited = Some(without);
        leaves_comment |= leaves;
    }
    let hidden = |edited| Ok(Hidden { text: proved(edited, &expected)?, leaves_comment });
    edited.map(hidden).transpose()
}

/// Parses the edited text and compares it with the expected codes.
///
/// INVARIANT: an edit does exactly what was asked for, or nothing.
fn proved(edited: String, expected: &[&str]) -> Result<String, EditError> {
    match super::array(&edited) {
        Ok((_, entries)) if codes(&entries) == expected => Ok(edited),
        _ => Err(EditError::Layout),
    }
}

fn codes(entries: &[ListedCode]) -> Vec<&str> {
    entries.iter().map(|entry| entry.code.as_str()).collect()
}

/// Returns true if a file sets no key at all.
fn is_empty(text: &str) -> bool {
    toml::from_str::<toml::Table>(text).is_ok_and(|table| table.is_empty())
}

#[cfg(test)]
mod tests;
