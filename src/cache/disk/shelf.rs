//! The files of cached feeds in the cache directory: one a key, named by the key's digest.
//!
//! Runs on the disk's two threads: one reads, the other one writes, so that neither waits for the other.

use std::collections::HashMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use parking_lot::Mutex;
use tracing::{info, warn};

use super::format::{self, PackagesCopy, Unusable};
use crate::cache::Key;
use crate::cache::cached_feed::CachedFeed;
use crate::cache_directory::CacheDirectory;
use crate::cache_directory::Hold;
use crate::cache_directory::files::{Contents, Files, Operation, TEMPORARY_PREFIX};
use crate::digest::Digest;

/// End of the names of all files of cached feeds. A later version of the format should have another one, so that
/// both can be kept over an upgrade and the way back.
const SUFFIX: &str = ".copy";
/// End of the name that is taken instead where a file of another version has the usual one.
const SUFFIX_BESIDE: &str = ".1.copy";
/// Hexadecimal digits of a key's digest.
const DIGEST_DIGITS: usize = 32;
/// Most files, whatever queries clients invent.
const MAX_FILES: usize = 4096;
/// Longest file that is read beside the bound of the directory, which a restart with a smaller one must not make
/// unreadable. 64 MiB is the usual bound of a feed.
const MIN_MAX_FILE_LEN: u64 = 1 << 30;
/// Age at which the file of an unchanged feed is written again, because the upstream's header fields may change.
const REWRITE_AFTER: Duration = Duration::from_hours(1);
/// A temporary file that is older was left behind by a crash; a younger one may be another process's where there
/// are no locks.
const TEMPORARY_AGE: Duration = Duration::from_hours(1);
/// A key is renewed for a day after a client asked for it, so a file that was confirmed so long before the newest one
/// was out of use when the process before ended.
const IN_USE_WITHIN: Duration = Duration::from_hours(24);
/// Longest wait of the reader for a write that is under way, before it leaves a bad file for the next time.
const REMOVE_WAIT: Duration = Duration::from_millis(200);

/// The files in one directory.
#[derive(Debug)]
pub(super) struct Shelf {
    directory: Arc<CacheDirectory>,
    max_bytes: u64,
    files: Mutex<HashMap<String, Known>>,
}

/// File of a feed that was in use when the process before ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecentFile {
    pub name: String,
    /// Length in bytes.
    pub len: u64,
}

/// Facts about a file that are known without reading it.
#[derive(Debug, Clone, Copy)]
struct Known {
    len: u64,
    /// When it was written, not counting mere confirmations by this process.
    written: SystemTime,
    holds: Holds,
}

/// Content of a file, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Holds {
    /// Not read yet.
    Unknown,
    /// A valid feed with this digest and number of unconfirmed changes.
    Feed(Digest, usize),
    /// Something of another version of the format.
    ///
    /// INVARIANT: such a file is neither overwritten nor removed, nor does it count against the bounds.
    OtherVersion,
}

/// Returns the content of a file that was written for a copy.
fn holds(copy: &CachedFeed) -> Holds {
    Holds::Feed(copy.feed.digest, copy.meta.unconfirmed.len())
}

/// Error of a write while the directory is not claimed.
#[derive(Debug)]
pub(super) struct DirectoryNotClaimed;

impl Shelf {
    pub(super) fn new(directory: Arc<CacheDirectory>, max_bytes: u64) -> Self {
        Self { directory, max_bytes, files: Mutex::default() }
    }

    /// Returns true if there may be a feed for a key. Does not block.
    pub(super) fn contains(&self, key: &Key) -> bool {
        let files = self.files.lock();
        let may_hold =
            |name: &String| files.get(name).is_some_and(|known| known.holds != Holds::OtherVersion);
        self.directory.is_claimed() && names(key).iter().any(may_hold)
    }

    /// Learns which files are in a directory that was claimed just now, and clears away what a crash left.
    pub(super) fn list(&self, hold: &Hold<'_>, now: SystemTime) -> io::Result<()> {
        let mut files = HashMap::new();
        for entry in fs::read_dir(self.directory.path())? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            // It may be gone already, and what cannot be looked at is left alone.
            let Ok(meta) = entry.metadata() else { continue };
            let written = meta.modified().unwrap_or(UNIX_EPOCH);
            if name.starts_with(TEMPORARY_PREFIX) {
                if hold.is_exclusive() || is_abandoned(written, now) {
                    // A failure is logged, and it is tried again at the next start.
                    let _ = hold.remove(&name);
                }
            } else if is_feed_name(&name) {
                files.insert(name, Known { len: meta.len(), written, holds: Holds::Unknown });
            }
        }
        info!(directory = %self.directory.path().display(), copies = files.len(), "cache directory");
        *self.files.lock() = files;
        Ok(())
    }

    /// Reads the feed for a key and proves it. A file that is proved bad is removed.
    pub(super) fn load(&self, key: &Key, now: SystemTime) -> Option<CachedFeed> {
        let mut candidates: Vec<(String, Known)> = {
            let files = self.files.lock();
            names(key).into_iter().filter_map(|name| files.get(&name).map(|known| (name, *known))).collect()
        };
        candidates.retain(|(_, known)| known.holds != Holds::OtherVersion);
        candidates.sort_by_key(|(_, known)| std::cmp::Reverse(known.written));
        candidates
            .into_iter()
            .find_map(|(name, _)| self.load_file(&name, Some(key), now))
            .map(|(_, copy)| copy)
    }

    /// Returns the files that were in use last, the one that was confirmed last first.
    pub(super) fn recent_files(&self) -> Vec<RecentFile> {
        let files = self.files.lock();
        let usable = files.iter().filter(|(_, known)| known.holds != Holds::OtherVersion);
        let mut usable: Vec<_> = usable.map(|(name, known)| (known.written, name, known.len)).collect();
        // By name as well, so that the order is one.
        usable.sort_unstable_by(|a, b| b.cmp(a));
        let newest = usable.first().map_or(UNIX_EPOCH, |(written, ..)| *written);
        let in_use =
            |written: SystemTime| newest.duration_since(written).is_ok_and(|age| age <= IN_USE_WITHIN);
        let recent = usable.into_iter().take_while(|(written, ..)| in_use(*written));
        recent.map(|(_, name, len)| RecentFile { name: name.clone(), len }).collect()
    }

    /// Reads the feed of a file, whatever its key, and proves it. A file that is proved bad is removed.
    pub(super) fn load_name(&self, name: &str, now: SystemTime) -> Option<(Key, CachedFeed)> {
        self.load_file(name, None, now)
    }

    /// Reads a file that must hold the feed of `key`, or of any whose file has that name.
    fn load_file(&self, name: &str, key: Option<&Key>, now: SystemTime) -> Option<(Key, CachedFeed)> {
        let path = self.directory.path().join(name);
        let (inode, decoded) = match self.directory.files().read(&path, self.max_bytes.max(MIN_MAX_FILE_LEN))
        {
            // The file's own time is when the feed was last confirmed.
            Ok(Contents { bytes, modified, inode }) => {
                let bytes = bytes.into();
                let key = key.map_or_else(|| key_of(&bytes, name), |key| Ok(key.clone()));
                let decoded =
                    key.and_then(|key| Ok((key.clone(), format::decode(&bytes, &key, modified, now)?)));
                (inode, decoded)
            }
            Err(error) => (0, Err(error.into())),
        };
        match decoded {
            Ok((key, copy)) => {
                self.learn(name, holds(&copy));
                return Some((key, copy));
            }
            Err(Unusable::Io(error)) if error.kind() == ErrorKind::NotFound => {
                // Unless the directory itself is away for a while.
                if self.directory.is_in_place() {
                    self.files.lock().remove(name);
                }
            }
            Err(Unusable::Io(error)) => self.directory.failed(Operation::Read, &path, &error),
            Err(error) if error.proves_bad() => self.remove_bad(name, inode, &error),
            Err(error) => {
                info!(path = %path.display(), %error, "copy on disk left alone");
                self.learn(name, Holds::OtherVersion);
            }
        }
        None
    }

    /// Removes the file of a name if it still is the one that was proved bad.
    fn remove_bad(&self, name: &str, inode: u64, error: &Unusable) {
        let path = self.directory.path().join(name);
        let Some(hold) = self.directory.hold_within(REMOVE_WAIT) else { return };
        let same = fs::metadata(&path).is_ok_and(|meta| std::os::unix::fs::MetadataExt::ino(&meta) == inode);
        if same && hold.remove(name).is_ok() {
            warn!(path = %path.display(), %error, "copy on disk dropped");
            self.files.lock().remove(name);
        }
    }

    fn learn(&self, name: &str, holds: Holds) {
        if let Some(known) = self.files.lock().get_mut(name) {
            known.holds = holds;
        }
    }

    /// Writes a feed, or confirms its file if that holds it already. A failure is logged; the file that was there
    /// stays.
    pub(super) fn save(
        &self,
        key: &Key,
        copy: &CachedFeed,
        now: SystemTime,
    ) -> Result<(), DirectoryNotClaimed> {
        let hold = self.directory.hold().ok_or(DirectoryNotClaimed)?;
        let name = self.name_for(key);
        let known = self.files.lock().get(&name).copied();
        let holds_it = |known: Known| {
            let age = now.duration_since(known.written).unwrap_or(Duration::MAX);
            known.holds == holds(copy) && age < REWRITE_AFTER
        };
        // A feed that did not change needs no megabytes written, only the time.
        if known.is_some_and(holds_it) && hold.set_modified(&name, now).is_ok() {
            return Ok(());
        }
        let head = match format::head(key, copy, now) {
            Ok(head) => head,
            Err(error) => {
                warn!(%key, %error, "copy not written to disk");
                return Ok(());
            }
        };
        // A failure was logged. The next refresh tries again.
        if hold.write(&name, &[&head, &copy.feed.body]).is_ok() {
            let len = (head.len() + copy.feed.body.len()) as u64;
            let holds = holds(copy);
            self.files.lock().insert(name.clone(), Known { len, written: now, holds });
            self.evict(&hold, &name);
        }
        Ok(())
    }

    /// Returns the name of the file to write for a key: not that of a file of another version.
    fn name_for(&self, key: &Key) -> String {
        let [usual, beside] = names(key);
        let holds = self.files.lock().get(&usual).map(|known| known.holds);
        let other_version = match holds {
            None | Some(Holds::Feed(..)) => false,
            Some(Holds::OtherVersion) => true,
            Some(Holds::Unknown) => self.is_other_version(&usual).unwrap_or(false),
        };
        if other_version { beside } else { usual }
    }

    /// Looks whether a file is of another version.
    fn is_other_version(&self, name: &str) -> io::Result<bool> {
        let start =
            self.directory.files().read_start(&self.directory.path().join(name), format::VERSION_LEN)?;
        let other = format::is_other_version(&start);
        if other {
            self.learn(name, Holds::OtherVersion);
        }
        Ok(other)
    }

    /// Removes the files written longest ago until the rest is within the bounds. The `newest` one does not make room for
    /// others that cannot be looked at just now.
    fn evict(&self, hold: &Hold<'_>, newest: &str) {
        let mut counted: Vec<(String, Known)> = {
            let files = self.files.lock();
            let counted = files.iter().filter(|(_, known)| known.holds != Holds::OtherVersion);
            counted.map(|(name, known)| (name.clone(), *known)).collect()
        };
        let (mut count, mut bytes) = (counted.len(), counted.iter().map(|(_, known)| known.len).sum::<u64>());
        if count <= MAX_FILES && bytes <= self.max_bytes {
            return;
        }
        counted.sort_by_key(|(_, known)| known.written);
        let mut skipped = false;
        for (name, known) in counted {
            if count <= MAX_FILES && bytes <= self.max_bytes {
                return;
            }
            let removable = match known.holds {
                Holds::Feed(..) if skipped && name == newest => Removable::No,
                Holds::Feed(..) => Removable::Yes,
                _ => match self.is_other_version(&name) {
                    Ok(false) => Removable::Yes,
                    Ok(true) => Removable::NotCounted,
                    Err(error) if error.kind() == ErrorKind::NotFound => Removable::Yes,
                    // It may be of another version.
                    Err(_) => Removable::No,
                },
            };
            if removable == Removable::Yes && hold.remove(&name).is_ok() {
                self.files.lock().remove(&name);
            } else if removable != Removable::NotCounted {
                skipped = true;
                continue;
            }
            (count, bytes) = (count - 1, bytes - known.len);
        }
    }
}

/// Whether a file may be evicted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Removable {
    Yes,
    No,
    /// It is of another version, and so are its bytes.
    NotCounted,
}

/// Reads the packages feed that was kept last in a directory, of those whose key is wanted, and when that was.
///
/// Changes nothing there: the directory may be that of a running proxy. What cannot be used is passed over.
pub fn newest_packages(
    directory: &Path,
    is_wanted: impl Fn(&str) -> bool,
) -> Option<(PackagesCopy, SystemTime)> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .ok()?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let is_feed = entry.file_name().to_str().is_some_and(is_feed_name);
            is_feed.then_some((entry.metadata().ok()?.modified().ok()?, entry.path()))
        })
        .collect();
    files.sort_unstable();
    files.into_iter().rev().find_map(|(at, path)| {
        let contents = Files::default().read(&path, MIN_MAX_FILE_LEN).ok()?;
        let copy = format::packages(&contents.bytes.into()).ok()?;
        is_wanted(&copy.key).then_some((copy, at))
    })
}

/// Returns the key of a file's feed, if it is one whose file has that name.
fn key_of(file: &Bytes, name: &str) -> Result<Key, Unusable> {
    let key = format::key(file)?;
    if names(&key).iter().any(|other| other == name) { Ok(key) } else { Err(Unusable::Key) }
}

/// Returns the names that the file for a key can have.
fn names(key: &Key) -> [String; 2] {
    let digest = Digest::of(key.as_str().as_bytes());
    [format!("{digest}{SUFFIX}"), format!("{digest}{SUFFIX_BESIDE}")]
}

/// Returns true if a temporary file is too old to be that of a running process.
fn is_abandoned(written: SystemTime, now: SystemTime) -> bool {
    now.duration_since(written).is_ok_and(|age| age > TEMPORARY_AGE)
}

/// Returns true if a file's name is that of a cached feed. Others are none of this cache's business.
fn is_feed_name(name: &str) -> bool {
    let Some((digest, suffix)) = name.split_at_checked(DIGEST_DIGITS) else { return false };
    digest.bytes().all(|byte| byte.is_ascii_hexdigit()) && [SUFFIX, SUFFIX_BESIDE].contains(&suffix)
}

#[cfg(test)]
pub(super) mod tests;
