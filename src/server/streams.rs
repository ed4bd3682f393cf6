//! The tasks of HTTP/2 requests, each of whose clients must go on reading.
//!
//! A client that does not open its flow-control window blocks one stream while the connection goes on, so that
//! the socket's own limit sees nothing of it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use tokio::time::{Instant, sleep_until};

use crate::limits::{MIN_WRITE, WRITE_TIMEOUT};
use crate::panics;

/// How often a stream is checked that was not blocked at the last check.
const CHECK_INTERVAL: Duration = Duration::from_secs(5);

tokio::task_local! {
    /// Of the stream that the current task serves.
    static STREAM: Arc<Progress>;
}

/// Since when the client has been waited for, if it is, and how many bytes it has taken since.
#[derive(Debug, Default)]
pub(super) struct Progress(Mutex<Option<(Instant, usize)>>);

impl Progress {
    /// Returns the progress of the stream that the current task serves; HTTP/1 has none.
    pub(super) fn of_stream() -> Option<Arc<Self>> {
        STREAM.try_with(Arc::clone).ok()
    }

    /// Records that there are `len` bytes for the client to take, which has taken those before.
    pub(super) fn offer(&self, len: usize) {
        let mut waiting = self.0.lock();
        *waiting = match *waiting {
            Some((since, taken)) if taken < MIN_WRITE => Some((since, taken + len)),
            _ => Some((Instant::now(), len)),
        };
    }

    /// Records that there is nothing to take.
    pub(super) fn pause(&self) {
        *self.0.lock() = None;
    }

    /// Completes when the client has taken too little for too long. Cancel safe.
    async fn stalled(&self) {
        loop {
            let due = self.0.lock().map(|(since, _)| since + WRITE_TIMEOUT);
            if due.is_some_and(|due| due <= Instant::now()) {
                return;
            }
            sleep_until(due.unwrap_or_else(|| Instant::now() + CHECK_INTERVAL)).await;
        }
    }
}

/// Executor that runs each HTTP/2 stream as a task of its own, which ends with a reset when its client stalls.
#[derive(Debug, Clone)]
pub(super) struct Streams {
    pub(super) panics: Counter,
}

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let progress = Arc::<Progress>::default();
        let limited = STREAM.scope(Arc::clone(&progress), async move {
            tokio::select! {
                () = stream => {}
                () = progress.stalled() => {}
            }
        });
        tokio::spawn(panics::catch_task("connection", self.panics.clone(), limited));
    }
}

#[cfg(test)]
impl Progress {
    /// Runs `task` as that of a stream.
    pub(super) async fn in_stream<F: Future>(self: Arc<Self>, task: F) -> F::Output {
        STREAM.scope(self, task).await
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    /// Returns after how long a client has stalled that takes `len` bytes every so often.
    async fn stalls(len: usize, every: Duration, times: usize) -> Option<Duration> {
        let (progress, start) = (Progress::default(), Instant::now());
        let client = async {
            for _ in 0..times {
                progress.offer(len);
                sleep(every).await;
            }
            progress.pause();
            sleep(3 * WRITE_TIMEOUT).await;
        };
        tokio::select! {
            () = progress.stalled() => Some(start.elapsed()),
            () = client => None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_takes_too_little_has_stalled() {
        assert_eq!(stalls(1, WRITE_TIMEOUT, 0).await, None, "nothing to take");
        assert_eq!(stalls(1, 2 * WRITE_TIMEOUT, 1).await, Some(WRITE_TIMEOUT), "nothing taken");
        assert_eq!(stalls(1, WRITE_TIMEOUT / 4, 20).await, Some(WRITE_TIMEOUT), "a byte now and then");
        assert_eq!(stalls(MIN_WRITE, WRITE_TIMEOUT / 2, 20).await, None, "slow but steady");
        assert_eq!(stalls(1, WRITE_TIMEOUT / 2, 1).await, None, "all taken in time");
    }

    #[tokio::test]
    async fn only_tasks_of_streams_have_progress() {
        assert!(Progress::of_stream().is_none());
        let progress = Arc::<Progress>::default();
        let found = Arc::clone(&progress).in_stream(async { Progress::of_stream() }).await;
        assert!(Arc::ptr_eq(&found.expect("one"), &progress));
    }
}
