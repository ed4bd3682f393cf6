//! Background threads with a bounded queue: one thread, one queue, one way to close.
//!
//! A job that panics is counted, and the thread goes on with the next one: no background thread dies unseen.

use std::convert::Infallible;
use std::io;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;

use crate::panics;

/// A named thread that handles the jobs of a bounded queue in order.
///
/// Dropping it lets the thread handle what is queued and end, without waiting for that.
#[derive(Debug)]
pub(crate) struct Worker<J: Send + 'static> {
    queue: Mutex<Option<JobQueue<J>>>,
    /// Disconnects when the thread ends; nothing is ever sent.
    ended: Mutex<Receiver<Infallible>>,
}

/// The way to the thread.
#[derive(Debug)]
enum JobQueue<J: Send + 'static> {
    Thread(SyncSender<J>),
    #[cfg(test)]
    Simulated(simulated::Simulated<J>),
}

/// Why a job was not taken. The job is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Rejected {
    /// The queue is full: the thread cannot keep up.
    #[error("the queue is full")]
    Full,
    /// The worker was closed.
    #[error("the worker is closed")]
    Closed,
}

impl<J: Send + 'static> Worker<J> {
    /// Starts a thread called `name` that runs `handle` for each job; at most `capacity` jobs wait.
    ///
    /// `handle` may block. When it panics, that is counted in `panics` and the job is lost.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub(crate) fn start(
        name: &'static str,
        capacity: usize,
        panics: Counter,
        mut handle: impl FnMut(J) + Send + 'static,
    ) -> io::Result<Self> {
        let (queue, jobs) = mpsc::sync_channel::<J>(capacity);
        let (alive, ended) = mpsc::channel();
        #[cfg(test)]
        if crate::sim::clock::is_simulated() {
            let queue = JobQueue::Simulated(simulated::Simulated::start(name, capacity, handle));
            return Ok(Self { queue: Mutex::new(Some(queue)), ended: Mutex::new(ended) });
        }
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _alive = alive;
            for job in jobs {
                // A job may leave `handle`'s state half-changed; handlers keep only what is sound in any state.
                panics::catch(name, &panics, || handle(job));
            }
        })?;
        Ok(Self { queue: Mutex::new(Some(JobQueue::Thread(queue))), ended: Mutex::new(ended) })
    }

    /// Queues a job. Never blocks.
    ///
    /// # Errors
    /// If the queue is full or the worker closed.
    pub(crate) fn send(&self, job: J) -> Result<(), Rejected> {
        let queue = self.queue.lock();
        match queue.as_ref().ok_or(Rejected::Closed)? {
            JobQueue::Thread(queue) => queue.try_send(job).map_err(|error| match error {
                TrySendError::Full(_) => Rejected::Full,
                TrySendError::Disconnected(_) => Rejected::Closed,
            }),
            #[cfg(test)]
            JobQueue::Simulated(queue) => queue.send(job),
        }
    }

    /// Takes no more jobs and waits at most `limit` for the queued ones. Returns true if all were handled;
    /// otherwise the thread is left behind and ends with the process.
    ///
    /// Blocks: call it off the async threads.
    pub(crate) fn close(&self, limit: Duration) -> bool {
        self.queue.lock().take();
        self.ended.lock().recv_timeout(limit) == Err(RecvTimeoutError::Disconnected)
    }
}

#[cfg(test)]
#[path = "../tests/sim/worker.rs"]
mod simulated;

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    /// Longer than any test may take; what is asserted is that the end comes.
    const LIMIT: Duration = Duration::from_secs(30);

    #[test]
    fn handles_all_queued_jobs_before_it_closes() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let handled = Arc::clone(&seen);
        let worker = Worker::start("test", 3, Counter::default(), move |n| handled.lock().push(n));
        let worker = worker.expect("a thread");
        for n in 0..3 {
            worker.send(n).expect("room");
        }
        assert!(worker.close(LIMIT));
        assert_eq!((&*seen.lock(), worker.send(3)), (&vec![0, 1, 2], Err(Rejected::Closed)));
        assert!(worker.close(LIMIT), "closing twice is harmless");
    }

    #[test]
    fn goes_on_after_a_panic() {
        let panics = Counter::default();
        let (results, handled) = mpsc::channel();
        let worker = Worker::start("test", 3, panics.clone(), move |n: u32| {
            assert_ne!(n, 1, "the job that panics");
            results.send(n).expect("a receiver");
        });
        let worker = worker.expect("a thread");
        (1..=2).for_each(|n| worker.send(n).expect("room"));
        assert_eq!((handled.recv(), panics.get()), (Ok(2), 1));
    }

    #[test]
    fn a_stuck_job_blocks_neither_senders_nor_the_close() {
        let (release, stuck) = mpsc::channel::<()>();
        let (started, running) = mpsc::channel();
        let worker = Worker::start("test", 1, Counter::default(), move |()| {
            started.send(()).expect("a receiver");
            let _ = stuck.recv();
        });
        let worker = worker.expect("a thread");
        worker.send(()).expect("room");
        running.recv().expect("a running job");
        worker.send(()).expect("room for one that waits");
        assert_eq!(worker.send(()), Err(Rejected::Full));
        assert!(!worker.close(Duration::ZERO));
        drop(release);
        assert!(worker.close(LIMIT));
    }
}
