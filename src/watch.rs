//! Files that may change any time: events say so at once, polling finds those changes that send none (bind
//! mounts, NFS, some ConfigMap mounts).

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use notify::{EventKind, RecursiveMode, Watcher as _};
use rustix::fs::OFlags;
use tokio::sync::oneshot;
use tracing::warn;

use crate::printable::joined;

/// How often files are looked at when no event says that they changed: an edit must show within a second.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// How long to wait for more events after one: a directory may see thousands a second.
const DEBOUNCE: Duration = Duration::from_millis(10);

/// Keeps the watching going until dropped.
#[derive(Debug)]
pub struct Watch {
    wake: Sender<Wake>,
}

#[derive(Debug)]
enum Wake {
    /// Something happened near the files.
    Event,
    /// Look at them even if nothing did; the sender is dropped afterwards.
    Reload(oneshot::Sender<()>),
    Stop,
}

impl Watch {
    /// Has `check` called whenever `files` may have changed; with `true` it is to take them in any case.
    ///
    /// That is done on a thread of its own, named `name`, because file systems may hang.
    ///
    /// # Errors
    /// If no thread can be started. Without file events, polling goes on alone.
    pub fn start(
        name: &str,
        files: Vec<PathBuf>,
        mut check: impl FnMut(bool) + Send + 'static,
    ) -> io::Result<Self> {
        let (wake, wakes) = mpsc::channel();
        let events = wake.clone();
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _watcher = watch_directories(&files, events);
            loop {
                let mut reloads = Vec::new();
                let first = match wakes.recv_timeout(POLL_INTERVAL) {
                    Ok(wake) => Some(wake),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return,
                };
                if matches!(first, Some(Wake::Event)) {
                    thread::sleep(DEBOUNCE);
                }
                for wake in first.into_iter().chain(wakes.try_iter()) {
                    match wake {
                        Wake::Event => {}
                        Wake::Reload(done) => reloads.push(done),
                        Wake::Stop => return,
                    }
                }
                check(!reloads.is_empty());
            }
        })?;
        Ok(Self { wake })
    }

    /// Has the files looked at again, changed or not; what is returned completes afterwards.
    pub fn reload(&self) -> impl Future<Output = ()> + use<> {
        let (done, looked) = oneshot::channel();
        // It fails only if the thread is gone, and that ends with `self`.
        let _ = self.wake.send(Wake::Reload(done));
        async move {
            // Nothing is ever sent: the end of the sender is the news.
            let _ = looked.await;
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.wake.send(Wake::Stop);
    }
}

/// Reads a file of at most so many bytes.
///
/// Never waits for a pipe that somebody put in the file's place, nor takes what it says: it could be read once
/// only.
///
/// # Errors
/// Why there is no such file.
pub fn read(path: &Path, max_size: u64) -> Result<Vec<u8>, String> {
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let open = || {
        let file = File::options().read(true).custom_flags(nonblocking).open(path)?;
        Ok((file.metadata()?.is_file(), file))
    };
    match open().map_err(|error: io::Error| error.to_string())? {
        (true, file) => read_all(file, max_size),
        (false, _) => Err("it is not a regular file".to_owned()),
    }
}

/// Reads at most so many bytes to their end.
///
/// # Errors
/// If there are more, or they cannot be read.
pub fn read_all(file: File, max_size: u64) -> Result<Vec<u8>, String> {
    let mut content = Vec::new();
    match file.take(max_size + 1).read_to_end(&mut content) {
        Ok(len) if len as u64 > max_size => Err(format!("more than {max_size} bytes")),
        Ok(_) => Ok(content),
        Err(error) => Err(error.to_string()),
    }
}

/// Asks the system for events in the files' directories: the files themselves may be replaced any time.
fn watch_directories(files: &[PathBuf], events: Sender<Wake>) -> Option<notify::RecommendedWatcher> {
    let directories: BTreeSet<&Path> = files
        .iter()
        .map(|file| match file.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        })
        .collect();
    let on_event = move |event: notify::Result<notify::Event>| {
        // Reading a file is an event as well.
        if !event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
            // The thread may have ended before its watcher.
            let _ = events.send(Wake::Event);
        }
    };
    let watcher = notify::recommended_watcher(on_event).and_then(|mut watcher| {
        for directory in &directories {
            watcher.watch(directory, RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    });
    let directories: Vec<_> = directories.iter().map(|directory| directory.display()).collect();
    let directories = joined(&directories);
    watcher.inspect_err(|error| warn!(%directories, %error, "no file events, so files are only polled")).ok()
}
