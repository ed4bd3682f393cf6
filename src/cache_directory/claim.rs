//! Claim on a directory: an exclusive lock, and the identity of the directory.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::io::Errno;

use super::files::{Files, Operation, is_any_of};

/// A claimed directory. Dropping it gives the lock up.
#[derive(Debug)]
pub(super) struct Claim {
    /// INVARIANT: the lock is on this open file and lasts as long as it is open.
    _lock: File,
    identity: Identity,
    exclusive: bool,
}

/// Identity of a directory (device and inode), because its path may lead to another one later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    device: u64,
    inode: u64,
}

/// Reason why a directory cannot be claimed.
#[derive(Debug)]
pub(super) enum NotClaimed {
    /// Another process has it.
    Busy,
    Failed(io::Error),
}

impl Claim {
    /// Opens a directory, made if need be, and locks it.
    pub(super) fn take(path: &Path, files: &Files) -> Result<Self, NotClaimed> {
        files.before(Operation::Claim, path)?;
        fs::create_dir_all(path)?;
        let lock = File::open(path)?;
        let exclusive = match lock.try_lock() {
            Ok(()) => true,
            Err(TryLockError::WouldBlock) => return Err(NotClaimed::Busy),
            // Some network file systems know no locks; there it has to do without.
            Err(TryLockError::Error(error)) if has_no_locks(&error) => false,
            Err(TryLockError::Error(error)) => return Err(error.into()),
        };
        let identity = Identity::from(&lock.metadata()?);
        Ok(Self { _lock: lock, identity, exclusive })
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    /// Returns true if no other process can have the directory.
    pub(super) fn is_exclusive(&self) -> bool {
        self.exclusive
    }

    /// Returns true if a path leads to the claimed directory.
    pub(super) fn leads_from(&self, path: &Path) -> bool {
        Identity::of(path).is_ok_and(|found| found == self.identity)
    }
}

impl Identity {
    /// Looks up which directory a path leads to.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::from(&fs::metadata(path)?))
    }

    fn from(meta: &fs::Metadata) -> Self {
        Self { device: meta.dev(), inode: meta.ino() }
    }
}

impl From<io::Error> for NotClaimed {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

fn has_no_locks(error: &io::Error) -> bool {
    let codes = [Errno::OPNOTSUPP, Errno::NOSYS, Errno::NOLCK, Errno::INVAL];
    is_any_of(error, &codes)
}
