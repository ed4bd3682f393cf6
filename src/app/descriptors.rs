//! File descriptors: as many as the connections need.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing::{info, warn};

/// A client's connection, and one to the upstream for what is passed on.
const PER_CONNECTION: u64 = 2;

/// Listeners, the whitelist's watch, files of the cache, connections for fetches and the admin port.
const SPARE: u64 = 256;

/// Raises the soft limit as far as `connections` need and the hard one lets; tells if that is not enough.
pub(super) fn ensure(connections: usize) {
    let needed = connections as u64 * PER_CONNECTION + SPARE;
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // No limit is none.
    let (Some(soft), hard) = (current, maximum.unwrap_or(u64::MAX)) else { return };
    if soft >= needed {
        return;
    }
    let limit = Rlimit { current: Some(needed.min(hard)), maximum };
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) if needed.min(hard) == soft => {}
        Ok(()) => info!(before = soft, now = needed.min(hard), "file descriptor limit raised"),
        Err(error) => warn!(%error, soft, needed, "the file descriptor limit cannot be raised"),
    }
    if hard < needed {
        warn!(
            limit = hard,
            needed,
            connections,
            "too few file descriptors for --max-connections: raise the hard limit or lower the flag"
        );
    }
}
