//! Stands in for a worker's thread in the simulation: a task that takes its time on tokio's clock.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::Rejected;
use crate::sim::clock;

/// A queue with a task. Dropping it handles what is queued at once.
pub(super) struct Simulated<J: Send + 'static> {
    shared: Arc<SimulatedQueue<J>>,
    task: AbortHandle,
}

struct SimulatedQueue<J> {
    jobs: Mutex<VecDeque<J>>,
    capacity: usize,
    handle: Mutex<Box<dyn FnMut(J) + Send>>,
    added: Notify,
}

impl<J: Send + 'static> Simulated<J> {
    pub(super) fn start(name: &'static str, capacity: usize, handle: impl FnMut(J) + Send + 'static) -> Self {
        let shared = Arc::new(SimulatedQueue {
            jobs: Mutex::default(),
            capacity,
            handle: Mutex::new(Box::new(handle)),
            added: Notify::new(),
        });
        let queue = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            loop {
                queue.added.notified().await;
                loop {
                    clock::pass_time_of(name).await;
                    if !queue.handle_next() {
                        break;
                    }
                }
            }
        });
        Self { shared, task: task.abort_handle() }
    }

    pub(super) fn send(&self, job: J) -> Result<(), Rejected> {
        let mut jobs = self.shared.jobs.lock();
        if jobs.len() >= self.shared.capacity {
            return Err(Rejected::Full);
        }
        jobs.push_back(job);
        self.shared.added.notify_one();
        Ok(())
    }
}

impl<J> SimulatedQueue<J> {
    /// Handles one job; returns false if there is none.
    fn handle_next(&self) -> bool {
        let job = self.jobs.lock().pop_front();
        job.map(|job| (self.handle.lock())(job)).is_some()
    }
}

impl<J: Send + 'static> Drop for Simulated<J> {
    fn drop(&mut self) {
        self.task.abort();
        while self.shared.handle_next() {}
    }
}

impl<J: Send + 'static> fmt::Debug for Simulated<J> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Simulated").field("queued", &self.shared.jobs.lock().len()).finish()
    }
}
