//! What the service manager is told (systemd's `Type=notify-reload`, sd_notify(3)): ready, reloading, stopping.
//!
//! Nothing happens where `NOTIFY_SOCKET` names no socket.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use rustix::time::{ClockId, clock_gettime};
use tracing::warn;

/// Names the manager's socket: a path, or with an `@` a name that is in no directory (unix(7), "abstract").
const VARIABLE: &str = "NOTIFY_SOCKET";

/// Tells that requests are answered, or that a reload is done.
pub fn ready() {
    tell("READY=1\n");
}

/// Tells that the files are being read again; [`ready`] ends that.
pub fn reloading() {
    // `Type=notify-reload` takes a message without the time for one about an earlier reload.
    let now = clock_gettime(ClockId::Monotonic);
    tell(&format!("RELOADING=1\nMONOTONIC_USEC={}\n", now.tv_sec * 1_000_000 + now.tv_nsec / 1000));
}

/// Tells that the end has begun.
pub fn stopping() {
    tell("STOPPING=1\n");
}

fn tell(state: &str) {
    let Some(name) = env::var_os(VARIABLE).filter(|name| !name.is_empty()) else { return };
    let sent = address(&name)
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
