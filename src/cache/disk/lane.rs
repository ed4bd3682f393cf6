//! A worker whose jobs may hang: whoever waits for one gives up as soon as the thread makes no progress.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::worker::{Rejected, Worker};

/// One thread with a queue, of which it is known whether it hangs.
#[derive(Debug)]
pub(super) struct Lane<J: Send + 'static> {
    worker: Worker<J>,
    progress: Arc<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    finished: AtomicU64,
    /// Set by whoever waits in vain, cleared by the thread.
    hangs: AtomicBool,
}

/// Why there is no reply to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoReply {
    /// The thread makes no progress.
    Hangs,
    /// The job was dropped.
    Dropped,
}

impl<J: Send + 'static> Lane<J> {
    /// Starts the thread; see [`Worker::start`].
    pub(super) fn start(
        name: &'static str,
        capacity: usize,
        panics: Counter,
        handle: impl Fn(J) + Send + 'static,
    ) -> io::Result<Self> {
        let progress = Arc::<Progress>::default();
        let reported = Arc::clone(&progress);
        let worker = Worker::start(name, capacity, panics, move |job| {
            // Reported when it panics, too.
            let _finished = Finished(&reported);
            handle(job);
        })?;
        Ok(Self { worker, progress })
    }

    /// Queues a job. Never blocks.
    pub(super) fn send(&self, job: J) -> Result<(), Rejected> {
        self.worker.send(job)
    }

    /// Returns true if the thread was seen to make no progress and has made none since.
    pub(super) fn hangs(&self) -> bool {
        self.progress.hangs.load(Ordering::SeqCst)
    }

    /// Waits for the reply to a job, for as long as the thread finishes a job within each `stall_limit`.
    ///
    /// Cancel safe: a reply that has come is not lost.
    pub(super) async fn wait<T>(
        &self,
        reply: &mut oneshot::Receiver<T>,
        stall_limit: Duration,
    ) -> Result<T, NoReply> {
        let mut finished = self.progress.finished.load(Ordering::SeqCst);
        loop {
            if let Ok(reply) = timeout(stall_limit, &mut *reply).await {
                return reply.map_err(|_| NoReply::Dropped);
            }
            let now = self.progress.finished.load(Ordering::SeqCst);
            if now == finished {
                self.progress.hangs.store(true, Ordering::SeqCst);
                // It may have finished just before that was said.
                if self.progress.finished.load(Ordering::SeqCst) == now {
                    return Err(NoReply::Hangs);
                }
                self.progress.hangs.store(false, Ordering::SeqCst);
            }
            finished = now;
        }
    }

    /// See [`Worker::close`].
    pub(super) fn close(&self, limit: Duration) -> bool {
        self.worker.close(limit)
    }
}

/// Reports a finished job when dropped.
struct Finished<'a>(&'a Progress);

impl Drop for Finished<'_> {
    fn drop(&mut self) {
        self.0.finished.fetch_add(1, Ordering::SeqCst);
        self.0.hangs.store(false, Ordering::SeqCst);
    }
}
