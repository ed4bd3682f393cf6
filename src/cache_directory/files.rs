//! File operations in the cache directory. Tests can make each of them fail or hang.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// Start of the names of files that are being written; no other file's name starts so.
pub(crate) const TEMPORARY_PREFIX: &str = ".tmp-";

/// Kind of file operation, as a label of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Operation {
    /// Opening, locking, checking or listing the directory.
    Claim,
    /// Reading a file.
    Read,
    /// Writing a file under a temporary name and renaming it.
    Write,
    /// Syncing the directory after a rename.
    Sync,
    /// Removing a file.
    Remove,
}

impl Operation {
    pub(crate) const ALL: [Self; 5] = [Self::Claim, Self::Read, Self::Write, Self::Sync, Self::Remove];

    /// Returns its name in metrics and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Claim => "claim",
            Self::Read => "read",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Remove => "remove",
        }
    }
}

/// Called before each operation; it may return an error or block.
type FaultInjector = dyn Fn(Operation, &Path) -> io::Result<()> + Send + Sync;

/// The file operations of the cache directory.
#[derive(Clone, Default)]
pub(crate) struct Files {
    fault: Option<Arc<FaultInjector>>,
}

/// Content and metadata of a file.
#[derive(Debug)]
pub(crate) struct Contents {
    pub(crate) bytes: Vec<u8>,
    pub(crate) modified: SystemTime,
    /// Inode, to recognize the file by.
    pub(crate) inode: u64,
}

impl Files {
    /// Creates file operations that call `fault` first.
    #[cfg(test)]
    pub(crate) fn with_fault(
        fault: impl Fn(Operation, &Path) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self { fault: Some(Arc::new(fault)) }
    }

    /// Lets a fault happen before `operation`.
    pub(super) fn before(&self, operation: Operation, path: &Path) -> io::Result<()> {
        self.fault.as_ref().map_or(Ok(()), |fault| fault(operation, path))
    }

    /// Reads a regular file of at most `max_len` bytes.
    ///
    /// # Errors
    /// If it cannot be read to its end, is longer, or is no regular file. None of these says anything about what
    /// is in the file.
    pub(crate) fn read(&self, path: &Path, max_len: u64) -> io::Result<Contents> {
        self.before(Operation::Read, path)?;
        let (file, meta) = open_regular(path)?;
        if meta.len() > max_len {
            return Err(io::Error::new(ErrorKind::FileTooLarge, format!("longer than {max_len} bytes")));
        }
        let mut bytes = Vec::with_capacity(meta.len() as usize);
        (&file).take(max_len).read_to_end(&mut bytes)?;
        // Some network file systems answer with less than there is when their server is in trouble.
        if bytes.len() as u64 != meta.len() {
            let text = format!("{} of {} bytes could be read", bytes.len(), meta.len());
            return Err(io::Error::new(ErrorKind::UnexpectedEof, text));
        }
        Ok(Contents { bytes, modified: meta.modified()?, inode: meta.ino() })
    }

    /// Reads the first `len` bytes of a regular file, or all if there are fewer.
    pub(crate) fn read_start(&self, path: &Path, len: usize) -> io::Result<Vec<u8>> {
        self.before(Operation::Read, path)?;
        let (file, _) = open_regular(path)?;
        let mut bytes = Vec::with_capacity(len);
        file.take(len as u64).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes a file under a temporary name, syncs it and renames it to `name`: a crash leaves the old or the new
    /// one. The rename itself is durable only after [`Files::sync_directory`].
    pub(super) fn replace(&self, directory: &Path, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let path = directory.join(name);
        self.before(Operation::Write, &path)?;
        let mut file = temporary(directory)?;
        for part in parts {
            file.write_all(part)?;
        }
        sync(file.as_file())?;
        file.persist(path)?;
        Ok(())
    }

    /// Appends to a file, made if need be, and syncs it. If that fails, the file is as long as before, as far as the
    /// system allows.
    pub(super) fn append(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.before(Operation::Write, path)?;
        let options = File::options().append(true).create(true).custom_flags(nonblocking()).clone();
        let mut file = options.open(path)?;
        let len = file.metadata()?.len();
        let written = file.write_all(bytes).and_then(|()| sync(&file));
        if written.is_err() {
            let _ = file.set_len(len);
        }
        written
    }

    /// Writes a few bytes to a file that is removed at once, to find out whether that is possible.
    pub(super) fn probe(&self, directory: &Path) -> io::Result<()> {
        self.before(Operation::Write, directory)?;
        let mut file = temporary(directory)?;
        file.write_all(b"probe")?;
        sync(file.as_file())
    }

    /// Makes the renames in a directory durable.
    pub(super) fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        if_supported(self.before(Operation::Sync, directory))?;
        sync(&File::open(directory)?)
    }

    /// Removes a file. It is no error if it is gone.
    pub(super) fn remove(&self, path: &Path) -> io::Result<()> {
        self.before(Operation::Remove, path)?;
        match fs::remove_file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }

    /// Sets a file's modification time.
    pub(super) fn set_modified(&self, path: &Path, at: SystemTime) -> io::Result<()> {
        self.before(Operation::Write, path)?;
        File::options().write(true).custom_flags(nonblocking()).open(path)?.set_modified(at)
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("fault", &self.fault.is_some()).finish()
    }
}

/// Opens a file without waiting for whoever is on the other side of a pipe or a device.
fn open_regular(path: &Path) -> io::Result<(File, fs::Metadata)> {
    let file = File::options().read(true).custom_flags(nonblocking()).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok((file, meta))
}

fn nonblocking() -> i32 {
    OFlags::NONBLOCK.bits().cast_signed()
}

fn temporary(directory: &Path) -> io::Result<tempfile::NamedTempFile> {
    tempfile::Builder::new().prefix(TEMPORARY_PREFIX).tempfile_in(directory)
}

/// Makes what is in a file or a directory durable.
fn sync(file: &File) -> io::Result<()> {
    // No machine is switched off in a simulation, and syncing would be most of its time.
    #[cfg(test)]
    if crate::sim::clock::is_simulated() {
        return Ok(());
    }
    if_supported(file.sync_all())
}

/// Takes a sync that the file system does not know (some of FUSE, NFS and overlays) for one that succeeded.
fn if_supported(synced: io::Result<()>) -> io::Result<()> {
    match synced {
        Err(error) if is_any_of(&error, &[Errno::INVAL, Errno::OPNOTSUPP, Errno::NOSYS]) => Ok(()),
        synced => synced,
    }
}

/// Returns true if an error has one of these numbers.
pub(super) fn is_any_of(error: &io::Error, numbers: &[Errno]) -> bool {
    error.raw_os_error().is_some_and(|code| numbers.iter().any(|number| number.raw_os_error() == code))
}
