//! The whitelist file, watched: the newest good list is always at hand.
//!
//! File events make an edit show at once; polling finds those that send none (bind mounts, NFS, some
//! ConfigMap mounts). A file that is broken, half-written or gone changes nothing but the status.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tracing::{info, warn};

use super::{Finding, Whitelist, mount};
use crate::printable::joined;
use crate::watch::{self, Watch};

/// How long a good file must stay as it is before it counts: editors write in several steps.
const SETTLE: Duration = Duration::from_millis(30);

/// How long a broken or missing file must stay so before it is reported: it may be half-written, or
/// between an editor's backup and its new file.
const SETTLE_BROKEN: Duration = Duration::from_millis(250);

/// Most times in a row that a file is found changed again before it is taken as it is.
const MAX_SETTLE_ROUNDS: usize = 8;

/// Largest file that is read; a list of all extensions there are has some 10 KB.
pub const MAX_FILE_SIZE: u64 = 1 << 20;

/// Why a whitelist cannot be used; names the file and the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read whitelist {}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        reason: String,
    },
    /// The file is not a whitelist.
    #[error("{}:{finding}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong where.
        finding: Finding,
    },
}

/// What the last attempts to load led to.
#[derive(Debug, Clone)]
pub struct Status {
    /// When the current list was loaded.
    pub loaded_at: SystemTime,
    /// Why the file as it is now is not in use, if it is not.
    pub last_error: Option<LoadError>,
}

/// The newest good list of one file.
#[derive(Debug)]
pub struct WatchedWhitelist {
    path: PathBuf,
    current: ArcSwap<Whitelist>,
    status: Mutex<Status>,
    /// What the file was like when it was last looked at; only the watching thread takes it for long.
    seen: Mutex<Content>,
}

/// The file's content, or why there is none.
type Content = Result<Vec<u8>, String>;

impl WatchedWhitelist {
    /// Loads the list for the first time.
    ///
    /// # Errors
    /// If there is no good list to start with.
    pub fn load(path: &Path) -> Result<Arc<Self>, LoadError> {
        let content = watch::read(path, MAX_FILE_SIZE);
        let (list, warnings) = parse(path, &content, 1)?;
        report(path, &warnings);
        if mount::is_mount_point(path) {
            warn!(path = %path.display(), "the whitelist file is itself a mount point, so edits that \
                  replace the file will not be seen: mount its directory instead");
        }
        let status = Status { loaded_at: SystemTime::now(), last_error: None };
        Ok(Arc::new(Self {
            path: path.to_owned(),
            current: ArcSwap::from_pointee(list),
            status: Mutex::new(status),
            seen: Mutex::new(content),
        }))
    }

    /// Returns the newest good list.
    pub fn current(&self) -> Arc<Whitelist> {
        self.current.load_full()
    }

    /// Returns what the last attempts to load led to.
    pub fn status(&self) -> Status {
        lock(&self.status).clone()
    }

    /// Starts watching, on a thread of its own because file systems may hang.
    ///
    /// # Errors
    /// If no thread can be started. Without file events, polling goes on alone.
    pub fn watch(self: &Arc<Self>) -> io::Result<Watch> {
        let list = Arc::clone(self);
        Watch::start("whitelist", vec![self.path.clone()], move |force| list.check(force))
    }

    /// Looks at the file and loads it if it changed, or in any case with `force`.
    fn check(&self, force: bool) {
        let mut seen = lock(&self.seen);
        let mut content = watch::read(&self.path, MAX_FILE_SIZE);
        if !force && content == *seen {
            return;
        }
        let generation = self.current.load().generation + 1;
        let mut parsed = parse(&self.path, &content, generation);
        for _ in 0..MAX_SETTLE_ROUNDS {
            thread::sleep(if parsed.is_ok() { SETTLE } else { SETTLE_BROKEN });
            let again = watch::read(&self.path, MAX_FILE_SIZE);
            if again == content {
                break;
            }
            content = again;
            parsed = parse(&self.path, &content, generation);
        }
        if !force && content == *seen {
            return;
        }
        *seen = content;
        self.apply(parsed);
    }

    fn apply(&self, parsed: Result<(Whitelist, Vec<Finding>), LoadError>) {
        let mut status = lock(&self.status);
        match parsed {
            Ok((list, warnings)) => {
                report(&self.path, &warnings);
                let before = self.current.load();
                info!(
                    path = %self.path.display(), generation = list.generation, codes = list.len(),
                    added = %joined(&list.minus(&before)), removed = %joined(&before.minus(&list)), "whitelist reloaded"
                );
                self.current.store(Arc::new(list));
                *status = Status { loaded_at: SystemTime::now(), last_error: None };
            }
            Err(error) => {
                warn!(%error, generation = self.current.load().generation, "whitelist not reloaded, the last good one stays");
                status.last_error = Some(error);
            }
        }
    }
}

/// Reads the bytes of a list that is looked at only, so it may come through a pipe.
///
/// # Errors
/// If it cannot be read, or is far too large.
pub fn read_file(path: &Path) -> Result<Vec<u8>, LoadError> {
    let content = File::open(path).map_err(|error| error.to_string());
    let content = content.and_then(|file| watch::read_all(file, MAX_FILE_SIZE));
    content.map_err(|reason| LoadError::Read { path: path.to_owned(), reason })
}

/// Reads the bytes of a list that is to be edited, so it must be a file.
///
/// # Errors
/// If it cannot be read, or is far too large.
pub fn read_editable(path: &Path) -> Result<Vec<u8>, LoadError> {
    watch::read(path, MAX_FILE_SIZE).map_err(|reason| LoadError::Read { path: path.to_owned(), reason })
}

/// Loads a list that is not watched, and so may come through a pipe.
///
/// # Errors
/// If it is none.
pub fn load_once(path: &Path) -> Result<Whitelist, LoadError> {
    let (list, warnings) = parse(path, &Ok(read_file(path)?), 1)?;
    report(path, &warnings);
    Ok(list)
}

fn parse(path: &Path, content: &Content, generation: u64) -> Result<(Whitelist, Vec<Finding>), LoadError> {
    let path = || path.to_owned();
    match content {
        Ok(bytes) => {
            Whitelist::parse(bytes, generation).map_err(|finding| LoadError::Parse { path: path(), finding })
        }
        Err(reason) => Err(LoadError::Read { path: path(), reason: reason.clone() }),
    }
}

fn report(path: &Path, warnings: &[Finding]) {
    for finding in warnings {
        warn!("{}:{finding}", path.display());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What is inside is replaced whole, so it is sound even after a panic.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::time::Instant;

    use super::*;

    /// Fails the test if a reload takes longer than anyone would wait; what is asserted is that it comes.
    const PATIENCE: Duration = Duration::from_secs(20);

    struct Fixture {
        directory: tempfile::TempDir,
        list: Arc<WatchedWhitelist>,
        watch: Watch,
    }

    impl Fixture {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            fs::write(directory.path().join("whitelist.toml"), text("first")).expect("a file");
            Self::watching(directory)
        }

        fn watching(directory: tempfile::TempDir) -> Self {
            let list = WatchedWhitelist::load(&directory.path().join("whitelist.toml")).expect("a list");
            let watch = list.watch().expect("a thread");
            Self { directory, list, watch }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.directory.path().join(name)
        }

        fn wait(&self, what: &str, until: impl Fn(&WatchedWhitelist) -> bool) {
            let start = Instant::now();
            while !until(&self.list) {
                assert!(start.elapsed() < PATIENCE, "never saw {what}");
                thread::sleep(Duration::from_millis(5));
            }
        }

        fn wait_for(&self, code: &str) {
            self.wait(code, |list| list.current().contains(code));
        }

        fn wait_for_error(&self, part: &str) {
            self.wait(part, |list| {
                list.status().last_error.is_some_and(|error| error.to_string().contains(part))
            });
        }
    }

    fn text(code: &str) -> String {
        format!("extensions = [\"{code}\"]\n")
    }

    #[test]
    fn sees_a_write_in_place() {
        let fixture = Fixture::new();
        fs::write(fixture.path("whitelist.toml"), text("second")).expect("a write");
        fixture.wait_for("second");
        assert!(!fixture.list.current().contains("first"));
    }

    #[test]
    fn sees_a_rename_over_and_a_backup_and_write() {
        let fixture = Fixture::new();
        fs::write(fixture.path("new"), text("second")).expect("a write");
        fs::rename(fixture.path("new"), fixture.path("whitelist.toml")).expect("a rename");
        fixture.wait_for("second");
        fs::rename(fixture.path("whitelist.toml"), fixture.path("whitelist.toml~")).expect("a backup");
        fs::write(fixture.path("whitelist.toml"), text("third")).expect("a write");
        fixture.wait_for("third");
        assert!(fixture.list.status().last_error.is_none());
    }

    #[test]
    fn sees_a_config_map_swap() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = |name: &str| directory.path().join(name);
        for (version, code) in [("..v1", "first"), ("..v2", "second")] {
            fs::create_dir(path(version)).expect("a version");
            fs::write(path(version).join("whitelist.toml"), text(code)).expect("a write");
        }
        symlink("..v1", path("..data")).expect("a link");
        symlink("..data/whitelist.toml", path("whitelist.toml")).expect("a link");
        symlink("..v2", path("..data_tmp")).expect("a link");
        let fixture = Fixture::watching(directory);
        fs::rename(fixture.path("..data_tmp"), fixture.path("..data")).expect("a swap");
        fixture.wait_for("second");
    }

    #[test]
    fn polls_where_no_events_come() {
        let (away, directory) =
            (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("one"));
        // Events of a link's target come from a directory that is not watched.
        fs::write(away.path().join("list"), text("first")).expect("a write");
        symlink(away.path().join("list"), directory.path().join("whitelist.toml")).expect("a link");
        let fixture = Fixture::watching(directory);
        fs::write(away.path().join("list"), text("second")).expect("a write");
        fixture.wait_for("second");
    }

    #[test]
    fn keeps_the_last_good_list() {
        let fixture = Fixture::new();
        fs::write(fixture.path("whitelist.toml"), "extensions = [\"second\"\nx").expect("a write");
        fixture.wait_for_error("whitelist.toml:2:1: ");
        fs::write(fixture.path("whitelist.toml"), "").expect("a write");
        fixture.wait_for_error("missing field");
        fs::remove_file(fixture.path("whitelist.toml")).expect("a removal");
        fixture.wait_for_error("No such file");
        assert!(fixture.list.current().contains("first"));
        assert_eq!(fixture.list.current().generation, 1);
        fs::write(fixture.path("whitelist.toml"), text("second")).expect("a write");
        fixture.wait_for("second");
        assert!(fixture.list.status().last_error.is_none());
    }

    #[test]
    fn reloads_when_told() {
        let fixture = Fixture::new();
        drop(fixture.watch.reload());
        fixture.wait("a new generation", |list| list.current().generation == 2);
        assert!(fixture.list.current().contains("first"));
    }

    #[test]
    fn names_the_file_that_it_cannot_start_with() {
        let error = WatchedWhitelist::load(Path::new("/no/such/list.toml")).expect_err("no file");
        assert_eq!(
            error.to_string(),
            "cannot read whitelist /no/such/list.toml: No such file or directory (os error 2)"
        );
    }
}
