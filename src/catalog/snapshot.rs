//! Copies on disk: the last good ones survive a restart while the upstream is down.
//!
//! One plain file a key, named by the key's digest:
//!
//! ```text
//! catalog-proxy copy 1 <SHA-256 of all that follows, in hex>\n
//! {"key": …, "kind": …, "stored": …, "lifetime": …, "age": …, "held": …, "etag": …, …}\n
//! <the feed as it came>
//! ```
//!
//! A file is written under a temporary name, synced and renamed, so a crash leaves the old or the new one.
//! Whatever is wrong with a file or the disk is logged and costs no request.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, SyncSender, TrySendError};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::HeaderValue;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use tracing::{info, warn};

use super::copy::{Content, Copy, Digest, Index, Meta};
use super::freshness::Freshness;
use super::{Key, lock};
use crate::feed::scan::ScanError;
use crate::feed::{Kind, categories, packages};

/// First words of the first line; the number is the format's version.
const MAGIC: &str = "catalog-proxy copy 1 ";
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

/// The second line.
#[derive(Debug, Serialize, Deserialize)]
struct Header {
    key: String,
    kind: String,
    /// Milliseconds since 1970.
    stored: u64,
    /// Seconds of freshness lifetime and of age on arrival.
    lifetime: u64,
    age: u64,
    /// Seconds it had been here when stored.
    held: u64,
    etag: Option<String>,
    last_modified: Option<String>,
    content_type: Option<String>,
}

/// Why a file is of no use.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Unusable {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("not a snapshot of this version")]
    Format,
    #[error("the checksum does not match")]
    Checksum,
    #[error("of another key")]
    Key,
    #[error("its feed is not valid: {0}")]
    Feed(#[from] ScanError),
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
        let head = head(key, copy, now)?;
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
        decode(&file, key, fs::metadata(path)?.modified()?, now)
    }
}

/// Returns what stands in a file before the feed.
///
/// # Errors
/// If the header cannot be written as JSON.
pub fn head(key: &Key, copy: &Copy, now: SystemTime) -> serde_json::Result<Vec<u8>> {
    let freshness = copy.meta.freshness;
    let text = |value: &Option<HeaderValue>| value.as_ref()?.to_str().ok().map(str::to_owned);
    let header = Header {
        key: key.as_str().to_owned(),
        kind: key.kind().name().to_owned(),
        stored: now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64,
        lifetime: freshness.lifetime.as_secs(),
        age: freshness.age.as_secs(),
        held: copy.resident(Instant::now()).as_secs(),
        etag: text(&copy.meta.etag),
        last_modified: text(&copy.meta.last_modified),
        content_type: text(&copy.meta.content_type),
    };
    let mut line = serde_json::to_vec(&header)?;
    line.push(b'\n');
    let first = format!("{MAGIC}{}\n", checksum([&line, &copy.content.body]));
    Ok([first.as_bytes(), &line].concat())
}

/// Proves a file that was last confirmed at `confirmed` to be a copy for `key`, and reads it.
///
/// # Errors
/// If anything about it is wrong.
pub fn decode(file: &Bytes, key: &Key, confirmed: SystemTime, now: SystemTime) -> Result<Copy, Unusable> {
    let content = parse(file)?;
    let header_end = content.iter().position(|byte| *byte == b'\n').ok_or(Unusable::Format)?;
    let header: Header = serde_json::from_slice(&content[..header_end]).map_err(|_| Unusable::Format)?;
    if header.key != key.as_str() || header.kind != key.kind().name() {
        return Err(Unusable::Key);
    }
    let (body, index) = index(key.kind(), &content.slice(header_end + 1..))?;
    let stored = (UNIX_EPOCH + Duration::from_millis(header.stored)).max(confirmed.min(now));
    // As strict as writing: other values are none that a file of ours has.
    let value =
        |text: Option<String>| HeaderValue::from_str(&text?).ok().filter(|value| value.to_str().is_ok());
    Ok(Copy {
        content: Arc::new(Content::new(body, index)),
        meta: Meta {
            etag: value(header.etag),
            last_modified: value(header.last_modified),
            content_type: value(header.content_type),
            freshness: Freshness { lifetime: seconds(header.lifetime), age: seconds(header.age) },
            // A clock that went back makes it look new, which is no harm: it was good.
            held: seconds(header.held) + now.duration_since(stored).unwrap_or_default(),
            arrived: Instant::now(),
            refresh_after: Duration::ZERO,
        },
    })
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
        let content = parse(&Bytes::from(fs::read(path).ok()?)).ok()?;
        let end = content.iter().position(|byte| *byte == b'\n')?;
        let header: Header = serde_json::from_slice(&content[..end]).ok()?;
        if header.kind != Kind::Packages.name() {
            return None;
        }
        match index(Kind::Packages, &content.slice(end + 1..)) {
            Ok((body, Index::Packages(index))) => Some((body, index, at)),
            _ => None,
        }
    })
}

/// Is it one of ours by its name? Others are none of our business.
fn is_named_as_ours(path: &Path) -> bool {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let digest = stem.len() == 32 && stem.bytes().all(|byte| byte.is_ascii_hexdigit());
    digest && path.extension().is_some_and(|extension| extension == SUFFIX)
}

/// Reads a span of time. Its sum with another one must not overflow, whatever a file says.
fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds.min(u64::MAX / 8))
}

/// Checks a file's first line and returns the rest.
fn parse(file: &Bytes) -> Result<Bytes, Unusable> {
    let end = file.iter().take(MAGIC.len() + 65).position(|byte| *byte == b'\n').ok_or(Unusable::Format)?;
    let expected = file[..end].strip_prefix(MAGIC.as_bytes()).ok_or(Unusable::Format)?;
    let content = file.slice(end + 1..);
    if checksum([&content]).as_bytes() != expected {
        return Err(Unusable::Checksum);
    }
    Ok(content)
}

fn index(kind: Kind, body: &Bytes) -> Result<(Bytes, Index), ScanError> {
    match kind {
        Kind::Packages => Ok((body.clone(), Index::Packages(packages::Index::of(body)?))),
        Kind::Categories => {
            let mut indexer = categories::Indexer::default();
            indexer.push(body)?;
            let (body, index) = indexer.finish()?;
            Ok((body.into(), Index::Categories(index)))
        }
    }
}

/// Returns the SHA-256 of some bytes in parts, in hex.
pub fn checksum<const N: usize>(parts: [&[u8]; N]) -> String {
    let mut hash = ring::digest::Context::new(&ring::digest::SHA256);
    parts.iter().for_each(|part| hash.update(part));
    hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
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
    use http::uri::PathAndQuery;

    use super::*;

    #[test]
    fn no_header_of_a_file_is_too_much() {
        let key = Key::new(Kind::Packages, &PathAndQuery::from_static("/api/v4/packages"));
        let copy = |etag: &str, seconds: u64| {
            let times =
                format!(r#""stored":{seconds},"lifetime":{seconds},"age":{seconds},"held":{seconds}"#);
            let name = r#""key":"/api/v4/packages","kind":"packages""#;
            let content = format!("{{{name},{times},\"etag\":{etag}}}\n[]");
            let file = format!("{MAGIC}{}\n{content}", checksum([content.as_bytes()]));
            decode(&file.into(), &key, UNIX_EPOCH, SystemTime::now()).expect("a copy")
        };
        let endless = copy("null", u64::MAX);
        assert!(endless.age(Instant::now()) > Duration::from_secs(u64::MAX / 8));
        assert_eq!(copy(r#""\"v1\"""#, 0).meta.etag, Some(HeaderValue::from_static("\"v1\"")));
        assert_eq!(copy(r#""\u00b9""#, 0).meta.etag, None);
        assert_eq!(copy(r#""a\nb""#, 0).meta.etag, None);

        // What was read is what is written.
        let copy = copy(r#""\"v1\"""#, 7);
        let head = head(&key, &copy, UNIX_EPOCH).expect("a header");
        let file = [&head, &*copy.content.body].concat();
        let again = decode(&file.into(), &key, UNIX_EPOCH, SystemTime::now()).expect("a copy");
        assert_eq!((again.meta.etag, again.meta.freshness), (copy.meta.etag, copy.meta.freshness));
    }

    const DAY: Duration = Duration::from_secs(24 * 60 * 60);

    #[test]
    fn a_clock_that_jumps_makes_no_copy_wrong() {
        let directory = tempfile::tempdir().expect("a directory");
        let snapshots = Snapshots::open(directory.path(), u64::MAX).expect("a cache");
        let key = Key::new(Kind::Packages, &"/api/v4/packages".parse().expect("a path"));
        let (body, index) = index(Kind::Packages, &Bytes::from_static(b"[1,2]")).expect("a feed");
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
