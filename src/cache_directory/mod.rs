//! The cache directory: claimed by one process at a time, and monitored while that runs.
//!
//! Two processes that write there would remove each other's files and forget each other's news, so the directory
//! is locked (`flock` on the directory itself). One that cannot be had now, because another process still uses it
//! or because of any error, is tried again; one that is replaced (unmounted, mounted, moved) is claimed anew.
//! Reading needs no claim. All methods but those that say otherwise block on the disk.

mod claim;
pub(crate) mod files;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};
use std::{fmt, mem};

use parking_lot::{Mutex, MutexGuard};
use prometheus_client::metrics::counter::Counter;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::metrics::{Metrics, OperationName};
use claim::{Claim, Identity, NotClaimed};
pub(crate) use files::{Files, Operation};

/// Shortest time between two log lines about failures of one operation: a broken disk fails all the time.
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// Most retries that wait for the directory. Each user of it has at most one.
const MAX_RETRIES: usize = 16;

/// Handle of the cache directory, claimed or not.
pub struct CacheDirectory {
    path: PathBuf,
    files: Files,
    /// Locked during each change in the directory, and then possibly for as long as the disk hangs.
    ownership: Mutex<Ownership>,
    /// Set first when the directory is given up, so that whoever holds it gives the lock up when done.
    given_up: AtomicBool,
    /// Number of claims so far.
    claims: AtomicU64,
    /// The directory that is claimed. Only ever locked for a moment.
    identity: Mutex<Option<Identity>>,
    /// Only ever locked for a moment.
    status: Mutex<Status>,
    retries: Mutex<Vec<Box<dyn FnOnce() + Send>>>,
    failures: [OperationFailures; Operation::ALL.len()],
}

#[derive(Debug)]
enum Ownership {
    NotClaimed,
    Claimed(Claim),
    GivenUp,
}

/// State of the directory, with the reason why it cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Not examined yet.
    Unknown,
    /// Claimed, and the last operation succeeded.
    Usable,
    /// Another process has it.
    Busy,
    /// It cannot be opened, locked or listed.
    Unavailable(String),
    /// It is claimed and can be read, but the last write failed.
    NotWritable(String),
    /// An operation hangs.
    Hanging,
    /// This process is stopping and has left it to the next one.
    GivenUp,
}

/// Result of an attempt to claim the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claimed {
    /// Claimed just now. Its content is not known yet.
    Now,
    /// Claimed before.
    Before,
    No,
}

/// Right to change files in the directory. While it is held, the directory stays claimed.
#[derive(Debug)]
pub(crate) struct Hold<'a> {
    directory: &'a CacheDirectory,
    ownership: MutexGuard<'a, Ownership>,
}

#[derive(Debug)]
struct OperationFailures {
    count: Counter,
    log: Mutex<LogLimit>,
}

#[derive(Debug, Default)]
struct LogLimit {
    last: Option<Instant>,
    suppressed: u64,
}

impl CacheDirectory {
    /// Creates the handle of a directory, without opening it.
    pub fn new(path: &Path, metrics: &Metrics) -> Arc<Self> {
        Self::with_files(path, metrics, Files::default())
    }

    pub(crate) fn with_files(path: &Path, metrics: &Metrics, files: Files) -> Arc<Self> {
        let failures = Operation::ALL.map(|operation| {
            let label = OperationName { operation: operation.name() };
            let count = metrics.cache_directory_failures.get_or_create(&label).clone();
            OperationFailures { count, log: Mutex::default() }
        });
        Arc::new(Self {
            path: path.to_owned(),
            files,
            ownership: Mutex::new(Ownership::NotClaimed),
            given_up: AtomicBool::new(false),
            claims: AtomicU64::new(0),
            identity: Mutex::default(),
            status: Mutex::new(Status::Unknown),
            retries: Mutex::default(),
            failures,
        })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn files(&self) -> &Files {
        &self.files
    }

    /// Returns the state of the directory. Does not block.
    pub fn status(&self) -> Status {
        self.status.lock().clone()
    }

    /// Returns true if it is claimed, as far as is known. Does not block.
    pub(crate) fn is_claimed(&self) -> bool {
        self.identity.lock().is_some()
    }

    /// Returns how often it was claimed: what is known about the files there is known under one claim only. The number
    /// does not change while it is held. Does not block.
    pub(crate) fn claims(&self) -> u64 {
        self.claims.load(Ordering::SeqCst)
    }

    /// Returns true if its path still leads to the directory that is claimed.
    pub(crate) fn is_in_place(&self) -> bool {
        let claimed = *self.identity.lock();
        claimed.is_some_and(|claimed| Identity::of(&self.path).is_ok_and(|found| found == claimed))
    }

    /// Claims the directory, made if need be, or checks that it still is claimed. After a failed write, finds out
    /// whether writes succeed again.
    pub(crate) fn claim(&self) -> Claimed {
        let mut ownership = self.ownership.lock();
        if let Ownership::Claimed(claim) = &*ownership
            && claim.leads_from(&self.path)
        {
            if matches!(self.status(), Status::NotWritable(_)) {
                self.set_status(self.probe());
            }
            return Claimed::Before;
        }
        if self.given_up.load(Ordering::SeqCst) {
            return Claimed::No;
        }
        self.lose(&mut ownership);
        match Claim::take(&self.path, &self.files) {
            Ok(claim) => {
                self.claims.fetch_add(1, Ordering::SeqCst);
                *self.identity.lock() = Some(claim.identity());
                *ownership = Ownership::Claimed(claim);
                self.set_status(self.probe());
                Claimed::Now
            }
            Err(NotClaimed::Busy) => {
                self.set_status(Status::Busy);
                Claimed::No
            }
            Err(NotClaimed::Failed(error)) => {
                self.count(Operation::Claim);
                self.set_status(Status::Unavailable(error.to_string()));
                Claimed::No
            }
        }
    }

    /// Waits until nobody else changes the directory and returns the right to do so, if it is claimed.
    pub(crate) fn hold(&self) -> Option<Hold<'_>> {
        self.held(self.ownership.lock())
    }

    /// As [`CacheDirectory::hold`], but waits for `limit` at most.
    pub(crate) fn hold_within(&self, limit: Duration) -> Option<Hold<'_>> {
        self.held(self.ownership.try_lock_for(limit)?)
    }

    fn held<'a>(&'a self, mut ownership: MutexGuard<'a, Ownership>) -> Option<Hold<'a>> {
        if self.given_up.load(Ordering::SeqCst) {
            return None;
        }
        let Ownership::Claimed(claim) = &*ownership else { return None };
        if !claim.leads_from(&self.path) {
            self.lose(&mut ownership);
            return None;
        }
        Some(Hold { directory: self, ownership })
    }

    /// Gives the directory up for good: nothing is changed there any more. Waits at most `limit` for a change that
    /// is under way; returns false if it goes on. The lock is then given up when that ends.
    pub(crate) fn give_up(&self, limit: Duration) -> bool {
        self.given_up.store(true, Ordering::SeqCst);
        self.set_status(Status::GivenUp);
        self.retries.lock().clear();
        let Some(mut ownership) = self.ownership.try_lock_for(limit) else { return false };
        self.lose(&mut ownership);
        *ownership = Ownership::GivenUp;
        true
    }

    /// Schedules `retry` for the next check of the directory, on the thread of the check.
    pub(crate) fn retry_later(&self, retry: impl FnOnce() + Send + 'static) {
        let mut retries = self.retries.lock();
        if retries.len() < MAX_RETRIES && !self.given_up.load(Ordering::SeqCst) {
            retries.push(Box::new(retry));
        }
    }

    /// Runs the scheduled retries.
    pub(crate) fn run_retries(&self) {
        let retries = mem::take(&mut *self.retries.lock());
        retries.into_iter().for_each(|retry| retry());
    }

    /// Counts a failed operation on a file, and logs it unless one was logged a moment ago.
    pub(crate) fn failed(&self, operation: Operation, path: &Path, error: &io::Error) {
        self.count(operation);
        let now = Instant::now();
        let suppressed = {
            let mut log = self.failures[operation as usize].log.lock();
            if log.last.is_some_and(|last| now.saturating_duration_since(last) < LOG_INTERVAL) {
                log.suppressed += 1;
                return;
            }
            log.last = Some(now);
            mem::take(&mut log.suppressed)
        };
        let operation = operation.name();
        warn!(operation, path = %path.display(), %error, suppressed, "the cache directory fails");
    }

    fn count(&self, operation: Operation) {
        self.failures[operation as usize].count.inc();
    }

    /// Forgets the claim, which gives up the lock.
    fn lose(&self, ownership: &mut Ownership) {
        if matches!(ownership, Ownership::Claimed(_)) {
            *ownership = Ownership::NotClaimed;
        }
        *self.identity.lock() = None;
    }

    /// Finds out whether files can be written.
    fn probe(&self) -> Status {
        match self.files.probe(&self.path) {
            Ok(()) => Status::Usable,
            Err(error) => {
                self.count(Operation::Write);
                Status::NotWritable(error.to_string())
            }
        }
    }

    /// Stores the state, and logs it if it has changed.
    fn set_status(&self, status: Status) {
        let mut current = self.status.lock();
        // INVARIANT: a directory that was given up stays so, whatever an operation under way finds.
        if *current == status || *current == Status::GivenUp {
            return;
        }
        let before = mem::replace(&mut *current, status.clone());
        drop(current);
        let directory = self.path.display();
        match status {
            Status::Usable if before != Status::Unknown => {
                info!(%directory, "the cache directory is usable again")
            }
            Status::Busy => {
                warn!(%directory, "another proxy uses it, so it is not used here until that one leaves it");
            }
            Status::Unavailable(error) => warn!(%directory, error, "no cache directory; it is tried again"),
            Status::NotWritable(error) => {
                warn!(%directory, error, "the cache directory cannot be written; copies in it are used");
            }
            Status::Usable | Status::Unknown | Status::Hanging | Status::GivenUp => {}
        }
    }
}

impl Hold<'_> {
    /// Writes a file, whole or not at all.
    pub(crate) fn write(&self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let directory = self.directory;
        let written = directory.files.replace(&directory.path, name, parts);
        if let Err(error) = &written {
            directory.failed(Operation::Write, &directory.path.join(name), error);
            directory.set_status(Status::NotWritable(error.to_string()));
            return written;
        }
        directory.set_status(Status::Usable);
        // The file is there, and stays unless the machine itself fails before the system writes the directory.
        if let Err(error) = directory.files.sync_directory(&directory.path) {
            directory.failed(Operation::Sync, &directory.path, &error);
        }
        Ok(())
    }

    /// Appends to a file, whole or not at all, and syncs it.
    pub(crate) fn append(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let directory = self.directory;
        let path = directory.path.join(name);
        let appended = directory.files.append(&path, bytes);
        match &appended {
            Ok(()) => directory.set_status(Status::Usable),
            Err(error) => {
                directory.failed(Operation::Write, &path, error);
                directory.set_status(Status::NotWritable(error.to_string()));
            }
        }
        appended
    }

    /// Removes a file. It is no error if it is gone.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        let path = self.directory.path.join(name);
        let removed = self.directory.files.remove(&path);
        removed.inspect_err(|error| self.directory.failed(Operation::Remove, &path, error))
    }

    /// Sets a file's modification time.
    pub(crate) fn set_modified(&self, name: &str, at: SystemTime) -> io::Result<()> {
        self.directory.files.set_modified(&self.directory.path.join(name), at)
    }

    /// Returns true if no other process can have the directory: file systems without locks give no such promise.
    pub(crate) fn is_exclusive(&self) -> bool {
        matches!(&*self.ownership, Ownership::Claimed(claim) if claim.is_exclusive())
    }

    /// Gives the claim up because of an error; the directory is tried again.
    pub(crate) fn abandon(mut self, error: &io::Error) {
        self.directory.failed(Operation::Claim, &self.directory.path, error);
        self.directory.set_status(Status::Unavailable(error.to_string()));
        self.directory.lose(&mut self.ownership);
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        if self.directory.given_up.load(Ordering::SeqCst) {
            self.directory.lose(&mut self.ownership);
        }
    }
}

impl fmt::Debug for CacheDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheDirectory").field("path", &self.path).field("status", &self.status()).finish()
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("not opened yet"),
            Self::Usable => f.write_str("usable"),
            Self::Busy => f.write_str("another process uses it"),
            Self::Unavailable(error) => write!(f, "cannot be opened: {error}"),
            Self::NotWritable(error) => write!(f, "cannot be written: {error}"),
            Self::Hanging => f.write_str("does not answer"),
            Self::GivenUp => f.write_str("given up: this process is stopping"),
        }
    }
}

#[cfg(test)]
mod tests;
