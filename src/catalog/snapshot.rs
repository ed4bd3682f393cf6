//! Copies on disk: the last good ones survive a restart while the upstream is down.
//!
//! One plain file a key, named by the key's digest; `format` says what is in it. A file is written under a
//! temporary name, synced and renamed, so a crash leaves the old or the new one. Whatever is wrong with a file or
//! the disk is logged and costs no request.

pub mod format;

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use tracing::{info, warn};

use super::copy::{Copy, Digest};
use super::{Key, lock};
use crate::feed::packages;
use format::Unusable;

/// Of snapshots and of files being written.
const SUFFIX: &str = "copy";
const TEMPORARY: &str = ".tmp-";
/// Most files, whatever queries clients invent.
const MAX_FILES: usize = 4096;
/// Copies waiting to be written; beyond that a copy is left for its next refresh.
const QUEUE: usize = 64;
/// A copy that does not change is written again after so long, for what the upstream says of it may change.
const REWRITE_AFTER: Duration = Duration::from_secs(60 * 60);

/// The copies in one directory.
#[derive(Debug)]
pub struct Snapshots {
    shared: Arc<Shared>,
    queue: Mutex<Option<SyncSender<(Key, Copy)>>>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    /// The directory itself, locked as long as there may be writes.
    _lock: Option<File>,
    max_bytes: u64,
    files: Mutex<HashMap<PathBuf, Written>>,
}

/// What is known about a file without reading it.
#[derive(Debug, Clone, Copy)]
struct Written {
    len: u64,
    at: SystemTime,
    /// Not known of files of an earlier process.
    content: Option<Digest>,
}

impl Snapshots {
    /// Lists the copies in a directory, made if need be, and starts the thread that writes.
    ///
    /// # Errors
    /// If the directory cannot be used at all.
    pub fn open(directory: &Path, max_bytes: u64) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        let lock = lock_directory(directory)?;
        let mut files = HashMap::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let (path, meta) = (entry.path(), entry.metadata()?);
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                // Left behind by a crash.
                remove(&path);
            } else if is_named_as_ours(&path) {
                let at = meta.modified().unwrap_or(UNIX_EPOCH);
                files.insert(path, Written { len: meta.len(), at, content: None });
            }
        }
        info!(directory = %directory.display(), copies = files.len(), "cache directory");
        if let Err(error) = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(directory) {
            warn!(directory = %directory.display(), %error, "cache directory cannot be written; copies in it are used");
        }
        let (directory, files) = (directory.to_owned(), Mutex::new(files));
        let shared = Arc::new(Shared { directory, _lock: lock, max_bytes, files });
        let (queue, jobs) = mpsc::sync_channel::<(Key, Copy)>(QUEUE);
        let writing = Arc::clone(&shared);
        let writer = thread::Builder::new().name("snapshots".to_owned()).spawn(move || {
            for (key, copy) in jobs {
                writing.save(&key, &copy, SystemTime::now());
            }
        })?;
        Ok(Self { shared, queue: Mutex::new(Some(queue)), writer: Mutex::new(Some(writer)) })
    }

    /// Is there a copy for a key, as far as is known without reading it?
    pub fn contains(&self, key: &Key) -> bool {
        lock(&self.shared.files).contains_key(&self.shared.path(key))
    }

    /// Reads the copy for a key and proves it. A file that is of no use is removed.
    ///
    /// Blocks on the disk.
    pub fn load(&self, key: &Key, now: SystemTime) -> Option<Copy> {
        self.shared.load(key, now)
    }

    /// Has a copy written, or its file confirmed if it is there already.
    pub fn save(&self, key: &Key, copy: &Copy) {
        let queue = lock(&self.queue);
        let Some(queue) = queue.as_ref() else { return };
        match queue.try_send((key.clone(), copy.clone())) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => warn!(%key, "copy not written: the disk is too slow"),
            Err(TrySendError::Disconnected(_)) => warn!(%key, "copy not written: the writer is gone"),
        }
    }

    /// Writes what is queued and ends. Blocks on the disk.
    pub fn close(&self) {
        lock(&self.queue).take();
        if let Some(writer) = lock(&self.writer).take()
            && writer.join().is_err()
        {
            warn!("the thread that writes copies panicked");
        }
    }
}

impl Shared {
    fn path(&self, key: &Key) -> PathBuf {
        self.directory.join(format!("{}.{SUFFIX}", Digest::of(key.as_str().as_bytes())))
    }

    fn save(&self, key: &Key, copy: &Copy, now: SystemTime) {
        let path = self.path(key);
        let known = lock(&self.files).get(&path).copied();
        let is_there = |written: Written| {
            let age = now.duration_since(written.at).unwrap_or(Duration::MAX);
            written.content == Some(copy.content.digest) && age < REWRITE_AFTER
        };
        // A copy that did not change needs no megabytes written, only the time.
        if known.is_some_and(is_there) && touch(&path, now).is_ok() {
            return;
        }
        match self.write(&path, key, copy, now) {
            Ok(len) => {
                let written = Written { len, at: now, content: Some(copy.content.digest) };
                lock(&self.files).insert(path, written);
                self.evict();
            }
            Err(error) => {
                warn!(%key, directory = %self.directory.display(), %error, "copy not written to disk");
            }
        }
    }

    fn write(&self, path: &Path, key: &Key, copy: &Copy, now: SystemTime) -> io::Result<u64> {
        let head = format::head(key, copy, now)?;
        // It may have been cleaned away.
        fs::create_dir_all(&self.directory)?;
        let mut file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(&self.directory)?;
        file.write_all(&head)?;
        file.write_all(&copy.content.body)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        // The rename itself is safe only when the directory is.
        File::open(&self.directory)?.sync_all()?;
        Ok((head.len() + copy.content.body.len()) as u64)
    }

    /// Removes the copies written longest ago until the rest is within the bounds.
    fn evict(&self) {
        let mut files = lock(&self.files);
        let mut bytes: u64 = files.values().map(|written| written.len).sum();
        while files.len() > MAX_FILES || bytes > self.max_bytes {
            let oldest = files.iter().min_by_key(|(_, written)| written.at).map(|(path, _)| path.clone());
            let Some(oldest) = oldest else { return };
            bytes -= files.remove(&oldest).map_or(0, |written| written.len);
            remove(&oldest);
        }
    }

    fn load(&self, key: &Key, now: SystemTime) -> Option<Copy> {
        let path = self.path(key);
        match self.read(&path, key, now) {
            Ok(copy) => Some(copy),
            Err(error) => {
                lock(&self.files).remove(&path);
                if !matches!(&error, Unusable::Io(error) if error.kind() == io::ErrorKind::NotFound) {
                    warn!(path = %path.display(), %error, "copy on disk dropped");
                    remove(&path);
                }
                None
            }
        }
    }

    fn read(&self, path: &Path, key: &Key, now: SystemTime) -> Result<Copy, Unusable> {
        let file = Bytes::from(fs::read(path)?);
        // The file's own time is when the copy was last confirmed.
        format::decode(&file, key, fs::metadata(path)?.modified()?, now)
    }
}

/// Claims a directory for this process: two that write there would remove each other's files, and forget each
/// other's news. Where there are no locks (some network file systems), it has to do without.
fn lock_directory(directory: &Path) -> io::Result<Option<File>> {
    let Ok(lock) = File::open(directory) else { return Ok(None) };
    match lock.try_lock() {
        Err(TryLockError::WouldBlock) => {
            Err(io::Error::new(ErrorKind::ResourceBusy, "another proxy uses it, so it is not used here"))
        }
        Ok(()) | Err(TryLockError::Error(_)) => Ok(Some(lock)),
    }
}

/// Reads the packages feed that was kept last in a directory, whatever its query, and when that was.
///
/// Changes nothing there: the directory may be that of a running proxy. What is damaged is passed over.
pub fn newest_packages(directory: &Path) -> Option<(Bytes, packages::Index, SystemTime)> {
    let mut files: Vec<_> = fs::read_dir(directory)
        .ok()?
        .filter_map(|entry| {
            let entry = entry.ok()?;
            Some((entry.metadata().ok()?.modified().ok()?, entry.path()))
        })
        .filter(|(_, path)| is_named_as_ours(path))
        .collect();
    files.sort_unstable();
    files.into_iter().rev().find_map(|(at, path)| {
        let (body, index) = format::packages(&fs::read(path).ok()?.into()).ok()?;
        Some((body, index, at))
    })
}

/// Is it one of ours by its name? Others are none of our business.
fn is_named_as_ours(path: &Path) -> bool {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let digest = stem.len() == 32 && stem.bytes().all(|byte| byte.is_ascii_hexdigit());
    digest && path.extension().is_some_and(|extension| extension == SUFFIX)
}

fn touch(path: &Path, now: SystemTime) -> io::Result<()> {
    File::options().write(true).open(path)?.set_modified(now)
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        warn!(path = %path.display(), %error, "file not removed");
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;
    use crate::catalog::copy::{Content, Meta};
    use crate::catalog::freshness::Freshness;
    use crate::feed::Kind;

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    #[test]
    fn a_clock_that_jumps_makes_no_copy_wrong() {
        let directory = tempfile::tempdir().expect("a directory");
        let snapshots = Snapshots::open(directory.path(), u64::MAX).expect("a cache");
        let key = Key::new(Kind::Packages, &"/api/v4/packages".parse().expect("a path"));
        let (body, index) = format::index(Kind::Packages, &Bytes::from_static(b"[1,2]")).expect("a feed");
        let freshness = Freshness { lifetime: Duration::from_secs(600), age: Duration::ZERO };
        let meta = Meta {
            etag: None,
            last_modified: None,
            content_type: None,
            freshness,
            held: Duration::ZERO,
            arrived: Instant::now(),
            refresh_after: Duration::ZERO,
        };
        let copy = Copy { content: Arc::new(Content::new(body, index)), meta };
        let now = SystemTime::now();
        let check = |saved: SystemTime, loaded: SystemTime, held: Duration| {
            snapshots.shared.save(&key, &copy, saved);
            let found = snapshots.load(&key, loaded).expect("a copy");
            assert_eq!((&found.content.body[..], found.meta.freshness), (&b"[1,2]"[..], freshness));
            let off = found.meta.held.abs_diff(held);
            assert!(off < Duration::from_secs(60), "{:?} instead of {held:?}", found.meta.held);
        };
        check(now, now, Duration::ZERO);
        check(now, now + DAY, DAY);
        check(now, now - DAY, Duration::ZERO);
        // Saved while the clock was a day ahead, or confirmed then.
        check(now + DAY, now, Duration::ZERO);
        check(now + DAY, now + 2 * DAY, DAY);
        check(now, now, Duration::ZERO);
        check(now - DAY, now, Duration::ZERO);
    }
}
