//! Blocking work off the async threads.

use prometheus_client::metrics::counter::Counter;
use tokio::task::{JoinError, spawn_blocking};

use crate::panics;

/// Runs blocking work on a thread of the runtime's pool for it, and waits for the result.
///
/// Dropping the future does not stop the work.
///
/// # Errors
/// If the work panicked, or the runtime is shutting down.
pub(crate) async fn run<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    #[cfg(test)]
    if crate::sim::clock::is_simulated() {
        crate::sim::clock::pass_time().await;
        return Ok(work());
    }
    spawn_blocking(work).await
}

/// Runs blocking work like [`run`], under a `name` for the log. Returns `None` if it panicked or never ran; panics are
/// counted in `panics`.
pub(crate) async fn run_caught<T: Send + 'static>(
    name: &'static str,
    panics: Counter,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    run(move || panics::catch(name, &panics, work)).await.ok().flatten()
}
