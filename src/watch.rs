//! Watches files that may change at any time: events report changes at once, polling finds those without events
//! (bind mounts, NFS, some ConfigMap mounts).

use std::collections::BTreeSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use notify::{EventKind, RecursiveMode, Watcher as _};
use parking_lot::{Condvar, Mutex};
use prometheus_client::metrics::counter::Counter;
use rustix::fs::OFlags;
use tokio::sync::watch;
use tracing::warn;

use crate::panics;
use crate::printable::{joined, listed};

/// How often files are read when no event reports a change: an edit must show within a second.
pub const FILE_POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Pause between an event and the check, for more events to arrive: a directory may see thousands a second.
const DEBOUNCE: Duration = Duration::from_millis(10);

/// Settings of a [`Watch`].
#[derive(Debug)]
pub struct WatchedFiles {
    /// Name of the thread.
    pub name: &'static str,
    /// Files whose directories report events; may be empty.
    pub files: Vec<PathBuf>,
    /// Time between two checks when nothing is reported.
    pub poll_interval: Duration,
    /// Counts the checks that panic.
    pub panics: Counter,
}

/// Reason for a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Check {
    /// The files may have changed.
    IfChanged,
    /// An operator asked for a reload: the files count as changed.
    Forced,
}

/// Handle of a watching thread, which ends when this is dropped.
#[derive(Debug)]
pub struct Watch {
    name: &'static str,
    files: Vec<PathBuf>,
    signal: Arc<Signal>,
    /// Number of the last reload request that was served; disconnects when the thread ends.
    served: watch::Receiver<u64>,
}

/// Pending events and reload requests. Its size does not depend on their number.
#[derive(Debug, Default)]
struct Signal {
    wanted: Mutex<Wanted>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Wanted {
    /// True if an event came since the last check.
    event: bool,
    /// Number of reloads that were ever requested.
    reloads: u64,
    stop: bool,
}

impl Watch {
    /// Starts a thread that calls `check` whenever the files may have changed. A thread of its own, because file
    /// systems may hang.
    ///
    /// `check` returns how long to wait before it must be called again, for the same reason, or nothing if it came
    /// to an end. A check that panics is counted, and the watching goes on.
    ///
    /// # Errors
    /// If no thread can be started. Where file events are not available, polling alone is used.
    pub fn start(
        watched: WatchedFiles,
        check: impl FnMut(Check) -> Option<Duration> + Send + 'static,
    ) -> io::Result<Self> {
        let signal = Arc::new(Signal::default());
        let (progress, served) = watch::channel(0);
        let (name, files) = (watched.name, watched.files.clone());
        let thread_signal = Arc::clone(&signal);
        thread::Builder::new()
            .name(watched.name.to_owned())
            .spawn(move || run(&watched, &thread_signal, &progress, check))?;
        Ok(Self { name, files, signal, served })
    }

    /// Requests a check of the files, changed or not. The returned future completes after the check, or when the thread
    /// ends; it may be dropped at any time.
    pub fn reload(&self) -> impl Future<Output = ()> + use<> {
        let request = self.signal.update(|wanted| {
            wanted.reloads += 1;
            wanted.reloads
        });
        let mut served = self.served.clone();
        async move {
            // It fails only if the thread has ended, and then nothing is left to wait for.
            let _ = served.wait_for(|served| *served >= request).await;
        }
    }
}

impl fmt::Display for Watch {
    /// Formats what is watched, with its files if they are known by name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files: Vec<_> = self.files.iter().map(|file| file.display()).collect();
        match files.is_empty() {
            true => f.write_str(self.name),
            false => write!(f, "{} ({})", self.name, listed(&files)),
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.signal.update(|wanted| wanted.stop = true);
    }
}

impl Signal {
    fn update<T>(&self, change: impl FnOnce(&mut Wanted) -> T) -> T {
        let result = change(&mut self.wanted.lock());
        self.changed.notify_all();
        result
    }

    /// Waits for an event or a reload after `served`, at most `limit`. Returns the number of the last reload
    /// requested, or nothing if the thread must end.
    fn wait(&self, served: u64, limit: Duration) -> Option<u64> {
        let due = Instant::now() + limit;
        let mut wanted = self.wanted.lock();
        while !wanted.stop && !wanted.event && wanted.reloads == served {
            if self.changed.wait_until(&mut wanted, due).timed_out() {
                break;
            }
        }
        let debounce = wanted.event;
        drop(wanted);
        if debounce {
            thread::sleep(DEBOUNCE);
        }
        let mut wanted = self.wanted.lock();
        wanted.event = false;
        (!wanted.stop).then_some(wanted.reloads)
    }

    /// Waits for `pause`. Returns false if the thread must end, which it does not wait for.
    fn pause(&self, pause: Duration) -> bool {
        let due = Instant::now() + pause;
        let mut wanted = self.wanted.lock();
        while !wanted.stop && !self.changed.wait_until(&mut wanted, due).timed_out() {}
        !wanted.stop
    }
}

/// The thread: waits, checks, and waits again until told to stop.
fn run(
    watched: &WatchedFiles,
    signal: &Arc<Signal>,
    progress: &watch::Sender<u64>,
    mut check: impl FnMut(Check) -> Option<Duration>,
) {
    let _events = watch_directories(&watched.files, Arc::clone(signal));
    let mut served = 0;
    while let Some(requested) = signal.wait(served, watched.poll_interval) {
        let why = if requested > served { Check::Forced } else { Check::IfChanged };
        while let Some(pause) = guarded(watched, || check(why)) {
            if !signal.pause(pause) {
                return;
            }
        }
        served = requested;
        progress.send_replace(served);
    }
}

/// Runs one check. A check that panics counts as finished.
fn guarded(watched: &WatchedFiles, check: impl FnOnce() -> Option<Duration>) -> Option<Duration> {
    // What a check leaves half-done it does again when the files change: it keeps only what is sound in any state.
    panics::catch(watched.name, &watched.panics, check).flatten()
}

/// Reads a regular file of at most `max_size` bytes.
///
/// # Errors
/// If it cannot be read, is larger, or is no regular file.
pub fn read(path: &Path, max_size: u64) -> Result<Vec<u8>, String> {
    read_all(open(path).map_err(|error| error.to_string())?, max_size)
}

/// Opens a regular file for reading.
///
/// Never waits for a pipe that somebody put in the file's place, nor takes from it: a pipe can be read only once.
///
/// # Errors
/// If it cannot be opened, or is no regular file.
pub fn open(path: &Path) -> io::Result<File> {
    let nonblocking = OFlags::NONBLOCK.bits().cast_signed();
    let file = File::options().read(true).custom_flags(nonblocking).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a regular file")) }
}

/// Reads a file of at most `max_size` bytes to its end.
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

/// Subscribes to events in the files' directories, because the files themselves may be replaced at any time.
fn watch_directories(files: &[PathBuf], signal: Arc<Signal>) -> Option<notify::RecommendedWatcher> {
    if files.is_empty() {
        return None;
    }
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
            signal.update(|wanted| wanted.event = true);
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::cancel;

    /// Longer than any test may take; what is asserted is that the end comes.
    const LIMIT: Duration = Duration::from_secs(30);

    fn watched(poll_interval: Duration) -> WatchedFiles {
        WatchedFiles { name: "test", files: Vec::new(), poll_interval, panics: Counter::default() }
    }

    #[tokio::test]
    async fn a_check_that_panics_is_counted_and_the_watching_goes_on() {
        let watched = watched(LIMIT);
        let panics = watched.panics.clone();
        let mut checks = 0;
        let watch = Watch::start(watched, move |why| {
            assert_eq!(why, Check::Forced);
            checks += 1;
            assert_ne!(checks, 1, "the check that panics");
            None
        });
        let watch = watch.expect("a thread");
        watch.reload().await;
        assert_eq!(panics.get(), 1);
        watch.reload().await;
        assert_eq!(panics.get(), 1);
    }

    #[test]
    fn dropping_it_ends_the_thread() {
        for pause in [None, Some(LIMIT * 10)] {
            let (alive, ended) = mpsc::channel::<()>();
            let (started, running) = mpsc::channel();
            let watch = Watch::start(watched(LIMIT * 10), move |_| {
                let _alive = &alive;
                started.send(()).expect("a receiver");
                pause
            });
            let watch = watch.expect("a thread");
            drop(watch.reload());
            running.recv().expect("a check");
            drop(watch);
            assert_eq!(ended.recv_timeout(LIMIT), Err(mpsc::RecvTimeoutError::Disconnected), "{pause:?}");
        }
    }

    #[tokio::test]
    async fn a_reload_may_be_dropped_at_every_await() {
        let (checked, checks) = mpsc::channel();
        let (proceed, gate) = mpsc::channel::<()>();
        let watch = Watch::start(watched(LIMIT * 10), move |why| {
            checked.send(why).expect("a receiver");
            let _ = gate.recv();
            None
        });
        let watch = watch.expect("a thread");
        let mut proceed = Some(proceed);
        let run = async || watch.reload();
        let all = cancel::at_every_await(run, async |polls| {
            // Checks are held up until a reload was dropped before its first poll and after it.
            if polls == 1 {
                proceed = None;
            }
        });
        tokio::time::timeout(LIMIT, all).await.expect("a reload that completes");
        assert!(checks.try_iter().all(|why| why == Check::Forced));
    }

    #[tokio::test]
    async fn many_events_and_requests_during_a_check_are_one_more_check() {
        let (checked, checks) = mpsc::channel();
        let (proceed, gate) = mpsc::channel::<()>();
        let watch = Watch::start(watched(LIMIT * 10), move |why| {
            checked.send(why).expect("a receiver");
            gate.recv().expect("a sender");
            None
        });
        let watch = watch.expect("a thread");
        let first = watch.reload();
        checks.recv().expect("a check");
        let others: Vec<_> = (0..10_000)
            .map(|_| {
                watch.signal.update(|wanted| wanted.event = true);
                watch.reload()
            })
            .collect();
        let all = async {
            proceed.send(()).expect("a receiver");
            first.await;
            proceed.send(()).expect("a receiver");
            for other in others {
                other.await;
            }
        };
        tokio::time::timeout(LIMIT, all).await.expect("one more check serves all");
        assert_eq!(checks.try_iter().count(), 1);
    }

    #[tokio::test]
    async fn a_reload_completes_when_the_watching_ends() {
        let (proceed, gate) = mpsc::channel::<()>();
        let watch = Watch::start(watched(LIMIT * 10), move |_| {
            let _ = gate.recv();
            Some(LIMIT * 10)
        });
        let watch = watch.expect("a thread");
        let reload = watch.reload();
        drop(watch);
        drop(proceed);
        tokio::time::timeout(LIMIT, reload).await.expect("an end");
    }
}
