//! What a service manager is told, by systemd's protocol (sd_notify(3)): ready, reloading, stopping.
//!
//! Nothing happens where `NOTIFY_SOCKET` names no socket.

use sd_notify::NotifyState;
use tracing::warn;

/// Tells that requests are answered, or that a reload is done.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Tells that the files are being read again; [`ready`] ends that.
pub fn reloading() {
    // `Type=notify-reload` takes a message without the time for one about an earlier reload.
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => warn!(%error, "no monotonic clock"),
    }
}

/// Tells that the end has begun.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(%error, ?states, "the service manager cannot be told");
    }
}
