//! The whitelist: which paid extensions sold by Plesk stay visible.

mod attributes;
pub(crate) mod coverage;
pub mod edit;
pub mod mount;
pub mod replace;
pub mod watch;

use std::collections::HashSet;
use std::fmt;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use crate::digest::Digest;
use crate::place::Place;
use crate::printable;

/// Codes of one version of the file; immutable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whitelist {
    /// Digest of the codes.
    pub digest: Digest,
    codes: HashSet<Box<str>>,
}

/// Error or warning about a place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Place in the file.
    pub place: Place,
    /// Description of the problem.
    pub message: String,
}

/// A code and its place in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedCode {
    /// The code itself.
    pub code: String,
    /// Byte range in the text, quotes included.
    pub span: Range<usize>,
}

/// Content of the file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    extensions: Spanned<Vec<Spanned<String>>>,
}

impl Whitelist {
    /// Parses the content of a file. Warnings are about entries that are valid, but probably not intended.
    ///
    /// # Errors
    /// The first thing that is wrong: bad syntax, an unknown key, a wrong type, no `extensions`. A file
    /// that was cut off while being written fails here as well, down to an empty one.
    pub fn parse(bytes: &[u8]) -> Result<(Self, Vec<Finding>), Finding> {
        let text = text(bytes)?;
        let entries = entries(text)?;
        let mut codes: HashSet<Box<str>> = HashSet::with_capacity(entries.len());
        let mut warnings = Vec::new();
        for ListedCode { code, span } in entries {
            let at = span.start;
            if code.trim() != code || code.is_empty() {
                let meant = match code.trim() {
                    "" => String::new(),
                    meant => format!("; did you mean {meant:?}?"),
                };
                let message =
                    format!("{code:?} matches no extension: codes have no blanks around them{meant}");
                warnings.push(Finding::at(text, at, message));
            }
            if !codes.insert(code.as_str().into()) {
                warnings.push(Finding::at(text, at, format!("{code:?} is listed twice")));
            }
        }
        let mut sorted: Vec<&[u8]> = codes.iter().map(|code| code.as_bytes()).collect();
        sorted.sort_unstable();
        Ok((Self { digest: Digest::of_parts(sorted), codes }, warnings))
    }

    /// Returns true if `code` is listed. Codes compare exactly.
    pub fn contains(&self, code: &str) -> bool {
        self.codes.contains(code)
    }

    /// Returns all codes, in no particular order.
    pub fn codes(&self) -> impl Iterator<Item = &str> {
        self.codes.iter().map(|code| &**code)
    }

    /// Returns the number of codes.
    pub fn len(&self) -> usize {
        self.codes.len()
    }

    /// Returns true if there are no codes.
    pub fn is_empty(&self) -> bool {
        self.codes.is_empty()
    }

    /// Returns the codes that are listed here and not in `other`, sorted.
    pub fn minus<'a>(&'a self, other: &'a Self) -> Vec<&'a str> {
        let mut codes: Vec<_> = self.codes.difference(&other.codes).map(|code| &**code).collect();
        codes.sort_unstable();
        codes
    }
}

/// Reads the file's bytes as text.
///
/// # Errors
/// If they are not UTF-8.
pub fn text(bytes: &[u8]) -> Result<&str, Finding> {
    std::str::from_utf8(bytes).map_err(|error| {
        let valid = String::from_utf8_lossy(&bytes[..error.valid_up_to()]);
        Finding::at(&valid, valid.len(), "not UTF-8")
    })
}

/// Reads the codes in the order of the file, duplicates included.
///
/// # Errors
/// Those of [`Whitelist::parse`].
pub fn entries(text: &str) -> Result<Vec<ListedCode>, Finding> {
    Ok(array(text)?.1)
}

/// Reads the codes and where their array stands, brackets included.
fn array(text: &str) -> Result<(Range<usize>, Vec<ListedCode>), Finding> {
    let raw: Raw = toml::from_str(text)
        // It repeats what the file says, which a log or a terminal will show.
        .map_err(|error| {
            let message = printable::escaped(error.message());
            Finding::at(text, error.span().map_or(0, |span| span.start), message)
        })?;
    let span = raw.extensions.span();
    let entry = |code: Spanned<String>| ListedCode { span: code.span(), code: code.into_inner() };
    Ok((span, raw.extensions.into_inner().into_iter().map(entry).collect()))
}

impl std::error::Error for Finding {}

impl Finding {
    fn at(text: &str, offset: usize, message: impl Into<String>) -> Self {
        Self { place: Place::of(text, offset), message: message.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lists() {
        let check = |text: &str, expected: &[&str]| {
            let (list, warnings) = Whitelist::parse(text.as_bytes()).expect(text);
            let mut codes: Vec<_> = list.codes.iter().map(|code| &**code).collect();
            codes.sort_unstable();
            assert_eq!(codes, expected, "{text}");
            assert!(warnings.is_empty(), "{warnings:?}");
        };
        check("extensions = []", &[]);
        check("# paid\nextensions = [\n  \"wp-toolkit\", # yes\n  'docker',\n]\n", &["docker", "wp-toolkit"]);
        check("\u{feff}extensions = [\"a\"]\r\n", &["a"]);
        check("extensions = [\"\\u00e9\"]", &["é"]);
    }

    #[test]
    fn refuses_with_the_place() {
        let check = |text: &[u8], place: &str, part: &str| {
            let error = Whitelist::parse(text).expect_err("a bad list").to_string();
            assert!(error.starts_with(place) && error.contains(part), "{error}");
        };
        check(b"", "1:1: ", "missing field `extensions`");
        check(b"# only a comment\n", "1:1: ", "missing field `extensions`");
        check(b"extensions = [\"a\",\n", "", "");
        check(b"extensions = [\"a\" \"b\"]", "1:19: ", "");
        check(b"extensions = [\"a]", "1:", "");
        check(b"extensions = \"a\"", "1:14: ", "expected a sequence");
        check(b"extensions = [\n  \"a\",\n  7,\n]", "3:3: ", "expected a string");
        check(b"extension = []", "1:1: ", "unknown field `extension`");
        check(b"extensions = []\nallow = true", "2:1: ", "unknown field `allow`");
        check(b"'ex\xc2\x9b31m' = []", "1:1: ", "unknown field `ex\\u{9b}31m`");
        check(b"extensions = []\nextensions = []", "2:1: ", "duplicate key");
        check(b"extensions = [\"\xc3\xa9\xff\"]", "1:17: ", "not UTF-8");
        check(b"[extensions]\na = 1", "1:", "");
    }

    #[test]
    fn warns_about_what_can_hardly_be_meant() {
        let text = "extensions = [\n  \"a\", \"b\",\n  \"a\", \" c\", \"\"]";
        let (list, warnings) = Whitelist::parse(text.as_bytes()).expect("a list");
        let warnings: Vec<_> = warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            [
                "3:3: \"a\" is listed twice",
                "3:8: \" c\" matches no extension: codes have no blanks around them; did you mean \"c\"?",
                "3:14: \"\" matches no extension: codes have no blanks around them",
            ]
        );
        assert!(list.contains(" c") && !list.contains("c"));
    }
}
