//! Panics, told and counted wherever they happen.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use tracing::error;

use crate::stderr;

/// Panics since the start.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// Has panics told in the log, or in a message while there is none yet, in place of Rust's own message, which is
/// written to standard error and waits for it.
pub fn install_hook() {
    panic::set_hook(Box::new(|info| {
        COUNT.fetch_add(1, Ordering::Relaxed);
        let thread = thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        let at = info.location().map(ToString::to_string).unwrap_or_default();
        let panic = info.payload_as_str().unwrap_or("no message");
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
        if tracing::dispatcher::has_been_set() {
            let backtrace = backtrace.as_ref().map(tracing::field::display);
            error!(thread, at, panic, backtrace, "panicked; this is a bug");
        } else {
            stderr::message(format_args!("catalog-proxy: panicked at {at}: {panic}; this is a bug"));
            backtrace.iter().for_each(stderr::message);
        }
    }));
}

/// Returns how many there were since the start.
pub(crate) fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}
