//! History of the catalog's changes: one change a line in the cache directory's `news.jsonl`, the oldest first.
//!
//! ```text
//! 1 <start of the SHA-256 of what follows, in hex> {"at": …, "api": …, "change": …, "code": …, …}
//! ```
//!
//! The number is the version of the format. Each write creates a new file under a temporary name and renames it, so a
//! crash leaves the old or the new one, and the file can be read at any time. Only the process that has claimed the
//! directory writes the file, and only after it has read it, so that nothing is lost if it cannot be read for a while.
//! Damaged lines are left out and logged. Lines of another version are kept as they are.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::Change;
use crate::cache_directory::CacheDirectory;
use crate::cache_directory::files::{Files, Operation};
use crate::hex::hex;

/// Name of the file.
const FILE_NAME: &str = "news.jsonl";
/// First word of each line.
const VERSION: &str = "1";
/// Most changes kept, in memory and on disk: ten years of a catalog that changes ten times a week.
const MAX_CHANGES: usize = 5000;
/// Longest file that is read: each of the lines may have some kilobytes.
const MAX_FILE_LEN: u64 = 64 << 20;
/// Hexadecimal digits of a checksum: enough to detect damage.
const CHECKSUM_DIGITS: usize = 32;

/// A change with its time and the version of the interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PastChange {
    /// Time in RFC 3339, UTC.
    pub at: String,
    /// Version of the vendor's interface, such as `v4`.
    pub api: String,
    /// The change itself.
    #[serde(flatten)]
    pub change: Change,
}

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
enum HistoryLine {
    Change(PastChange),
    /// A line of another version of the format, kept as it is.
    OtherVersion(String),
}

/// Changes of the catalog, in memory and on disk.
#[derive(Debug)]
pub(super) struct History(Arc<Mutex<Records>>);

#[derive(Debug)]
struct Records {
    /// Directory of the file, if there is one.
    directory: Option<Arc<CacheDirectory>>,
    lines: VecDeque<HistoryLine>,
    /// Number of lines at the end that are not on disk yet.
    unwritten: usize,
    /// Claim on the directory under which the file was last read; 0 before that.
    ///
    /// INVARIANT: the file is written only under that claim, or what is in it now would be lost.
    read_under: u64,
    /// True if a retry of a failed write is pending.
    retries: bool,
}

impl History {
    /// Reads the file, if the directory is claimed already.
    pub(super) fn open(directory: Option<Arc<CacheDirectory>>) -> Self {
        let mut kept =
            Records { directory, lines: VecDeque::new(), unwritten: 0, read_under: 0, retries: false };
        kept.read();
        Self(Arc::new(Mutex::new(kept)))
    }

    /// Returns true if the last change of this package is the same one, so that it has been told already.
    pub(super) fn ends_with(&self, api: &str, change: &Change) -> bool {
        let mut kept = self.0.lock();
        kept.read();
        let mut entries = kept.lines.iter().rev().filter_map(|line| match line {
            HistoryLine::Change(entry) => Some(entry),
            HistoryLine::OtherVersion(_) => None,
        });
        let about = |entry: &&PastChange| entry.change.code == change.code && entry.api == api;
        let last = entries.find(about).map(|entry| &entry.change);
        last.is_some_and(|last| last.change == change.change && last.seller == change.seller)
    }

    /// Appends changes and drops the oldest beyond [`MAX_CHANGES`]. A failed write is retried later.
    pub(super) fn push(&mut self, api: &str, at: SystemTime, changes: &[Change]) {
        let at = humantime::format_rfc3339_seconds(at).to_string();
        let mut kept = self.0.lock();
        kept.unwritten += changes.len();
        let entry = |change: &Change| {
            HistoryLine::Change(PastChange { at: at.clone(), api: api.to_owned(), change: change.clone() })
        };
        kept.lines.extend(changes.iter().map(entry));
        kept.forget();
        write(&self.0, &mut kept);
    }
}

/// Writes the file, and schedules a retry if that fails.
fn write(history: &Arc<Mutex<Records>>, kept: &mut Records) {
    let Some(directory) = kept.directory.clone() else { return };
    if kept.write(&directory) || kept.retries {
        return;
    }
    kept.retries = true;
    let history = Arc::downgrade(history);
    directory.retry_later(move || {
        let Some(history) = history.upgrade() else { return };
        let mut kept = history.lock();
        kept.retries = false;
        write(&history, &mut kept);
    });
}

impl Records {
    /// Reads the file once for each claim on the directory. A file that cannot be read is tried again.
    fn read(&mut self) {
        let Some(directory) = &self.directory else { return };
        let claim = directory.claims();
        if self.read_under == claim || !directory.is_claimed() {
            return;
        }
        let path = directory.path().join(FILE_NAME);
        match read_lines(directory.files(), &path) {
            Ok(lines) => {
                // What was told before the file could be read comes after it.
                let told = self.lines.split_off(self.lines.len() - self.unwritten);
                self.lines = lines.into();
                self.lines.extend(told);
                self.read_under = claim;
                self.forget();
            }
            Err(error) => directory.failed(Operation::Read, &path, &error),
        }
    }

    fn forget(&mut self) {
        let extra = self.lines.len().saturating_sub(MAX_CHANGES);
        self.lines.drain(..extra);
        self.unwritten = self.unwritten.min(self.lines.len());
    }

    /// Writes all lines. Returns false if the write has to be retried.
    fn write(&mut self, directory: &CacheDirectory) -> bool {
        self.read();
        let Some(hold) = directory.hold() else { return false };
        if self.read_under != directory.claims() {
            return false;
        }
        let mut text = String::new();
        for line in &self.lines {
            match line {
                HistoryLine::Change(entry) => {
                    // Strings and closed enums have always a form in JSON.
                    let Ok(json) = serde_json::to_string(entry) else { continue };
                    text.extend([VERSION, " ", &checksum(&json), " ", &json, "\n"]);
                }
                HistoryLine::OtherVersion(line) => text.push_str(line),
            }
        }
        let written = hold.write(FILE_NAME, &[text.as_bytes()]).is_ok();
        if written {
            self.unwritten = 0;
        }
        written
    }
}

/// Reads the history in a cache directory, the oldest change first.
///
/// # Errors
/// If it cannot be read. A file that does not exist counts as empty.
pub fn read(directory: &Path) -> io::Result<Vec<PastChange>> {
    let lines = read_lines(&Files::default(), &directory.join(FILE_NAME))?;
    let entries = lines.into_iter().filter_map(|line| match line {
        HistoryLine::Change(entry) => Some(entry),
        HistoryLine::OtherVersion(_) => None,
    });
    Ok(entries.collect())
}

/// Reads the lines of a file. Damaged ones are left out and logged.
fn read_lines(files: &Files, path: &Path) -> io::Result<Vec<HistoryLine>> {
    let bytes = match files.read(path, MAX_FILE_LEN) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        contents => contents?.bytes,
    };
    let (mut lines, mut left_out) = (Vec::new(), Vec::new());
    for (n, bytes) in bytes.split_inclusive(|byte| *byte == b'\n').enumerate() {
        let line = std::str::from_utf8(bytes).ok().and_then(parse);
        if !matches!(line, Some(HistoryLine::Change(_))) {
            left_out.push(n + 1);
        }
        lines.extend(line);
    }
    if let Some(first) = left_out.first() {
        let (path, lines) = (path.display(), left_out.len());
        warn!(%path, lines, first, "lines of the history are damaged, or of another version: they are left out");
    }
    Ok(lines)
}

fn parse(line: &str) -> Option<HistoryLine> {
    let (version, rest) = line.strip_suffix('\n')?.split_once(' ')?;
    if version != VERSION {
        let is_number = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
        return is_number.then(|| HistoryLine::OtherVersion(line.to_owned()));
    }
    let (digits, json) = rest.split_once(' ')?;
    if digits != checksum(json) {
        return None;
    }
    serde_json::from_str(json).ok().map(HistoryLine::Change)
}

fn checksum(json: &str) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, json.as_bytes());
    hex(&hash.as_ref()[..CHECKSUM_DIGITS / 2]).to_string()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::{Duration, UNIX_EPOCH};

    use super::super::{Kind, SellerName};
    use super::*;
    use crate::metrics::Metrics;

    fn claimed(path: &Path) -> Arc<CacheDirectory> {
        let directory = CacheDirectory::new(path, &Metrics::default());
        directory.claim();
        directory
    }

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
        let open = || History::open(Some(claimed(directory.path())));
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
        let mut history = History::open(Some(claimed(directory.path())));
        let changes: Vec<_> = (0..MAX_CHANGES + 3).map(|n| change(&n.to_string(), Kind::New)).collect();
        history.push("v4", UNIX_EPOCH, &changes);
        let codes = codes(directory.path());
        assert_eq!((codes.len(), codes[0].as_str()), (MAX_CHANGES, "3"));
    }

    #[test]
    fn damage_costs_a_line_only() {
        let check = |damage: fn(&mut Vec<u8>), expected: &[&str]| {
            let directory = tempfile::tempdir().expect("a directory");
            let mut history = History::open(Some(claimed(directory.path())));
            for code in ["aa", "bb", "cc"] {
                push(&mut history, code);
            }
            drop(history);
            let path = directory.path().join(FILE_NAME);
            let mut bytes = fs::read(&path).expect("a file");
            damage(&mut bytes);
            fs::write(&path, bytes).expect("a write");
            assert_eq!(codes(directory.path()), expected);
            push(&mut History::open(Some(claimed(directory.path()))), "dd");
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

    #[test]
    fn a_file_that_cannot_be_read_is_not_begun_anew() {
        let path = tempfile::tempdir().expect("a directory");
        push(&mut History::open(Some(claimed(path.path()))), "a");
        let fails = Arc::new(AtomicBool::new(true));
        let fault = {
            let fails = Arc::clone(&fails);
            move |operation, _: &Path| match fails.load(Ordering::SeqCst) && operation == Operation::Read {
                true => Err(io::Error::from_raw_os_error(5)),
                false => Ok(()),
            }
        };
        let files = Files::with_fault(fault);
        let directory = CacheDirectory::with_files(path.path(), &Metrics::default(), files);
        directory.claim();
        let mut history = History::open(Some(Arc::clone(&directory)));
        push(&mut history, "b");
        push(&mut history, "c");
        assert_eq!(codes(path.path()), ["a"]);
        fails.store(false, Ordering::SeqCst);
        directory.run_retries();
        assert_eq!(codes(path.path()), ["a", "b", "c"]);
        assert!(history.ends_with("v4", &change("a", Kind::New)));
        push(&mut history, "d");
        directory.run_retries();
        assert_eq!(codes(path.path()), ["a", "b", "c", "d"]);
    }

    #[test]
    fn waits_for_the_directory() {
        let path = tempfile::tempdir().expect("a directory");
        let old = claimed(path.path());
        let mut told = History::open(Some(Arc::clone(&old)));
        push(&mut told, "a");
        let new = claimed(path.path());
        let mut history = History::open(Some(Arc::clone(&new)));
        push(&mut history, "b");
        assert_eq!(codes(path.path()), ["a"]);
        assert!(old.give_up(Duration::ZERO));
        push(&mut told, "never written");
        new.claim();
        new.run_retries();
        assert_eq!(codes(path.path()), ["a", "b"]);
    }

    #[test]
    fn lines_of_another_version_stay() {
        let path = tempfile::tempdir().expect("a directory");
        fs::write(path.path().join(FILE_NAME), "2 {\"new\":true}\ndamaged\n").expect("a file");
        push(&mut History::open(Some(claimed(path.path()))), "a");
        push(&mut History::open(Some(claimed(path.path()))), "b");
        assert_eq!(codes(path.path()), ["a", "b"]);
        let text = fs::read_to_string(path.path().join(FILE_NAME)).expect("a file");
        assert!(text.starts_with("2 {\"new\":true}\n1 "), "{text}");
    }
}
