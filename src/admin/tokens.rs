//! The file of `--admin-tokens`: who may edit and who may read, by the digests of their tokens.
//!
//! ```toml
//! [editors]
//! alice = "sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
//! bob = "header"      # the proxy of --admin-user-header has signed him in
//! [viewers]           # with this table reading needs a token too
//! auditor = "sha256:…"
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use serde::Deserialize;
use subtle::ConstantTimeEq;
use toml::Spanned;
use tracing::info;

use crate::config::hidden_values;
use crate::edit_log::BY_FILE;
use crate::place::{Excerpt, Place};
use crate::printable::{escaped, listed};
use crate::reloading::{FileContents, Parsed, Part, Reloadable, Reloading, Settle};
use crate::watch;

/// Time that a broken or missing file must stay so before it counts: it may be half-written.
const SETTLE_BROKEN: Duration = Duration::from_millis(250);
/// Largest file that is read; one of a hundred people has 10 KB.
const MAX_FILE_SIZE: u64 = 1 << 20;
/// Longest name of a person, in characters.
const MAX_NAME_LEN: usize = 64;
/// What stands before the digest of a token.
pub(crate) const DIGEST_PREFIX: &str = "sha256:";
/// Instead of a digest: who has the name is told by a proxy in front.
const BY_HEADER: &str = "header";

/// The file, watched.
pub type WatchedTokens = Reloading<AdminTokens>;

/// What somebody may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Viewer,
    Editor,
}

/// Somebody with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub name: String,
    /// `None` if the file does not know the name.
    pub role: Option<Role>,
}

/// Everybody who has a role.
#[derive(Debug, Default)]
pub struct AdminTokens {
    people: Vec<(Arc<str>, Role, Proof)>,
    /// True if reading needs a role as well.
    pub(crate) has_viewers: bool,
    /// Why the file as it is now is not in force. Then nobody has a role.
    pub(crate) error: Option<String>,
}

/// How somebody proves to be who they say.
#[derive(Debug, PartialEq, Eq)]
enum Proof {
    Token([u8; SHA256_OUTPUT_LEN]),
    Header,
}

/// A file that cannot be used at start.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct TokensError {
    message: String,
    /// The line without its value, for commands; logs do without.
    pub(crate) excerpt: Option<Excerpt>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TokensFile {
    #[serde(default)]
    editors: BTreeMap<Spanned<String>, Spanned<String>>,
    viewers: Option<BTreeMap<Spanned<String>, Spanned<String>>>,
}

impl AdminTokens {
    /// Returns whose token it is. Every digest is compared, in constant time.
    pub fn person(&self, token: &str) -> Option<Person> {
        let given = digest(&SHA256, token.as_bytes());
        let mut found = None;
        for (name, role, proof) in &self.people {
            let Proof::Token(expected) = proof else { continue };
            if bool::from(expected.as_slice().ct_eq(given.as_ref())) {
                found = Some(Person { name: name.to_string(), role: Some(*role) });
            }
        }
        found
    }

    /// Returns who has a name for which a proxy vouches.
    pub(crate) fn vouched(&self, name: &str) -> Person {
        let known = self.people.iter().find(|(known, _, proof)| **known == *name && *proof == Proof::Header);
        Person { name: name.to_owned(), role: known.map(|(_, role, _)| *role) }
    }

    /// Returns the names that have a role, for the log.
    fn names(&self, role: Role) -> Vec<String> {
        self.people.iter().filter(|(_, of, _)| *of == role).map(|(name, ..)| name.to_string()).collect()
    }

    /// Parses the text of a file.
    ///
    /// # Errors
    /// If it is none: the offset of what is wrong, and what it is.
    pub fn parse(text: &str) -> Result<Self, (usize, String)> {
        let file: TokensFile = toml::from_str(text)
            .map_err(|error| (error.span().map_or(0, |span| span.start), escaped(error.message())))?;
        let mut tokens = Self { has_viewers: file.viewers.is_some(), ..Self::default() };
        let tables = [(Role::Editor, file.editors), (Role::Viewer, file.viewers.unwrap_or_default())];
        for (role, people) in tables {
            for (name, proof) in people {
                check_name(name.get_ref()).map_err(|reason| (name.span().start, reason.to_owned()))?;
                if tokens.people.iter().any(|(known, ..)| **known == **name.get_ref()) {
                    let message = format!("{:?} is an editor and a viewer", name.get_ref());
                    return Err((name.span().start, message));
                }
                let proof = Proof::parse(proof.get_ref()).ok_or_else(|| {
                    let message = "expected \"sha256:\" and 64 hexadecimal digits, as `catalog-proxy token` \
                                   prints them, or \"header\"";
                    (proof.span().start, message.to_owned())
                })?;
                tokens.people.push((name.get_ref().as_str().into(), role, proof));
            }
        }
        Ok(tokens)
    }
}

/// Checks the name of a person.
///
/// # Errors
/// If it cannot be one; says why.
pub(crate) fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.chars().count() > MAX_NAME_LEN {
        return Err("a name has 1 to 64 characters");
    }
    // `Basic` ends the name at a colon (RFC 7617 §2).
    if name.trim() != name || name.chars().any(|c| c.is_control() || c == ':') {
        return Err("a name has no colon, no control characters and no blanks around it");
    }
    if name == BY_FILE {
        return Err("the name \"file\" stands for whoever edits the whitelist itself");
    }
    Ok(())
}

impl Proof {
    fn parse(text: &str) -> Option<Self> {
        if text == BY_HEADER {
            return Some(Self::Header);
        }
        let hex = text.strip_prefix(DIGEST_PREFIX)?;
        let digits: Vec<u8> =
            hex.chars().map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect::<Option<_>>()?;
        let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        (digits.len() == 2 * SHA256_OUTPUT_LEN).then(|| bytes.try_into().ok().map(Self::Token)).flatten()
    }
}

impl Reloadable for AdminTokens {
    type Origin = PathBuf;
    type Error = TokensError;
    const NAME: &'static str = "admin tokens";
    const SETTLE: Settle = Settle { good: Duration::ZERO, broken: SETTLE_BROKEN };

    fn files(path: &PathBuf) -> Vec<PathBuf> {
        vec![path.clone()]
    }

    fn read(path: &PathBuf) -> Vec<Part> {
        vec![watch::read(path, MAX_FILE_SIZE)]
    }

    /// SECURITY: unlike other files, one that has become broken or is gone puts nobody in force, not the last good
    /// version: a token that was revoked must not live on behind a typo.
    fn parse(path: &PathBuf, content: FileContents<'_, Self>) -> Result<Parsed<Self>, TokensError> {
        let mut excerpt = None;
        let parsed = match &content.parts[0] {
            Err(reason) => Err(format!("cannot read {}: {reason}", path.display())),
            Ok(bytes) => std::str::from_utf8(bytes)
                .map_err(|error| (bytes, error.valid_up_to(), "it is not UTF-8".to_owned()))
                .and_then(|text| Self::parse(text).map_err(|(at, message)| (bytes, at, message)))
                .map_err(|(bytes, at, message)| {
                    // SECURITY: a token may stand where its digest should.
                    let shown = hidden_values(&String::from_utf8_lossy(bytes));
                    excerpt = Some(Excerpt::of(&shown, at..at));
                    let text = String::from_utf8_lossy(&bytes[..at.min(bytes.len())]);
                    format!("{}:{}: {message}", path.display(), Place::of(&text, text.len()))
                }),
        };
        match (parsed, content.last) {
            (Ok(value), _) => Ok(Parsed { value, warnings: Vec::new(), is_partial: false }),
            (Err(message), None) => Err(TokensError { message, excerpt }),
            (Err(message), Some(last)) => Ok(Parsed {
                warnings: vec![format!("{message}; until it is mended nobody may edit over the admin port")],
                value: Self { people: Vec::new(), has_viewers: last.has_viewers, error: Some(message) },
                is_partial: true,
            }),
        }
    }

    fn log_loaded(path: &PathBuf, _: Option<&Self>, now: &Self) {
        if now.error.is_none() {
            let [editors, viewers] = [Role::Editor, Role::Viewer].map(|role| now.names(role));
            let (editors, viewers) = (listed(&editors), listed(&viewers));
            info!(path = %path.display(), %editors, %viewers, "admin tokens loaded");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex::hex;
    use crate::watch::Check;

    fn line(token: &str) -> String {
        format!("\"sha256:{}\"", hex(digest(&SHA256, token.as_bytes()).as_ref()))
    }

    fn parse(text: &str, last: Option<&AdminTokens>) -> Result<AdminTokens, String> {
        let parts = [Ok(text.as_bytes().to_vec())];
        let content = FileContents { parts: &parts, last, check: Check::IfChanged };
        let parsed = <AdminTokens as Reloadable>::parse(&"t.toml".into(), content);
        parsed.map(|parsed| parsed.value).map_err(|error| error.to_string())
    }

    #[test]
    fn a_token_has_a_name_and_a_role() {
        let text =
            format!("[editors]\nalice = {}\nbob = \"header\"\n[viewers]\nann = {}\n", line("a"), line("v"));
        let tokens = parse(&text, None).expect("a file");
        let found = |token: &str| tokens.person(token).map(|person| (person.name, person.role));
        assert_eq!(found("a"), Some(("alice".to_owned(), Some(Role::Editor))));
        assert_eq!(found("v"), Some(("ann".to_owned(), Some(Role::Viewer))));
        for token in ["", "header", "A", "a ", "bob", "alice"] {
            assert_eq!(found(token), None, "{token}");
        }
        assert_eq!(tokens.vouched("bob").role, Some(Role::Editor));
        for name in ["alice", "Bob", "ann", ""] {
            assert_eq!(tokens.vouched(name).role, None, "{name}");
        }
        assert!(tokens.has_viewers);
        let only_editors = parse(&format!("[editors]\nalice = {}", line("a")), None).expect("a file");
        assert!(!only_editors.has_viewers);
        assert!(parse("[viewers]", None).expect("a file").has_viewers, "an empty table lets nobody read");
    }

    #[test]
    fn names_the_place_of_what_is_wrong() {
        let check = |text: &str, expected: &str| {
            let error = parse(text, None).expect_err(text);
            assert!(error.starts_with("t.toml:") && error.contains(expected), "{error}");
        };
        check("[editors]\nalice = \"secret\"", "2:9: expected \"sha256:\"");
        check("[editors]\nalice = \"sha256:12\"", "2:9");
        check(
            &format!("[editors]\nalice = \"{}\"", line("a").trim_matches('"').replace("sha256", "md5")),
            "2:9",
        );
        check(
            &format!("[editors]\na = {0}\n[viewers]\na = {0}", line("a")),
            "4:1: \"a\" is an editor and a viewer",
        );
        check("[editors]\nalice = 1", "2:9");
        check("[editor]\nalice = \"header\"", "unknown field");
        check("[editors]\n\"a:b\" = \"header\"", "2:1: a name has no colon");
        check("[editors]\n\"\" = \"header\"", "2:1: a name has 1 to 64");
        check("[editors]\nfile = \"header\"", "2:1: the name \"file\"");
        check("[editors\n", "1:");
    }

    #[test]
    fn a_broken_file_puts_nobody_in_force() {
        let good = parse(&format!("[editors]\nalice = {}", line("a")), None).expect("a file");
        let broken = parse("[editors]\nalice = ", Some(&good)).expect("nobody");
        assert_eq!(broken.person("a"), None);
        assert!(!broken.has_viewers && broken.error.is_some());
        let with_viewers = parse("[viewers]\nann = \"header\"", None).expect("a file");
        let broken = parse("x", Some(&with_viewers)).expect("nobody");
        assert!(broken.has_viewers, "reading stays as it was restricted");
        assert!(parse("x", Some(&broken)).expect("nobody").has_viewers, "for as long as it is broken");
        assert!(parse("", Some(&broken)).expect("nobody").error.is_none());
    }
}
