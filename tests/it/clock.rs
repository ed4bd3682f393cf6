//! A clock that tests control.

use std::sync::mpsc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

/// Tokio's clock, stopped. It needs the test's own single-threaded runtime.
pub struct Clock {
    release: Option<mpsc::Sender<()>>,
    holder: Option<JoinHandle<()>>,
}

impl Clock {
    /// Stops the clock.
    pub fn stop() -> Self {
        tokio::time::pause();
        // A paused clock jumps to the next timer whenever all tasks wait, also for a socket; it does not
        // while a blocking task runs.
        let (release, held) = mpsc::channel::<()>();
        let holder = tokio::task::spawn_blocking(move || {
            // It ends with the sender.
            let _ = held.recv();
        });
        Self { release: Some(release), holder: Some(holder) }
    }

    /// Advances the clock in steps of a second, so that timers fire in their order.
    pub async fn pass(&self, time: Duration) {
        for _ in 0..time.as_secs() {
            tokio::time::advance(Duration::from_secs(1)).await;
            Self::idle().await;
        }
    }

    /// Waits until the runtime has had nothing to do: every task has reacted to the time.
    async fn idle() {
        let metrics = Handle::current().metrics();
        let parked = metrics.worker_park_count(0);
        while metrics.worker_park_count(0) == parked {
            // It ends on another thread, so this task waits for it and lets the others go first.
            tokio::task::spawn_blocking(|| ()).await.expect("a thread");
        }
    }

    /// Advances the clock in one step.
    pub async fn jump(&self, time: Duration) {
        tokio::time::advance(time).await;
    }
}

impl Drop for Clock {
    fn drop(&mut self) {
        self.release.take();
        self.holder.take();
    }
}
