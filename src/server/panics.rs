//! Panics of connection tasks: counted and logged, never swallowed.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use prometheus_client::metrics::counter::Counter;
use tracing::error;

use crate::worker::panic_message;

/// Runs a task of a connection to its end; a panic ends this task only, and is counted in `panics`.
pub(super) async fn contain(panics: Counter, task: impl Future<Output = ()>) {
    // What the task shares with others is counted by guards and sound after a panic.
    if let Err(payload) = AssertUnwindSafe(task).catch_unwind().await {
        panics.inc();
        error!(thread = "connection", panic = panic_message(&*payload), "a connection's task panicked");
    }
}
