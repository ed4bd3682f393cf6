//! A connection's socket: its other side must go on reading.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::WRITE_LEAST;
use super::connections::Connection;

/// A stream that tells its connection what happens, and fails when a write makes too little progress.
///
/// SECURITY: an answer keeps its feed in memory, also one that the cache has long evicted. A peer that asks
/// for many and reads none, or a byte now and then, must not hold them for ever.
#[derive(Debug)]
pub(super) struct Socket<S> {
    stream: S,
    connection: Arc<Connection>,
    limit: Duration,
    /// Runs while the peer is waited for.
    sleep: Option<Pin<Box<Sleep>>>,
    /// What it has taken meanwhile.
    taken: usize,
}

impl<S> Socket<S> {
    pub(super) fn new(stream: S, connection: Arc<Connection>, limit: Duration) -> Self {
        Self { stream, connection, limit, sleep: None, taken: 0 }
    }

    pub(super) fn get_ref(&self) -> &S {
        &self.stream
    }

    fn stop_waiting(&mut self) {
        self.sleep = None;
        self.taken = 0;
    }
}

impl<S: AsyncWrite + Unpin> Socket<S> {
    /// Gives up on a step of writing that has waited for too long.
    fn limit<T>(&mut self, context: &mut Context<'_>, step: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if step.is_ready() {
            return step;
        }
        let limit = self.limit;
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(limit)));
        ready!(sleep.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn written(
        &mut self,
        context: &mut Context<'_>,
        step: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        let sent = if let Poll::Ready(Ok(len)) = step { len } else { 0 };
        self.connection.writes(sent);
        self.taken += sent;
        if self.taken >= WRITE_LEAST {
            self.stop_waiting();
        }
        self.limit(context, step)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.connection.received();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let step = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.written(context, step)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let step = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.written(context, step)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let step = Pin::new(&mut self.stream).poll_flush(context);
        if step.is_ready() {
            // There is nothing left to take.
            self.connection.written();
            self.stop_waiting();
        }
        self.limit(context, step)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let step = Pin::new(&mut self.stream).poll_shutdown(context);
        self.limit(context, step)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::super::connections::Connections;
    use super::*;
    use crate::metrics::connections::Port;
    use crate::proxy::trust::Trusted;

    const LIMIT: Duration = Duration::from_secs(30);

    fn socket<S>(stream: S) -> Socket<S> {
        let place = Connections::new(1, 1, Trusted::default(), Port::default())
            .admit("192.0.2.1:1".parse().expect("an address"))
            .expect("a place");
        Socket::new(stream, Arc::clone(&place.connection), LIMIT)
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_nothing_is_given_up() {
        let (near, _far) = duplex(10);
        let mut stream = socket(near);
        let start = tokio::time::Instant::now();
        let error = stream.write_all(&[0; 11]).await.expect_err("a full pipe");
        assert_eq!((error.kind(), start.elapsed()), (io::ErrorKind::TimedOut, LIMIT));
    }

    /// Writes to a peer that takes `len` bytes each second.
    async fn write_to_a_peer_that_takes(len: usize) -> (io::Result<()>, Duration) {
        let (near, mut far) = duplex(WRITE_LEAST);
        let reader = tokio::spawn(async move {
            let mut block = vec![0; len];
            loop {
                sleep(Duration::from_secs(1)).await;
                if far.read_exact(&mut block).await.is_err() {
                    return;
                }
            }
        });
        let start = tokio::time::Instant::now();
        let mut stream = socket(near);
        let mut result = stream.write_all(&vec![0; 8 * WRITE_LEAST]).await;
        if result.is_ok() {
            result = stream.flush().await;
        }
        reader.abort();
        (result, start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_peer_is_not() {
        let (result, elapsed) = write_to_a_peer_that_takes(WRITE_LEAST / 25).await;
        result.expect("every half a minute it makes progress");
        assert!(elapsed > 5 * LIMIT, "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_drips_is() {
        let (result, elapsed) = write_to_a_peer_that_takes(WRITE_LEAST / 100).await;
        assert_eq!(result.expect_err("too slow").kind(), io::ErrorKind::TimedOut);
        assert!(elapsed < 3 * LIMIT, "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_taken_late_counts_for_that_answer_only() {
        let (near, mut far) = duplex(10);
        let mut stream = socket(near);
        for _ in 0..3 {
            let reader = async {
                sleep(LIMIT - Duration::from_secs(1)).await;
                far.read_exact(&mut [0; 15]).await.expect("a read");
            };
            let writer = async {
                stream.write_all(&[0; 15]).await.expect("it takes all there is");
                stream.flush().await.expect("a flush");
            };
            tokio::join!(reader, writer);
        }
    }
}
