//! The disk that all processes share: how it behaves, and what must stay on it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::clock;
use super::script::DiskBehaviour;
use crate::cache_directory::files::TEMPORARY_PREFIX;
use crate::cache_directory::{Files, Operation};

/// A directory whose operations fail as told.
pub(crate) struct SimulatedDisk {
    pub(crate) path: PathBuf,
    behaviour: Arc<Mutex<DiskBehaviour>>,
    /// Files that were there when last looked.
    files: Mutex<BTreeSet<String>>,
    /// Files that were damaged at any time.
    damaged: Mutex<BTreeSet<String>>,
}

impl SimulatedDisk {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            behaviour: Arc::new(Mutex::new(DiskBehaviour::Works)),
            files: Mutex::default(),
            damaged: Mutex::default(),
        }
    }

    pub(crate) fn behave(&self, behaviour: DiskBehaviour) {
        clock::set_disk_hangs(behaviour == DiskBehaviour::Hangs);
        *self.behaviour.lock() = behaviour;
    }

    /// Returns the file operations of a process.
    pub(crate) fn operations(&self) -> Files {
        let behaviour = Arc::clone(&self.behaviour);
        Files::with_fault(move |operation, _| {
            let fails = match *behaviour.lock() {
                DiskBehaviour::Works | DiskBehaviour::Hangs => false,
                DiskBehaviour::CannotRead => operation == Operation::Read,
                DiskBehaviour::CannotWrite => {
                    matches!(operation, Operation::Write | Operation::Sync | Operation::Remove)
                }
                DiskBehaviour::CannotClaim => operation == Operation::Claim,
            };
            if fails { Err(io::Error::from_raw_os_error(5)) } else { Ok(()) }
        })
    }

    fn list(&self) -> BTreeSet<String> {
        let entries = self.path.read_dir().into_iter().flatten();
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        names.filter(|name| !name.starts_with(TEMPORARY_PREFIX)).collect()
    }

    /// Returns a file that is gone since the last look. There is room for all that a script makes, so none may go but one
    /// that was damaged.
    pub(crate) fn lost(&self) -> Option<String> {
        let found = self.list();
        let mut files = self.files.lock();
        let damaged = self.damaged.lock();
        let lost = files.difference(&found).find(|name| !damaged.contains(*name)).cloned();
        *files = found;
        lost
    }

    /// Returns true if there is a copy of a feed.
    pub(crate) fn has(&self, feed: &str) -> bool {
        let is_it = |name: &String| {
            std::fs::read(self.path.join(name)).is_ok_and(|file| file.ends_with(feed.as_bytes()))
        };
        self.list().iter().any(is_it)
    }

    /// Damages a copy, if there is any, in a way that its checksum shows.
    pub(crate) fn damage(&self, which: u8) {
        let names: Vec<String> = self.list().into_iter().filter(|name| name.ends_with(".copy")).collect();
        let Some(name) = names.get(usize::from(which) % names.len().max(1)) else { return };
        self.damaged.lock().insert(name.clone());
        overwrite_end(&self.path.join(name)).expect("a file of the test's own");
    }
}

fn overwrite_end(path: &Path) -> io::Result<()> {
    let mut bytes = std::fs::read(path)?;
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    std::fs::write(path, bytes)
}
