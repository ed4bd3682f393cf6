//! Cached feeds on disk: the last good ones survive a restart while upstream is down.
//!
//! `shelf` has the files and `format` says what is in one; `lane` is a thread that may hang. Whatever is wrong with a
//! file or the disk is logged and counted, and costs no request. One thread reads and another one writes, so a disk
//! that hangs takes these two threads and nothing else.

pub mod format;
mod lane;
mod shelf;

use std::collections::HashSet;
use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};
use tokio::time::{sleep, timeout};
use tracing::warn;

use super::Key;
use super::cached_feed::CachedFeed;
use crate::backoff::{Backoff, jittered};
use crate::cache_directory::{CacheDirectory, Claimed, Status};
use crate::metrics::Metrics;
use crate::wall_clock;
pub use format::PackagesCopy;
use lane::Lane;
use shelf::Shelf;
pub use shelf::{RecentFile, newest_packages};

/// Feeds waiting to be written; beyond that they are noted, and written when there is room.
const MAX_QUEUED_WRITES: usize = 64;
/// Reads waiting. There is one at most for each key that has a file.
const MAX_QUEUED_READS: usize = 4096;
/// Keys noted that have no current file. Others are left for their next refresh.
const MAX_UNSAVED: usize = 4096;

/// Longest time that one read may take: tens of megabytes from a slow disk. After that the feed is fetched.
const READ_STALL_LIMIT: Duration = Duration::from_secs(2);
/// Longest wait for a read with those before it: half of what a client waits for a first byte.
const READ_LIMIT: Duration = Duration::from_secs(5);
/// Longest time that one write may take before the disk is said to hang.
const WRITE_STALL_LIMIT: Duration = Duration::from_secs(10);
/// Longest wait for the directory at start. A disk that needs longer is used when it answers.
const OPEN_LIMIT: Duration = Duration::from_secs(2);
/// Longest wait for queued writes at the end: half of what running answers have to finish.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);
/// Longest wait for a change of the directory that is under way when it is given up.
const GIVE_UP_LIMIT: Duration = Duration::from_secs(1);

/// Interval of the checks that the directory is still the one that was claimed.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);
/// Pauses after failed attempts to claim the directory. The longest is half of what a process that drains has left
/// when it gives the directory up.
const CLAIM_BACKOFF: Backoff = Backoff { min: Duration::from_millis(250), max: Duration::from_secs(5) };

/// The cached feeds in one directory.
#[derive(Debug)]
pub struct Disk {
    directory: Arc<CacheDirectory>,
    shelf: Arc<Shelf>,
    reads: Lane<Read>,
    writes: Lane<Write>,
    queued_writes: Arc<AtomicUsize>,
    unsaved: Arc<Unsaved>,
}

/// Keys whose feed in memory is not on disk.
#[derive(Debug, Default)]
struct Unsaved(Mutex<HashSet<Key>>);

#[derive(Debug)]
enum Read {
    Key { key: Key, reply: oneshot::Sender<Option<CachedFeed>> },
    File { name: String, reply: oneshot::Sender<Option<(Key, CachedFeed)>> },
}

#[derive(Debug)]
enum Write {
    Save(Key, Box<CachedFeed>),
    /// Claim the directory, or check that it is claimed; the sender is dropped afterwards.
    Check(oneshot::Sender<()>),
}

impl Disk {
    /// Starts the threads and waits for the directory, but not for long: one that cannot be had now is tried again by
    /// [`Disk::keep_claimed`].
    ///
    /// # Errors
    /// If the system gives no threads.
    pub async fn open(directory: Arc<CacheDirectory>, max_bytes: u64, metrics: &Metrics) -> io::Result<Self> {
        let shelf = Arc::new(Shelf::new(Arc::clone(&directory), max_bytes));
        let reads = {
            let shelf = Arc::clone(&shelf);
            Lane::start("cache-reads", MAX_QUEUED_READS, metrics.panics("cache-reads"), move |job| {
                read(&shelf, job);
            })?
        };
        let (queued_writes, unsaved) = (Arc::<AtomicUsize>::default(), Arc::<Unsaved>::default());
        let writes = {
            let writer = DiskWriter {
                directory: Arc::clone(&directory),
                shelf: Arc::clone(&shelf),
                queued: Arc::clone(&queued_writes),
                unsaved: Arc::clone(&unsaved),
            };
            // There is room for two checks beside the feeds: one of `keep_claimed`, and the last one.
            let capacity = MAX_QUEUED_WRITES + 2;
            Lane::start("cache-writes", capacity, metrics.panics("cache-writes"), move |job| {
                writer.handle(job)
            })?
        };
        let disk = Self { directory, shelf, reads, writes, queued_writes, unsaved };
        if timeout(OPEN_LIMIT, disk.check()).await.is_err() {
            warn!(directory = %disk.directory.path().display(), "the cache directory does not answer; it is used when it does");
        }
        Ok(disk)
    }

    /// Returns true if there may be a feed for a key. Does not block.
    pub fn contains(&self, key: &Key) -> bool {
        self.shelf.contains(key)
    }

    /// Reads the feed for a key and proves it. Returns `None` if there is none, it cannot be read just now, or the
    /// disk hangs.
    pub async fn load(&self, key: &Key) -> Option<CachedFeed> {
        if self.reads.hangs() {
            return None;
        }
        let (reply, mut read) = oneshot::channel();
        self.reads.send(Read::Key { key: key.clone(), reply }).ok()?;
        match timeout(READ_LIMIT, self.reads.wait(&mut read, READ_STALL_LIMIT)).await {
            Ok(Ok(copy)) => copy,
            Ok(Err(_)) | Err(_) => {
                warn!(%key, "copy not read: the disk is too slow");
                None
            }
        }
    }

    /// Returns true if the directory can be used. Does not block.
    pub fn is_claimed(&self) -> bool {
        self.directory.is_claimed()
    }

    /// Returns the files of the feeds that were in use last, the one that was confirmed last first. Does not block.
    pub fn recent_files(&self) -> Vec<RecentFile> {
        self.shelf.recent_files()
    }

    /// Reads a file and proves it, as [`Disk::load`] does. Returns the key of its feed as well.
    pub async fn load_file(&self, name: String) -> Option<(Key, CachedFeed)> {
        if self.reads.hangs() {
            return None;
        }
        let (reply, mut read) = oneshot::channel();
        self.reads.send(Read::File { name, reply }).ok()?;
        timeout(READ_LIMIT, self.reads.wait(&mut read, READ_STALL_LIMIT)).await.ok()?.ok()?
    }

    /// Queues a feed to be written, or its file to be confirmed if it has the feed already. A key that cannot be written
    /// now is remembered as unsaved.
    pub fn save(&self, key: &Key, copy: &CachedFeed) {
        let queued = &self.queued_writes;
        let room = queued.load(Ordering::SeqCst) < MAX_QUEUED_WRITES;
        // What hangs must not keep more and more feeds in memory.
        if !self.directory.is_claimed() || self.writes.hangs() || !room {
            return self.unsaved.note(key.clone());
        }
        queued.fetch_add(1, Ordering::SeqCst);
        if self.writes.send(Write::Save(key.clone(), Box::new(copy.clone()))).is_err() {
            queued.fetch_sub(1, Ordering::SeqCst);
            self.unsaved.note(key.clone());
        }
    }

    /// Returns the keys that can be saved now and could not before; [`Disk::save`] notes again what still cannot.
    pub fn take_unsaved(&self) -> HashSet<Key> {
        if !self.directory.is_claimed() || self.writes.hangs() {
            return HashSet::new();
        }
        mem::take(&mut *self.unsaved.0.lock())
    }

    /// Returns whether the directory can be used. Does not block.
    pub fn status(&self) -> Status {
        match self.directory.status() {
            Status::GivenUp => Status::GivenUp,
            _ if self.reads.hangs() || self.writes.hangs() => Status::Hanging,
            status => status,
        }
    }

    /// Keeps the directory claimed until `stop` is set: claims it as soon as possible, and again when it has been
    /// replaced.
    pub async fn keep_claimed(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut failures = 0;
        loop {
            let pause = if self.directory.is_claimed() {
                failures = 0;
                jittered(CHECK_INTERVAL, fastrand::f64())
            } else {
                failures += 1;
                CLAIM_BACKOFF.pause(failures, fastrand::f64())
            };
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = sleep(pause) => {}
            }
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                () = self.check() => {}
            }
        }
    }

    /// Checks the directory on the writing thread, and waits for that, however long the disk hangs.
    async fn check(&self) {
        let (done, mut checked) = oneshot::channel();
        if self.writes.send(Write::Check(done)).is_err() {
            return;
        }
        while self.writes.wait(&mut checked, WRITE_STALL_LIMIT).await == Err(lane::NoReply::Hangs) {}
    }

    /// Writes what is queued and takes nothing more, within a limit. Blocks.
    pub fn close(&self) {
        self.close_within(CLOSE_LIMIT);
    }

    fn close_within(&self, limit: Duration) {
        // For what waits for the directory.
        let (last, _) = oneshot::channel();
        let _ = self.writes.send(Write::Check(last));
        if !self.writes.close(limit) {
            warn!("copies may not all be on disk: it is too slow");
        }
    }

    /// Gives the directory up for the next process. Blocks, but not for long.
    pub fn give_up(&self) {
        self.give_up_within(GIVE_UP_LIMIT);
    }

    fn give_up_within(&self, limit: Duration) {
        if !self.directory.give_up(limit) {
            warn!("the cache directory is locked until a write ends");
        }
    }
}

impl Unsaved {
    fn note(&self, key: Key) {
        let mut keys = self.0.lock();
        if keys.len() < MAX_UNSAVED {
            keys.insert(key);
        }
    }
}

fn read(shelf: &Shelf, job: Read) {
    let now = wall_clock::now();
    match job {
        // Whoever waited for it gave up while the disk hung.
        Read::Key { reply, .. } if reply.is_closed() => {}
        Read::File { reply, .. } if reply.is_closed() => {}
        Read::Key { key, reply } => drop(reply.send(shelf.load(&key, now))),
        Read::File { name, reply } => drop(reply.send(shelf.load_name(&name, now))),
    }
}

/// State of the writing thread.
struct DiskWriter {
    directory: Arc<CacheDirectory>,
    shelf: Arc<Shelf>,
    queued: Arc<AtomicUsize>,
    unsaved: Arc<Unsaved>,
}

impl DiskWriter {
    fn handle(&self, job: Write) {
        match job {
            Write::Save(key, copy) => {
                self.queued.fetch_sub(1, Ordering::SeqCst);
                if self.shelf.save(&key, &copy, wall_clock::now()).is_err() {
                    self.unsaved.note(key);
                }
            }
            Write::Check(_done) => self.check(),
        }
    }

    fn check(&self) {
        if self.directory.claim() == Claimed::Now
            && let Some(hold) = self.directory.hold()
            && let Err(error) = self.shelf.list(&hold, wall_clock::now())
        {
            hold.abandon(&error);
        }
        if self.directory.is_claimed() {
            self.directory.run_retries();
        }
    }
}

#[cfg(test)]
mod tests;
