//! What was new, on disk: one change a line in the cache directory's `news.jsonl`, the oldest first.
//!
//! ```text
//! 1 <start of the SHA-256 of what follows, in hex> {"at": …, "api": …, "change": …, "code": …, …}
//! ```
//!
//! The number is the format's version. The file is written anew under a temporary name and renamed, so a crash
//! leaves the old or the new one, and it can be read at any time. A line that is not what was written is
//! left out, and that logged; the others stay.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tracing::warn;

use super::Change;

/// The file's name.
const FILE: &str = "news.jsonl";
/// First word of each line.
const VERSION: &str = "1";
/// Most changes kept, in memory and on disk: ten years of a catalog that changes ten times a week.
const MAX_ENTRIES: usize = 5000;
/// Of the checksum: enough to tell damage from what was written.
const DIGITS: usize = 32;

/// A change, and when and where it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Time in RFC 3339, UTC.
    pub at: String,
    /// Version of the vendor's interface, such as `v4`.
    pub api: String,
    /// What changed.
    #[serde(flatten)]
    pub change: Change,
}

/// The changes of the past.
#[derive(Debug)]
pub(super) struct History {
    /// Where they are kept beyond this process.
    directory: Option<PathBuf>,
    entries: VecDeque<Entry>,
}

impl History {
    /// Reads what there is.
    pub(super) fn open(directory: Option<PathBuf>) -> Self {
        let read = directory.as_deref().map_or(Ok(Vec::new()), read);
        let entries = read.unwrap_or_else(|error| {
            warn!(%error, "the history of the catalog cannot be read, so it begins anew");
            Vec::new()
        });
        Self { directory, entries: entries.into() }
    }

    /// Is the same already the last that was told about this package?
    pub(super) fn ends_with(&self, api: &str, change: &Change) -> bool {
        let about = |entry: &&Entry| entry.change.code == change.code && entry.api == api;
        let last = self.entries.iter().rev().find(about).map(|entry| &entry.change);
        last.is_some_and(|last| last.change == change.change && last.seller == change.seller)
    }

    /// Adds changes, and forgets the oldest beyond the bound.
    pub(super) fn push(&mut self, api: &str, at: SystemTime, changes: &[Change]) {
        let at = humantime::format_rfc3339_seconds(at).to_string();
        let entry = |change: &Change| Entry { at: at.clone(), api: api.to_owned(), change: change.clone() };
        self.entries.extend(changes.iter().map(entry));
        let extra = self.entries.len().saturating_sub(MAX_ENTRIES);
        self.entries.drain(..extra);
        if let Some(directory) = &self.directory
            && let Err(error) = self.write(directory)
        {
            warn!(directory = %directory.display(), %error, "the history of the catalog is not on disk");
        }
    }

    fn write(&self, directory: &Path) -> io::Result<()> {
        // Left-overs of this name are removed at the next start.
        let mut file = tempfile::Builder::new().prefix(".tmp-").tempfile_in(directory)?;
        let mut text = String::new();
        for entry in &self.entries {
            let json = serde_json::to_string(entry)?;
            text.extend([VERSION, " ", &checksum(&json), " ", &json, "\n"]);
        }
        file.write_all(text.as_bytes())?;
        file.as_file().sync_all()?;
        file.persist(directory.join(FILE))?;
        // The rename itself is safe only when the directory is.
        File::open(directory)?.sync_all()
    }
}

/// Reads the history in a cache directory, the oldest change first.
///
/// # Errors
/// If it cannot be read. One that was never written is empty.
pub fn read(directory: &Path) -> io::Result<Vec<Entry>> {
    let path = directory.join(FILE);
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        bytes => bytes?,
    };
    let (mut entries, mut damaged) = (Vec::new(), Vec::new());
    for (n, line) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        match std::str::from_utf8(line).ok().and_then(parse) {
            Some(entry) => entries.push(entry),
            None => damaged.push(n + 1),
        }
    }
    if let Some(first) = damaged.first() {
        let (path, lines) = (path.display(), damaged.len());
        warn!(%path, lines, first, "lines of the history are damaged, or of another version: they are left out");
    }
    Ok(entries)
}

fn parse(line: &str) -> Option<Entry> {
    let (digits, json) =
        line.strip_suffix('\n')?.strip_prefix(VERSION)?.strip_prefix(' ')?.split_once(' ')?;
    if digits != checksum(json) {
        return None;
    }
    serde_json::from_str(json).ok()
}

fn checksum(json: &str) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, json.as_bytes());
    hash.as_ref()[..DIGITS / 2].iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::super::{Kind, SellerName};
    use super::*;

    fn change(code: &str, change: Kind) -> Change {
        Change {
            change,
            code: code.to_owned(),
            name: Some("A \"name\"\n".to_owned()),
            seller: SellerName::Plesk,
            was: None,
            whitelisted: false,
        }
    }

    fn push(history: &mut History, code: &str) {
        let at = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        history.push("v4", at, &[change(code, Kind::New)]);
    }

    fn codes(directory: &Path) -> Vec<String> {
        read(directory).expect("a history").into_iter().map(|entry| entry.change.code).collect()
    }

    #[test]
    fn outlives_the_process() {
        let directory = tempfile::tempdir().expect("a directory");
        let open = || History::open(Some(directory.path().to_owned()));
        assert!(codes(directory.path()).is_empty());
        let mut history = open();
        push(&mut history, "a");
        push(&mut history, "b");
        drop(history);
        let mut history = open();
        push(&mut history, "c");
        assert_eq!(codes(directory.path()), ["a", "b", "c"]);
        let entry = &read(directory.path()).expect("a history")[0];
        assert_eq!((entry.at.as_str(), &entry.change), ("2023-11-14T22:13:20Z", &change("a", Kind::New)));
        assert_eq!(fs::read_dir(directory.path()).expect("a directory").count(), 1);
    }

    #[test]
    fn is_bounded() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut history = History::open(Some(directory.path().to_owned()));
        let changes: Vec<_> = (0..MAX_ENTRIES + 3).map(|n| change(&n.to_string(), Kind::New)).collect();
        history.push("v4", UNIX_EPOCH, &changes);
        let codes = codes(directory.path());
        assert_eq!((codes.len(), codes[0].as_str()), (MAX_ENTRIES, "3"));
    }

    #[test]
    fn damage_costs_a_line_only() {
        let check = |damage: fn(&mut Vec<u8>), expected: &[&str]| {
            let directory = tempfile::tempdir().expect("a directory");
            let mut history = History::open(Some(directory.path().to_owned()));
            for code in ["aa", "bb", "cc"] {
                push(&mut history, code);
            }
            let path = directory.path().join(FILE);
            let mut bytes = fs::read(&path).expect("a file");
            damage(&mut bytes);
            fs::write(&path, bytes).expect("a write");
            assert_eq!(codes(directory.path()), expected);
            push(&mut History::open(Some(directory.path().to_owned())), "dd");
            assert_eq!(codes(directory.path()), [expected, &["dd"]].concat());
        };
        check(|_| (), &["aa", "bb", "cc"]);
        check(|bytes| bytes.truncate(bytes.len() - 1), &["aa", "bb"]);
        check(|bytes| bytes.truncate(bytes.len() - 20), &["aa", "bb"]);
        check(|bytes| bytes[0] = b'2', &["bb", "cc"]);
        check(|bytes| bytes[60] ^= 1, &["bb", "cc"]);
        check(|bytes| bytes[60] = 0xff, &["bb", "cc"]);
        check(|bytes| bytes.extend_from_slice(b"hello\n\n1 2\n"), &["aa", "bb", "cc"]);
        check(Vec::clear, &[]);
    }

    #[test]
    fn knows_what_was_told_last() {
        let mut history = History::open(None);
        assert!(!history.ends_with("v4", &change("a", Kind::New)));
        push(&mut history, "a");
        assert!(history.ends_with("v4", &change("a", Kind::New)));
        assert!(!history.ends_with("v3", &change("a", Kind::New)));
        assert!(!history.ends_with("v4", &change("b", Kind::New)));
        assert!(!history.ends_with("v4", &change("a", Kind::Gone)));
        history.push("v4", UNIX_EPOCH, &[change("a", Kind::Gone)]);
        assert!(!history.ends_with("v4", &change("a", Kind::New)));
        let switched = |seller| Change { seller, ..change("a", Kind::Switched) };
        history.push("v4", UNIX_EPOCH, &[switched(SellerName::Free)]);
        assert!(history.ends_with("v4", &switched(SellerName::Free)));
        assert!(!history.ends_with("v4", &switched(SellerName::Plesk)));
    }
}
