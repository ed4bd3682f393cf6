//! History of the catalog's changes: one change a line in the cache directory's `news.jsonl`, the oldest first.
//!
//! ```text
//! 1 <start of the SHA-256 of what follows, in hex> {"at": …, "api": …, "change": …, "code": …, …}
//! ```
//!
//! The number is the version of the format: 1, or 2 for a line with a rename. Versions of the proxy that do not know
//! renames take a line 1 that they cannot read for damage and drop it with their next write, but keep a line 2. Each write creates a new file under a temporary name and renames it, so a
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
use super::told::is_told;
use crate::cache_directory::CacheDirectory;
use crate::cache_directory::files::{Files, Operation};
use crate::hex::hex;

/// Name of the file.
const FILE_NAME: &str = "news.jsonl";
/// First word of each line but those of renames.
const VERSION: &str = "1";
/// First word of a line with a rename.
const RENAME_VERSION: &str = "2";
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
pub(crate) struct History(Arc<Mutex<Records>>);

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
    pub(crate) fn open(directory: Option<Arc<CacheDirectory>>) -> Self {
        let mut kept =
            Records { directory, lines: VecDeque::new(), unwritten: 0, read_under: 0, retries: false };
        kept.read();
        Self(Arc::new(Mutex::new(kept)))
    }

    /// Returns all changes, the oldest first.
    pub(crate) fn changes(&self) -> Vec<PastChange> {
        let mut kept = self.0.lock();
        kept.read();
        let change = |line: &HistoryLine| match line {
            HistoryLine::Change(change) => Some(change.clone()),
            HistoryLine::OtherVersion(_) => None,
        };
        kept.lines.iter().filter_map(change).collect()
    }

    /// Returns true if the history ends with this change as far as its package goes, so that it has been told already.
    pub(crate) fn ends_with(&self, api: &str, change: &Change) -> bool {
        let mut kept = self.0.lock();
        kept.read();
        let entries = kept.lines.iter().rev().filter_map(|line| match line {
            HistoryLine::Change(entry) if entry.api == api => Some(entry),
            HistoryLine::Change(_) | HistoryLine::OtherVersion(_) => None,
        });
        is_told(entries, change)
    }

    /// Appends changes and drops the oldest beyond [`MAX_CHANGES`]. A failed write is retried later.
    pub(crate) fn push(&self, api: &str, at: SystemTime, changes: &[Change]) {
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
                    text.extend([version(&entry.change), " ", &checksum(&json), " ", &json, "\n"]);
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
    if ![VERSION, RENAME_VERSION].contains(&version) {
        let is_number = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
        return is_number.then(|| HistoryLine::OtherVersion(line.to_owned()));
    }
    let (digits, json) = rest.split_once(' ')?;
    if digits != checksum(json) {
        return None;
    }
    serde_json::from_str(json).ok().map(HistoryLine::Change)
}

/// Returns the version of a change's line.
fn version(change: &Change) -> &'static str {
    if change.renamed_from.is_some() { RENAME_VERSION } else { VERSION }
}

fn checksum(json: &str) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, json.as_bytes());
    hex(&hash.as_ref()[..CHECKSUM_DIGITS / 2]).to_string()
}

#[cfg(test)]
mod tests;
