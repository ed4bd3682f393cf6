//! Messages to the service manager (systemd's `Type=notify-reload`, sd_notify(3)): ready, reloading, stopping, alive.
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

/// Variable with the address of the manager's socket: a path, or an abstract name that begins with `@` (unix(7)).
const VARIABLE: &str = "NOTIFY_SOCKET";

/// Variables with the microseconds of `WatchdogSec=`, and the process that they are for.
const WATCHDOG_TIME: &str = "WATCHDOG_USEC";
const WATCHDOG_PROCESS: &str = "WATCHDOG_PID";

/// Most messages that wait. More can only come from many reloads, each of which supersedes the one before.
const MAX_QUEUED_MESSAGES: usize = 16;

/// Longest wait until the manager takes the last message. It notices the end of the process anyway.
const CLOSE_LIMIT: Duration = Duration::from_millis(500);

/// Connection to the service manager. Messages are sent in order, and nothing waits for them.
///
/// The socket holds a few messages of all services together, so sending may block; but without its `READY=1` the service
/// would be killed. Hence a thread.
#[derive(Debug)]
pub(crate) struct Manager(Option<Worker<String>>);

impl Manager {
    /// Returns the manager that the environment names.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(crate) fn from_env(panics: Counter) -> io::Result<Self> {
        let Some(name) = env::var_os(VARIABLE).filter(|name| !name.is_empty()) else { return Ok(Self(None)) };
        Worker::start("systemd", MAX_QUEUED_MESSAGES, panics, move |state: String| deliver(&name, &state))
            .map(|worker| Self(Some(worker)))
    }

    /// Reports that requests are served, or that a reload is done. `systemctl status` shows the status.
    pub(crate) fn ready(&self, status: &str) {
        self.tell(format!("READY=1\nSTATUS={status}\n"));
    }

    /// Reports that the program is not stuck, for `WatchdogSec=`.
    pub(crate) fn alive(&self) {
        self.tell("WATCHDOG=1\n".to_owned());
    }

    /// Reports that a reload has begun; [`Manager::ready`] ends it.
    pub(crate) fn reloading(&self) {
        // `Type=notify-reload` takes a message without the time for one about an earlier reload.
        let now = clock_gettime(ClockId::Monotonic);
        let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1000;
        self.tell(format!("RELOADING=1\nMONOTONIC_USEC={micros}\nSTATUS=reading the files again\n"));
    }

    /// Reports that the shutdown has begun.
    pub(crate) fn stopping(&self) {
        self.tell("STOPPING=1\nSTATUS=waiting for running responses\n".to_owned());
    }

    /// Waits at most [`CLOSE_LIMIT`] until the queued messages are sent. Blocks: call it off the async threads.
    pub(crate) fn close(&self) {
        if let Some(worker) = &self.0
            && !worker.close(CLOSE_LIMIT)
        {
            warn!("the service manager takes no messages");
        }
    }

    fn tell(&self, state: String) {
        if let Some(worker) = &self.0
            && let Err(error) = worker.send(state)
        {
            warn!(%error, "cannot notify the service manager");
        }
    }
}

/// Returns how often the manager wants to hear from this process (sd_watchdog_enabled(3)): twice in the time after which
/// it would end it.
pub(crate) fn watchdog_interval() -> Option<Duration> {
    interval(
        env::var(WATCHDOG_TIME).ok().as_deref(),
        env::var(WATCHDOG_PROCESS).ok().as_deref(),
        std::process::id(),
    )
}

fn interval(time: Option<&str>, process: Option<&str>, own: u32) -> Option<Duration> {
    let is_ours = process.is_none_or(|process| process.parse() == Ok(own));
    let micros = time?.parse().ok().filter(|micros| *micros > 0 && is_ours)?;
    Some(Duration::from_micros(micros) / 2)
}

fn deliver(name: &OsStr, state: &str) {
    let sent = address(name)
        .and_then(|address| UnixDatagram::unbound()?.send_to_addr(state.as_bytes(), &address).map(drop));
    if let Err(error) = sent {
        warn!(%error, state = state.trim_end(), "cannot notify the service manager");
    }
}

fn address(name: &OsStr) -> io::Result<SocketAddr> {
    match name.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manager_hears_twice_in_its_time() {
        let check = |time: Option<&str>, process: Option<&str>, expected: Option<u64>| {
            assert_eq!(
                interval(time, process, 7),
                expected.map(Duration::from_millis),
                "{time:?} {process:?}"
            );
        };
        check(Some("3000000"), Some("7"), Some(1500));
        check(Some("3000000"), None, Some(1500));
        check(Some("3000000"), Some("8"), None);
        check(Some("0"), None, None);
        check(Some("x"), None, None);
        check(None, Some("7"), None);
    }
}
