//! The body of an answer while it leaves.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::connections::Busy;
use super::streams::Progress;
use crate::body::BoxError;

/// Most bytes that HTTP/2 is given at once, one frame of its default size: it takes whatever it is given out of
/// the body's hands, however little of it the client lets it send.
const PIECE: usize = 16 << 10;

/// How long a body that fails waits before it says so. A failure takes along what the connection has not written
/// yet, and often that is the head of the answer; over HTTP/2 another task writes, so one turn is not enough.
const LAST_WORDS: Duration = Duration::from_millis(5);

/// A body that keeps its connection busy until it ends, and tells of its progress.
#[derive(Debug)]
pub(super) struct Answer<B> {
    body: B,
    /// What it will end in, and when.
    failed: Option<(BoxError, Pin<Box<Sleep>>)>,
    /// What the body has given and HTTP/2 has not taken yet.
    rest: Bytes,
    progress: Option<Arc<Progress>>,
    _busy: Busy,
}

impl<B> Answer<B> {
    pub(super) fn new(body: B, busy: Busy) -> Self {
        let progress = Progress::of_stream();
        if let Some(progress) = &progress {
            progress.wait(0);
        }
        Self { body, failed: None, rest: Bytes::new(), progress, _busy: busy }
    }

    /// Cuts off the next piece.
    fn piece(&mut self) -> Bytes {
        match self.rest.len() > PIECE {
            true => self.rest.split_to(PIECE),
            // A slice would keep the whole feed in memory for as long as a stalled client leaves it unsent.
            false => Bytes::copy_from_slice(&std::mem::take(&mut self.rest)),
        }
    }
}

impl<B: http_body::Body<Data = Bytes, Error = BoxError> + Unpin> Answer<B> {
    /// Asks the body for its next frame; a failure has to wait.
    fn poll_body(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.failed.is_none() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)) {
                Some(Err(error)) => self.failed = Some((error, Box::pin(sleep(LAST_WORDS)))),
                frame => return Poll::Ready(frame),
            }
        }
        if let Some((_, sleep)) = &mut self.failed {
            ready!(sleep.as_mut().poll(context));
        }
        Poll::Ready(self.failed.take().map(|(error, _)| Err(error)))
    }
}

impl<B: http_body::Body<Data = Bytes, Error = BoxError> + Unpin> http_body::Body for Answer<B> {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Some(progress) = self.progress.clone() else {
            return self.poll_body(context);
        };
        if self.rest.is_empty() {
            let Poll::Ready(frame) = self.poll_body(context) else {
                progress.rest();
                return Poll::Pending;
            };
            match frame.transpose()? {
                None => return Poll::Ready(None),
                Some(frame) => match frame.into_data() {
                    Ok(data) => self.rest = data,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                },
            }
        }
        let piece = self.piece();
        progress.wait(piece.len());
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.failed.is_none() && self.body.is_end_stream()
    }

    /// Only asked for before the first frame.
    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
