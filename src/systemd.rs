//! Messages to the service manager (systemd's `Type=notify-reload`, sd_notify(3)): ready, reloading, stopping.
//!
//! Nothing happens where `NOTIFY_SOCKET` names no socket.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use rustix::time::{ClockId, clock_gettime};
use tracing::warn;

use crate::worker::Worker;

/// Names the manager's socket: a path, or with an `@` a name that is in no directory (unix(7), "abstract").
const VARIABLE: &str = "NOTIFY_SOCKET";

/// Messages that wait for a manager that is slow to read. More than that come of many reloads, each of which
/// supersedes the one before.
const QUEUE: usize = 16;

/// Longest wait for the manager to take the last message. It would be told by the process's end anyway.
const CLOSE_LIMIT: Duration = Duration::from_millis(500);

/// The service manager, which is told in order and never waited for.
///
/// Its socket takes a few messages of all services together, so one that is sent may block; but a `READY=1` that
/// is dropped would have the service killed. Hence a thread.
#[derive(Debug)]
pub struct Manager(Option<Worker<String>>);

impl Manager {
    /// Returns the manager that the environment names.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn from_env(panics: Counter) -> io::Result<Self> {
        let Some(name) = env::var_os(VARIABLE).filter(|name| !name.is_empty()) else { return Ok(Self(None)) };
        Worker::start("systemd", QUEUE, panics, move |state: String| deliver(&name, &state))
            .map(|worker| Self(Some(worker)))
    }

    /// Tells that requests are answered, or that a reload is done.
    pub fn ready(&self) {
        self.tell("READY=1\n".to_owned());
    }

    /// Tells that the files are being read again; [`Manager::ready`] ends that.
    pub fn reloading(&self) {
        // `Type=notify-reload` takes a message without the time for one about an earlier reload.
        let now = clock_gettime(ClockId::Monotonic);
        self.tell(format!("RELOADING=1\nMONOTONIC_USEC={}\n", now.tv_sec * 1_000_000 + now.tv_nsec / 1000));
    }

    /// Tells that the end has begun.
    pub fn stopping(&self) {
        self.tell("STOPPING=1\n".to_owned());
    }

    /// Waits a moment for what is queued. Blocks: call it off the async threads.
    pub fn close(&self) {
        if let Some(worker) = &self.0
            && !worker.close(CLOSE_LIMIT)
        {
            warn!("the service manager does not take its messages");
        }
    }

    fn tell(&self, state: String) {
        if let Some(worker) = &self.0
            && let Err(error) = worker.send(state)
        {
            warn!(%error, "the service manager cannot be told");
        }
    }
}

fn deliver(name: &OsStr, state: &str) {
    let sent = address(name)
        .and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop));
    if let Err(error) = sent {
        warn!(%error, state = state.trim_end(), "the service manager cannot be told");
    }
}

fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}
