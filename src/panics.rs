//! Panics: the hook logs and counts each one where it happens, and what catches one goes on.
//!
//! INVARIANT: only the hook logs a panic. What catches one may have caught that of a log line, and must not log.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::panic::{self, AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use futures_util::FutureExt;
use prometheus_client::metrics::counter::Counter;
use tracing::error;

use crate::stderr;

/// Panics since the start.
static COUNT: AtomicU64 = AtomicU64::new(0);

tokio::task_local! {
    /// What runs, as the log and the metrics call it: the threads of the runtime share one name.
    static TASK: &'static str;
}

/// Has panics told in the log, or in a message while there is none yet, in place of Rust's own message, which is
/// written to standard error and waits for it.
pub fn install_hook() {
    panic::set_hook(Box::new(|info| {
        COUNT.fetch_add(1, Ordering::Relaxed);
        let thread = thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        let task = TASK.try_with(|task| *task).ok();
        let at = info.location().map(ToString::to_string).unwrap_or_default();
        let panic = info.payload_as_str().unwrap_or("no message");
        let backtrace = Backtrace::capture();
        let backtrace = (backtrace.status() == BacktraceStatus::Captured).then_some(backtrace);
        if tracing::dispatcher::has_been_set() {
            let backtrace = backtrace.as_ref().map(tracing::field::display);
            error!(thread, task, at, panic, backtrace, "panicked; this is a bug");
        } else {
            stderr::error(format_args!("catalog-proxy: panicked at {at}: {panic}; this is a bug"));
            backtrace.iter().for_each(stderr::error);
        }
    }));
}

/// Returns how many there were since the start.
pub(crate) fn count() -> u64 {
    COUNT.load(Ordering::Relaxed)
}

/// Runs `job`, which is called `name`. Returns nothing if it panicked, which is counted in `panics`.
///
/// What the job shares with others must be sound however it ends.
pub(crate) fn catch<T>(name: &'static str, panics: &Counter, job: impl FnOnce() -> T) -> Option<T> {
    counted(panics, catch_unwind(AssertUnwindSafe(|| TASK.sync_scope(name, job))))
}

/// Runs `task` like [`catch`]. Cancel safe if the task is.
pub(crate) async fn catch_task<T>(
    name: &'static str,
    panics: Counter,
    task: impl Future<Output = T>,
) -> Option<T> {
    counted(&panics, AssertUnwindSafe(TASK.scope(name, task)).catch_unwind().await)
}

fn counted<T>(panics: &Counter, outcome: thread::Result<T>) -> Option<T> {
    if outcome.is_err() {
        panics.inc();
    }
    outcome.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_caught_and_counted_under_the_name_of_what_ran() {
        let name = || TASK.try_with(|task| *task).ok();
        let panics = Counter::default();
        assert_eq!(catch("job", &panics, name), Some(Some("job")));
        let task = catch_task("task", panics.clone(), async {
            tokio::task::yield_now().await;
            assert_eq!(catch("job of the task", &panics, name), Some(Some("job of the task")));
            name()
        });
        assert_eq!((task.await, name(), panics.get()), (Some(Some("task")), None, 0));
        assert_eq!(catch("job", &panics, || panic!("a test")), None::<()>);
        assert_eq!(catch_task("task", panics.clone(), async { panic!("a test") }).await, None::<()>);
        assert_eq!((name(), panics.get()), (None, 2), "the name goes with what had it");
    }
}
