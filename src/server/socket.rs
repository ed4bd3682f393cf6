//! Socket wrapper: records activity, fails a write when the peer takes too little, and lingers at the end.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::activity::Activity;
use crate::limits::{LINGER_TIMEOUT, MAX_LINGER_INPUT, MIN_WRITE, WRITE_TIMEOUT};

/// Input that is read at once in order to be dropped.
const LINGER_BUFFER: usize = 8 << 10;

/// The stream of one connection, below TLS.
///
/// SECURITY: a response keeps its feed in memory, also one that the cache has long evicted. A peer that asks for
/// many and reads none, or a byte now and then, must not hold them for ever.
#[derive(Debug)]
pub(super) struct Socket<S> {
    stream: S,
    activity: Arc<Activity>,
    /// Runs while the peer is waited for.
    write_timeout: Option<Pin<Box<Sleep>>>,
    /// Bytes that it has taken meanwhile.
    taken: usize,
    end: End,
}

/// How far the connection's end has come.
#[derive(Debug)]
enum End {
    /// Bytes may come in.
    Open,
    /// The write side is shut and input is dropped.
    Lingering { timeout: Pin<Box<Sleep>>, dropped: usize },
    /// There is no more input, or the peer was waited for long enough.
    Input,
}

impl<S> Socket<S> {
    pub(super) fn new(stream: S, activity: Arc<Activity>) -> Self {
        Self { stream, activity, write_timeout: None, taken: 0, end: End::Open }
    }

    pub(super) fn get_ref(&self) -> &S {
        &self.stream
    }

    fn stop_waiting(&mut self) {
        self.write_timeout = None;
        self.taken = 0;
    }

    /// Gives up on a step of writing that has waited for too long.
    fn limit<T>(&mut self, context: &mut Context<'_>, step: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if step.is_ready() {
            return step;
        }
        let timeout = self.write_timeout.get_or_insert_with(|| Box::pin(sleep(WRITE_TIMEOUT)));
        ready!(timeout.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> Socket<S> {
    /// Drops input until the peer has no more, or for long enough.
    ///
    /// SECURITY: the system takes back what was sent, as the end of a response, when a socket is closed while
    /// input is unread or still arrives. None of the dropped bytes is ever taken for a request.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let End::Lingering { timeout, dropped } = &mut self.end else { return Poll::Ready(()) };
        let mut buffer = [0; LINGER_BUFFER];
        while *dropped < MAX_LINGER_INPUT {
            let mut buffer = ReadBuf::new(&mut buffer);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => *dropped += buffer.filled().len(),
                Poll::Ready(_) => break,
                Poll::Pending => {
                    ready!(timeout.as_mut().poll(context));
                    break;
                }
            }
        }
        self.end = End::Input;
        Poll::Ready(())
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
            self.activity.received();
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let step = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        if let Poll::Ready(Ok(len)) = step
            && len > 0
        {
            self.activity.sent();
            self.taken += len;
        }
        if self.taken >= MIN_WRITE {
            self.stop_waiting();
        }
        self.limit(context, step)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let step = Pin::new(&mut self.stream).poll_flush(context);
        if step.is_ready() {
            // There is nothing left to take.
            self.stop_waiting();
        }
        self.limit(context, step)
    }

    /// Shuts the write side, then drops input for a while if the client may still be sending.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !matches!(self.end, End::Lingering { .. }) {
            let step = Pin::new(&mut self.stream).poll_shutdown(context);
            ready!(self.limit(context, step))?;
            if matches!(self.end, End::Open) && self.activity.is_answered_early() {
                self.end = End::Lingering { timeout: Box::pin(sleep(LINGER_TIMEOUT)), dropped: 0 };
            }
        }
        self.poll_linger(context).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::*;
    use crate::cancel;

    fn socket<S>(stream: S) -> Socket<S> {
        Socket::new(stream, Activity::new(Ipv4Addr::LOCALHOST.into()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_nothing_is_given_up() {
        let (near, _far) = duplex(10);
        let mut stream = socket(near);
        let start = Instant::now();
        let error = stream.write_all(&[0; 11]).await.expect_err("a full pipe");
        assert_eq!((error.kind(), start.elapsed()), (io::ErrorKind::TimedOut, WRITE_TIMEOUT));
    }

    /// Writes to a peer that takes `len` bytes each second.
    async fn write_to_a_peer_that_takes(len: usize) -> (io::Result<()>, Duration) {
        let (near, mut far) = duplex(MIN_WRITE);
        let reader = tokio::spawn(async move {
            let mut block = vec![0; len];
            loop {
                sleep(Duration::from_secs(1)).await;
                if far.read_exact(&mut block).await.is_err() {
                    return;
                }
            }
        });
        let start = Instant::now();
        let mut stream = socket(near);
        let mut result = stream.write_all(&vec![0; 8 * MIN_WRITE]).await;
        if result.is_ok() {
            result = stream.flush().await;
        }
        reader.abort();
        (result, start.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_peer_is_not() {
        let (result, elapsed) = write_to_a_peer_that_takes(MIN_WRITE / 25).await;
        result.expect("every half a minute it makes progress");
        assert!(elapsed > 5 * WRITE_TIMEOUT, "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_drips_is() {
        let (result, elapsed) = write_to_a_peer_that_takes(MIN_WRITE / 100).await;
        assert_eq!(result.expect_err("too slow").kind(), io::ErrorKind::TimedOut);
        assert!(elapsed < 3 * WRITE_TIMEOUT, "{elapsed:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_taken_late_counts_for_that_answer_only() {
        let (near, mut far) = duplex(10);
        let mut stream = socket(near);
        for _ in 0..3 {
            let reader = async {
                sleep(WRITE_TIMEOUT - Duration::from_secs(1)).await;
                far.read_exact(&mut [0; 15]).await.expect("a read");
            };
            let writer = async {
                stream.write_all(&[0; 15]).await.expect("it takes all there is");
                stream.flush().await.expect("a flush");
            };
            tokio::join!(reader, writer);
        }
    }

    /// A socket that has read `request` and sent an answer; returns the client's side with it.
    async fn answered(request: &[u8]) -> (Socket<tokio::io::DuplexStream>, tokio::io::DuplexStream) {
        let (near, mut far) = duplex(1 << 20);
        let mut stream = socket(near);
        far.write_all(request).await.expect("room");
        stream.read_exact(&mut vec![0; request.len()]).await.expect("the request");
        stream.write_all(b"answer").await.expect("room");
        (stream, far)
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_still_sending_gets_its_answer() {
        let (mut stream, mut far) = answered(b"POST").await;
        let client = async {
            far.write_all(&[0; 1000]).await.expect("room");
            let mut answer = Vec::new();
            far.read_to_end(&mut answer).await.expect("the answer and an end");
            assert_eq!(answer, b"answer");
            far.write_all(&[0; 1000]).await.expect("it is still open");
            Instant::now()
        };
        let start = Instant::now();
        let (shut, read) = tokio::join!(stream.shutdown(), client);
        shut.expect("an end");
        assert_eq!((read.duration_since(start), start.elapsed()), (Duration::ZERO, LINGER_TIMEOUT));
        stream.shutdown().await.expect("once is enough");
    }

    #[tokio::test(start_paused = true)]
    async fn to_look_for_input_is_not_to_have_it() {
        let (near, _far) = duplex(100);
        let mut stream = socket(near);
        drop(stream.activity.start(&http::Request::new(http_body_util::Empty::<bytes::Bytes>::new())));
        assert!(cancel::after(1, stream.read_u8()).await.is_none());
        stream.write_all(b"answer").await.expect("room");
        let start = Instant::now();
        stream.shutdown().await.expect("an end");
        assert_eq!(start.elapsed(), Duration::ZERO, "nothing was asked that is not answered");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_dropped_up_to_a_limit() {
        let (mut stream, mut far) = answered(b"POST").await;
        far.write_all(&vec![0; MAX_LINGER_INPUT]).await.expect("room");
        let start = Instant::now();
        stream.shutdown().await.expect("an end");
        assert_eq!(start.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_gone_or_was_not_answered_is_not_waited_for() {
        let start = Instant::now();
        let (mut gone, far) = answered(b"POST").await;
        drop(far);
        gone.shutdown().await.expect("an end");
        let (near, mut far) = duplex(100);
        let mut half = socket(near);
        far.write_all(b"GET /").await.expect("room");
        half.read_u8().await.expect("a byte");
        half.shutdown().await.expect("an end");
        assert_eq!(start.elapsed(), Duration::ZERO);
    }
}
