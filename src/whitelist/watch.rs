//! The whitelist file: reloaded while it is served, and read once by commands.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use super::{LoggedChanges, Whitelist, mount};
use crate::policy::document::Finding;
use crate::policy::{HostsKey, Policy, Rules};
use crate::reloading::{FileContents, Parsed, Part, Reloadable, Reloading, Settle};
use crate::{wall_clock, watch};

/// Time that a valid file must stay unchanged before it is taken: editors write in several steps.
const SETTLE: Duration = Duration::from_millis(30);

/// Time that a broken or missing file must stay so before it is reported: it may be half-written, or between an
/// editor's backup and its new file.
const SETTLE_BROKEN: Duration = Duration::from_millis(250);

/// Largest file that is read; a list of all extensions there are has some 10 KB.
pub const MAX_FILE_SIZE: u64 = 1 << 20;

/// Error of reading a whitelist; names the file and the place.
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
        /// The problem and its place.
        finding: Finding,
    },
}

/// The last good list of one file.
pub type WatchedWhitelist = Reloading<Whitelist>;

impl WatchedWhitelist {
    /// Returns the rules that are in force now.
    pub fn rules(&self) -> Arc<Rules> {
        self.current().rules(wall_clock::now())
    }
}

/// Loads the list of a file for the first time.
///
/// # Errors
/// If there is no good list to start with.
pub fn load(path: &Path) -> Result<Arc<WatchedWhitelist>, LoadError> {
    let list = Reloading::load(path.to_owned())?;
    if mount::is_mount_point(path) {
        warn!(path = %path.display(), "the whitelist file is itself a mount point, so edits that \
              replace the file will not be seen: mount its directory instead");
    }
    Ok(list)
}

impl Reloadable for Whitelist {
    type Origin = PathBuf;
    type Error = LoadError;
    const NAME: &'static str = "whitelist";
    const SETTLE: Settle = Settle { good: SETTLE, broken: SETTLE_BROKEN };

    fn files(path: &PathBuf) -> Vec<PathBuf> {
        vec![path.clone()]
    }

    fn read(path: &PathBuf) -> Vec<Part> {
        vec![watch::read(path, MAX_FILE_SIZE)]
    }

    fn parse(path: &PathBuf, content: FileContents<'_, Self>) -> Result<Parsed<Self>, LoadError> {
        let bytes = match &content.parts[0] {
            Ok(bytes) => bytes,
            Err(reason) => return Err(LoadError::Read { path: path.clone(), reason: reason.clone() }),
        };
        let (policy, warnings) = parse(path, bytes)?;
        Ok(Parsed { value: Self::new(policy, wall_clock::now()), warnings })
    }

    fn log_loaded(path: &PathBuf, before: Option<&Self>, now: &Self) {
        let Some(before) = before else { return };
        let today = wall_clock::now();
        let changes = LoggedChanges::between(&before.rules(today), &now.rules(today));
        let LoggedChanges { added, retired, hidden, removed } = &changes;
        let entries = now.policy().entries().len();
        info!(path = %path.display(), entries, %added, retired, hidden, %removed, "whitelist reloaded");
    }
}

/// Reads the content of a whitelist that is not edited, so it may come through a pipe.
///
/// # Errors
/// If it cannot be read, or is too large.
pub fn read_file(path: &Path) -> Result<Vec<u8>, LoadError> {
    let content = File::open(path).map_err(|error| error.to_string());
    let content = content.and_then(|file| watch::read_all(file, MAX_FILE_SIZE));
    content.map_err(|reason| LoadError::Read { path: path.to_owned(), reason })
}

/// Reads the content of a whitelist that is to be edited, so it must be a regular file.
///
/// # Errors
/// If it cannot be read, or is too large.
pub fn read_editable(path: &Path) -> Result<Vec<u8>, LoadError> {
    watch::read(path, MAX_FILE_SIZE).map_err(|reason| LoadError::Read { path: path.to_owned(), reason })
}

/// Loads a whitelist once. It may come through a pipe.
///
/// # Errors
/// If it cannot be read or is no whitelist.
pub fn load_once(path: &Path) -> Result<Policy, LoadError> {
    let (policy, warnings) = parse(path, &read_file(path)?)?;
    for warning in warnings {
        warn!("{warning}");
    }
    Ok(policy)
}

/// Parses a file's bytes; the warnings name the file and the place.
fn parse(path: &Path, bytes: &[u8]) -> Result<(Policy, Vec<String>), LoadError> {
    let (policy, warnings) = Policy::parse(bytes, HostsKey::Refused)
        .map_err(|finding| LoadError::Parse { path: path.to_owned(), finding })?;
    let named = |finding: &Finding| format!("{}:{finding}", path.display());
    Ok((policy, warnings.iter().map(named).collect()))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::thread;
    use std::time::Instant;

    use prometheus_client::metrics::counter::Counter;

    use super::*;
    use crate::watch::Watch;

    /// Fails the test if a reload takes longer than anyone would wait; what is asserted is that it comes.
    const PATIENCE: Duration = Duration::from_secs(20);

    struct WatchedFile {
        directory: tempfile::TempDir,
        list: Arc<WatchedWhitelist>,
        watch: Watch,
    }

    impl WatchedFile {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            fs::write(directory.path().join("whitelist.toml"), text("first")).expect("a file");
            Self::watching(directory)
        }

        fn watching(directory: tempfile::TempDir) -> Self {
            let list = load(&directory.path().join("whitelist.toml")).expect("a list");
            let watch = list.watch(Counter::default()).expect("a thread");
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
            self.wait(code, |list| list.rules().has_code(code));
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
        let fixture = WatchedFile::new();
        fs::write(fixture.path("whitelist.toml"), text("second")).expect("a write");
        fixture.wait_for("second");
        assert!(!fixture.list.rules().has_code("first"));
    }

    #[test]
    fn sees_a_rename_over_and_a_backup_and_write() {
        let fixture = WatchedFile::new();
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
        let fixture = WatchedFile::watching(directory);
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
        let fixture = WatchedFile::watching(directory);
        fs::write(away.path().join("list"), text("second")).expect("a write");
        fixture.wait_for("second");
    }

    #[test]
    fn keeps_the_last_good_list() {
        let fixture = WatchedFile::new();
        fs::write(fixture.path("whitelist.toml"), "extensions = [\"second\"\nx").expect("a write");
        fixture.wait_for_error("whitelist.toml:2:1: ");
        fs::write(fixture.path("whitelist.toml"), "").expect("a write");
        fixture.wait_for_error("missing key");
        fs::remove_file(fixture.path("whitelist.toml")).expect("a removal");
        fixture.wait_for_error("No such file");
        assert!(fixture.list.rules().has_code("first"));
        assert_eq!(fixture.list.status().generation, 1);
        fs::write(fixture.path("whitelist.toml"), text("second")).expect("a write");
        fixture.wait_for("second");
        assert!(fixture.list.status().last_error.is_none());
    }

    #[test]
    fn reloads_when_told() {
        let fixture = WatchedFile::new();
        drop(fixture.watch.reload());
        fixture.wait("a new generation", |list| list.status().generation == 2);
        assert!(fixture.list.rules().has_code("first"));
    }

    #[test]
    fn names_the_file_that_it_cannot_start_with() {
        let error = load(Path::new("/no/such/list.toml")).expect_err("no file");
        assert_eq!(
            error.to_string(),
            "cannot read whitelist /no/such/list.toml: No such file or directory (os error 2)"
        );
    }
}
