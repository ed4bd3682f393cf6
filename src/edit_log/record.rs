//! One edit of a whitelist.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::digest::FileDigest;
use crate::policy::{Policy, Verdict, Window};
use crate::shops::ShopName;

/// Name of whoever edits the file itself.
pub const BY_FILE: &str = "file";
/// What a record takes beside its line, about.
const OVERHEAD: usize = 500;

/// One edit of a shop's whitelist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditRecord {
    /// Names it, for an undo.
    pub id: String,
    /// Time in RFC 3339, UTC.
    pub at: String,
    /// Name of the editor, or `file`.
    pub by: String,
    /// Address of the editor; `None` for an edit of the file.
    pub from: Option<String>,
    pub shop: String,
    #[serde(flatten)]
    pub codes: EditedCodes,
    /// What the editor said about it.
    pub note: Option<String>,
    /// Digest of the file before; `None` if there was none.
    pub before: Option<String>,
    /// Digest of the file after.
    pub after: String,
    /// The edit that this one took back.
    pub undoes: Option<String>,
    /// Keys of the whitelist under which codes stood before; those that are missing stood nowhere.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub was: BTreeMap<String, FormerPlace>,
    /// Changed lines of the file; none for an edit of the file itself, which cannot be undone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
}

/// Where a code stood before an edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FormerPlace {
    Extensions,
    Retired,
    Hidden,
    /// Under more than one key, or with dates or a note.
    Mixed,
}

impl FormerPlace {
    /// Returns where a code stands, if it stands anywhere.
    pub(crate) fn of(code: &str, policy: &Policy) -> Option<Self> {
        let mut entries = policy.entries().iter().filter(|entry| entry.pattern.is_written(code));
        let (entry, other) = (entries.next()?, entries.next());
        let is_plain = other.is_none() && entry.window == Window::default() && entry.note.is_none();
        Some(match entry.verdict {
            _ if !is_plain => Self::Mixed,
            Verdict::Shown => Self::Extensions,
            Verdict::Retired => Self::Retired,
            Verdict::Hidden => Self::Hidden,
        })
    }
}

/// Codes of an edit by what was done with them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct EditedCodes {
    pub show: Vec<String>,
    pub retire: Vec<String>,
    pub hide: Vec<String>,
    pub forget: Vec<String>,
}

/// What is told about an edit.
#[derive(Debug, Serialize)]
pub struct EditRow<'a> {
    id: &'a str,
    at: &'a str,
    by: &'a str,
    from: Option<&'a str>,
    shop: &'a str,
    #[serde(flatten)]
    codes: &'a EditedCodes,
    note: Option<&'a str>,
    before: Option<&'a str>,
    after: &'a str,
    undoes: Option<&'a str>,
    /// True if an undo can be tried.
    undoable: bool,
}

impl EditedCodes {
    /// Returns what turns one policy into another.
    pub(crate) fn between(before: Option<&Policy>, now: &Policy) -> Self {
        let (before, now) = (before.map_or(&[][..], Policy::entries), now.entries());
        let mut codes = Self::default();
        for entry in now.iter().filter(|entry| !before.iter().any(|old| old.decides_like(entry))) {
            codes.of(entry.verdict).push(entry.pattern.to_string());
        }
        for entry in before {
            if !now.iter().any(|other| other.pattern == entry.pattern) {
                codes.forget.push(entry.pattern.to_string());
            }
        }
        for list in [&mut codes.show, &mut codes.retire, &mut codes.hide, &mut codes.forget] {
            list.sort_unstable();
            list.dedup();
        }
        codes
    }

    /// Returns the codes that a verdict was given.
    pub(crate) fn of(&mut self, verdict: Verdict) -> &mut Vec<String> {
        match verdict {
            Verdict::Shown => &mut self.show,
            Verdict::Retired => &mut self.retire,
            Verdict::Hidden => &mut self.hide,
        }
    }

    /// Returns all codes.
    pub(crate) fn all(&self) -> impl Iterator<Item = &str> {
        let lists = [&self.show, &self.retire, &self.hide, &self.forget];
        lists.into_iter().flatten().map(String::as_str)
    }
}

impl EditRecord {
    /// Makes the record of an edit over the admin port.
    pub(crate) fn new(
        (by, from): (&str, IpAddr),
        shop: &ShopName,
        codes: EditedCodes,
        digests: (FileDigest, FileDigest),
        now: SystemTime,
    ) -> Self {
        let digests = (Some(digests.0.to_string()), digests.1.to_string());
        let record = Self::by_file(shop, codes, digests, now);
        Self { by: by.to_owned(), from: Some(from.to_string()), ..record }
    }

    /// Makes the record of a list that came into force because its file was changed.
    pub(crate) fn by_file(
        shop: &ShopName,
        codes: EditedCodes,
        (before, after): (Option<String>, String),
        now: SystemTime,
    ) -> Self {
        Self {
            id: format!("{:016x}", fastrand::u64(..)),
            at: humantime::format_rfc3339_seconds(now).to_string(),
            by: BY_FILE.to_owned(),
            from: None,
            shop: shop.to_string(),
            codes,
            note: None,
            before,
            after,
            undoes: None,
            was: BTreeMap::new(),
            lines: Vec::new(),
        }
    }

    /// Returns what is told about it: all but the changed lines.
    pub fn row(&self) -> EditRow<'_> {
        let Self { id, at, by, from, shop, codes, note, before, after, undoes, lines, .. } = self;
        EditRow {
            id,
            at,
            by,
            from: from.as_deref(),
            shop,
            codes,
            note: note.as_deref(),
            before: before.as_deref(),
            after,
            undoes: undoes.as_deref(),
            undoable: by != BY_FILE && !lines.is_empty(),
        }
    }

    /// Returns the line of the file.
    pub(super) fn line(&self) -> String {
        // Strings always have a form in JSON.
        serde_json::to_string(self).map(|line| line + "\n").unwrap_or_default()
    }

    /// Parses a line of the file. A newer version may have members that this one does not know.
    pub(super) fn parse(line: &[u8]) -> Option<Self> {
        serde_json::from_slice(line.strip_suffix(b"\n")?).ok()
    }

    /// Returns about how much memory it takes.
    pub(super) fn size(&self) -> usize {
        let lines: usize = self.lines.iter().map(|line| line.len() + 24).sum();
        let codes: usize = self.codes.all().map(|code| code.len() + 24).sum();
        OVERHEAD + lines + codes + self.note.as_ref().map_or(0, String::len)
    }
}
