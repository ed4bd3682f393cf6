//! The requests of HTTP/2 connections, each of whose clients must go on reading.
//!
//! A client that does not open its flow-control window blocks one stream while the connection goes on, so that
//! the socket's own limit sees nothing of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::WRITE_LEAST;
use super::connections::lock;

/// How often a stream is looked at that was not blocked when last looked at.
const LOOK: Duration = Duration::from_secs(5);

tokio::task_local! {
    /// Of the stream that the current task serves.
    static STREAM: Arc<Progress>;
}

/// Since when the client has been waited for, if it is, and what it has taken meanwhile.
#[derive(Debug, Default)]
pub(super) struct Progress(Mutex<Option<(Instant, usize)>>);

impl Progress {
    /// Returns that of the stream that the current task serves; HTTP/1 has none.
    pub(super) fn of_stream() -> Option<Arc<Self>> {
        STREAM.try_with(Arc::clone).ok()
    }

    /// Notes that there are `len` bytes for the client to take; it has taken those before.
    pub(super) fn wait(&self, len: usize) {
        let mut waiting = lock(&self.0);
        *waiting = match *waiting {
            Some((since, taken)) if taken < WRITE_LEAST => Some((since, taken + len)),
            _ => Some((Instant::now(), len)),
        };
    }

    /// Notes that there is nothing to take.
    pub(super) fn rest(&self) {
        *lock(&self.0) = None;
    }

    /// Completes when the client has taken too little within `limit`.
    async fn stalled(&self, limit: Duration) {
        loop {
            let due = lock(&self.0).map(|(since, _)| since + limit);
            if due.is_some_and(|due| due <= Instant::now()) {
                return;
            }
            sleep_until(due.unwrap_or_else(|| Instant::now() + LOOK)).await;
        }
    }
}

/// Runs each stream as a task of its own, which ends with a reset when its client stalls for so long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streams(pub(super) Duration);

impl<F> hyper::rt::Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let limit = self.0;
        let progress = Arc::<Progress>::default();
        tokio::spawn(STREAM.scope(Arc::clone(&progress), async move {
            tokio::select! {
                () = stream => {}
                () = progress.stalled(limit) => {}
            }
        }));
    }
}
