//! The body of a response on its way to the client.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use super::activity::Running;
use super::streams::Progress;
use crate::body::BoxError;

/// Most bytes that HTTP/2 is given at once, one frame of its default size: it takes whatever it is given out of
/// the body's hands, however little of it the client lets it send.
const MAX_PIECE: usize = 16 << 10;

/// How long a body that fails waits before it says so. A failure takes along what the connection has not written
/// yet, and often that is the head of the response; over HTTP/2 another task writes, so one turn is not enough.
/// A busy machine needs more than a few milliseconds, and a response that has failed may as well fail a bit later.
const LAST_WORDS: Duration = Duration::from_millis(25);

/// A body wrapper that keeps its request counted as running until the body ends, and records the client's
/// progress over HTTP/2.
#[derive(Debug)]
pub(super) struct ResponseBody<B> {
    body: B,
    /// The error that it will end with, and when.
    failed: Option<(BoxError, Pin<Box<Sleep>>)>,
    /// What the body has given and HTTP/2 has not taken yet.
    rest: Bytes,
    progress: Option<Arc<Progress>>,
    _running: Running,
}

impl<B> ResponseBody<B> {
    pub(super) fn new(body: B, running: Running) -> Self {
        let progress = Progress::of_stream();
        if let Some(progress) = &progress {
            progress.offer(0);
        }
        Self { body, failed: None, rest: Bytes::new(), progress, _running: running }
    }

    /// Cuts off the next piece.
    fn next_piece(&mut self) -> Bytes {
        match self.rest.len() > MAX_PIECE {
            true => self.rest.split_to(MAX_PIECE),
            // A slice would keep the whole feed in memory for as long as a stalled client leaves it unsent.
            false => Bytes::copy_from_slice(&std::mem::take(&mut self.rest)),
        }
    }
}

impl<B: Body<Data = Bytes, Error = BoxError> + Unpin> ResponseBody<B> {
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

impl<B: Body<Data = Bytes, Error = BoxError> + Unpin> Body for ResponseBody<B> {
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
                progress.pause();
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
        let piece = self.next_piece();
        progress.offer(piece.len());
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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use http_body_util::BodyExt;

    use super::*;
    use crate::body;
    use crate::server::activity::Activity;

    #[tokio::test]
    async fn a_stream_gets_pieces_to_the_last_byte() {
        let activity = Activity::new(Ipv4Addr::LOCALHOST.into());
        let running = activity.start(&http::Request::new(body::empty()));
        Arc::<Progress>::default()
            .in_stream(async {
                let mut body = ResponseBody::new(body::full(vec![0; 2 * MAX_PIECE + 1]), running);
                for expected in [MAX_PIECE, MAX_PIECE, 1] {
                    assert!(!body.is_end_stream(), "{expected} bytes are left");
                    let frame = body.frame().await.expect("a frame").expect("data");
                    assert_eq!(frame.data_ref().map(Bytes::len), Some(expected));
                }
                assert!(body.is_end_stream());
            })
            .await;
    }
}
