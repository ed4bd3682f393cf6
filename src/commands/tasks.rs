//! Long-lived tasks of the service. A panic in one, or its end, is noticed.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use prometheus_client::metrics::counter::Counter;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::error;

use crate::metrics::Metrics;
use crate::worker::panic_message;

/// Pause before a task that panicked is started again: one that panics at once should not fill the log.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Running tasks. A panic is counted under the task's name.
#[derive(Debug)]
pub(super) struct Tasks {
    metrics: Arc<Metrics>,
    running: JoinSet<EndedTask>,
    /// Tasks that end by themselves. Shutdown does not wait for them.
    brief: JoinSet<()>,
}

/// Name of a task that has ended, though it should run as long as the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EndedTask(pub(super) &'static str);

impl Tasks {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        Self { metrics, running: JoinSet::new(), brief: JoinSet::new() }
    }

    /// Starts a task that the service needs as long as it runs.
    pub(super) fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let panics = self.metrics.panics(name);
        self.running.spawn(async move {
            run_watched(name, &panics, task).await;
            EndedTask(name)
        });
    }

    /// Starts a task that is started again after a panic.
    pub(super) fn spawn_restarting<F>(
        &mut self,
        name: &'static str,
        mut make: impl FnMut() -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let panics = self.metrics.panics(name);
        self.running.spawn(async move {
            while run_watched(name, &panics, make()).await == Ending::Panicked {
                sleep(RESTART_PAUSE).await;
            }
            EndedTask(name)
        });
    }

    /// Starts a task that ends by itself. Shutdown does not wait for it.
    pub(super) fn spawn_brief(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let panics = self.metrics.panics(name);
        while self.brief.try_join_next().is_some() {}
        self.brief.spawn(async move {
            run_watched(name, &panics, task).await;
        });
    }

    /// Waits until a task ends that should not. Cancel safe.
    pub(super) async fn ended_early(&mut self) -> EndedTask {
        loop {
            match self.running.join_next().await {
                Some(Ok(ended)) => return ended,
                // Their panics are caught, and nobody aborts them.
                Some(Err(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Waits until all tasks but the brief ones have ended.
    pub(super) async fn finish(mut self) {
        while self.running.join_next().await.is_some() {}
    }
}

/// How a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Returned,
    Panicked,
}

/// Runs a task to its end; a panic is counted and logged.
async fn run_watched(name: &'static str, panics: &Counter, task: impl Future<Output = ()>) -> Ending {
    // Nothing of the task is used afterwards but what it shares, and that is sound in any state.
    match AssertUnwindSafe(task).catch_unwind().await {
        Ok(()) => Ending::Returned,
        Err(payload) => {
            panics.inc();
            error!(task = name, panic = panic_message(&*payload), "a background task panicked");
            Ending::Panicked
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::sync::mpsc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_task_that_panics_is_counted_and_ends_the_service() {
        let metrics = Arc::new(Metrics::default());
        let mut tasks = Tasks::new(Arc::clone(&metrics));
        tasks.spawn("good", std::future::pending());
        tasks.spawn_brief("brief", async {});
        tasks.spawn_brief("bad and brief", async { panic!("a test") });
        tokio::task::yield_now().await;
        tasks.spawn("bad", async { panic!("a test") });
        assert_eq!(tasks.ended_early().await, EndedTask("bad"));
        let counted = ["good", "bad", "bad and brief"].map(|name| metrics.panics(name).get());
        assert_eq!(counted, [0, 1, 1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_returns_is_missed_and_one_that_hangs_is_not() {
        let mut tasks = Tasks::new(Arc::default());
        tasks.spawn_brief("a reload of a file system that hangs", std::future::pending());
        tasks.spawn("short", async {});
        assert_eq!(tasks.ended_early().await, EndedTask("short"));
        tasks.finish().await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_can_be_made_anew_is() {
        let metrics = Arc::new(Metrics::default());
        let mut tasks = Tasks::new(Arc::clone(&metrics));
        let (sender, mut starts) = mpsc::unbounded_channel();
        let number = AtomicU64::new(0);
        tasks.spawn_restarting("task", move || {
            let (number, sender) = (number.fetch_add(1, Ordering::Relaxed), sender.clone());
            async move {
                sender.send(number).expect("a receiver");
                assert!(number > 1, "a test");
            }
        });
        assert_eq!(tasks.ended_early().await, EndedTask("task"));
        assert_eq!(
            [starts.recv().await, starts.recv().await, starts.recv().await],
            [Some(0), Some(1), Some(2)]
        );
        assert_eq!(metrics.panics("task").get(), 2);
    }
}
