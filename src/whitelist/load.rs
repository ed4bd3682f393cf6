//! The whitelist file, read once: by the shops each time it changes, and by commands.

use std::fs::File;
use std::path::{Path, PathBuf};

use tracing::warn;

use crate::place::Excerpt;
use crate::policy::document::Finding;
use crate::policy::{HostsKey, Policy};
use crate::watch;

/// Largest file that is read; a list of all extensions there are has some 10 KB.
pub const MAX_FILE_SIZE: u64 = 1 << 20;

/// Error of reading a whitelist; names the file and the place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read whitelist {}: {reason}", path.display())]
    Read {
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
    /// The file is not a whitelist.
    #[error("{}:{finding}", path.display())]
    Parse {
        path: PathBuf,
        /// The problem and its place.
        finding: Finding,
        /// The line, for commands; logs do without.
        excerpt: Option<Excerpt>,
    },
}

impl LoadError {
    /// Creates the error about the content of a file.
    pub(crate) fn of(path: &Path, bytes: &[u8], finding: Finding) -> Self {
        let excerpt = Some(Excerpt::at(&String::from_utf8_lossy(bytes), finding.place));
        Self::Parse { path: path.to_owned(), finding, excerpt }
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
    let (policy, warnings) = parse(path, &read_file(path)?, HostsKey::Allowed)?;
    for warning in warnings {
        warn!("{warning}");
    }
    Ok(policy)
}

/// Parses a file's bytes. The warnings name the file and the place.
///
/// # Errors
/// If they are no whitelist.
pub(crate) fn parse(
    path: &Path,
    bytes: &[u8],
    hosts_key: HostsKey,
) -> Result<(Policy, Vec<String>), LoadError> {
    let (policy, warnings) =
        Policy::parse(bytes, hosts_key).map_err(|finding| LoadError::of(path, bytes, finding))?;
    let named = |finding: &Finding| format!("{}:{finding}", path.display());
    Ok((policy, warnings.iter().map(named).collect()))
}
