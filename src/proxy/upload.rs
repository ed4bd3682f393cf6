//! Request body on its way to the upstream, limited in size and in the time it may pause.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::body::{Body, BoxError};
use crate::error::Error;

/// Longest wait for a client to go on with its body.
const PAUSE: Duration = Duration::from_secs(30);

/// Least that must come in that time, unless the upstream is what is slow.
const LEAST: usize = 1 << 10;

/// A body that ends in an error when it is too large or its client pauses for too long.
pub(super) struct Upload {
    incoming: Body,
    max: u64,
    /// What may still come.
    left: u64,
    /// Runs while the client is waited for.
    sleep: Option<Pin<Box<Sleep>>>,
    /// What has come meanwhile.
    come: usize,
    fault: Arc<OnceLock<Error>>,
}

impl Upload {
    /// Bounds a body to `max` bytes; returns with it what will be wrong with it.
    pub(super) fn new(incoming: Body, max: u64) -> (Self, Arc<OnceLock<Error>>) {
        let fault = Arc::default();
        (Self { incoming, max, left: max, sleep: None, come: 0, fault: Arc::clone(&fault) }, fault)
    }

    fn fail(&self, error: Error) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        // A body fails once.
        let _ = self.fault.set(error.clone());
        Poll::Ready(Some(Err(error.into())))
    }
}

impl http_body::Body for Upload {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.incoming).poll_frame(context) else {
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(PAUSE)));
            ready!(sleep.as_mut().poll(context));
            return self.fail(Error::BodyStalled(PAUSE));
        };
        if let Some(Ok(frame)) = &frame {
            let data = frame.data_ref().map_or(0, Bytes::len);
            self.come += data;
            if self.come >= LEAST {
                (self.come, self.sleep) = (0, None);
            }
            match self.left.checked_sub(data as u64) {
                Some(left) => self.left = left,
                None => return self.fail(Error::BodyTooLarge(self.max)),
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{StreamExt, stream};
    use http_body::Body as _;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;
    use crate::body;

    /// A body of pieces, each of which comes some time after the one before.
    fn pieces(pieces: Vec<usize>, pause: Duration) -> Body {
        let frames = stream::iter(pieces).then(move |len| async move {
            sleep(pause).await;
            Ok::<_, BoxError>(Frame::data(Bytes::from(vec![0; len])))
        });
        body::boxed(StreamBody::new(Box::pin(frames)))
    }

    async fn outcome(lens: &[usize], pause: Duration, max: u64) -> Result<usize, String> {
        let (upload, fault) = Upload::new(pieces(lens.to_vec(), pause), max);
        let collected = upload.collect().await.map(|body| body.to_bytes().len());
        let told = fault.get().map(ToString::to_string);
        assert_eq!(collected.as_ref().err().map(ToString::to_string), told);
        collected.map_err(|error| error.to_string())
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_on_is_waited_for_and_who_drips_is_not() {
        let second = Duration::from_secs(1);
        assert_eq!(outcome(&[LEAST; 3], PAUSE - second, u64::MAX).await, Ok(3 * LEAST));
        assert_eq!(outcome(&[LEAST / 2; 8], 10 * second, u64::MAX).await, Ok(4 * LEAST));
        outcome(&[LEAST / 4; 8], 10 * second, u64::MAX).await.expect_err("too little in time");
        outcome(&[LEAST], PAUSE + second, u64::MAX).await.expect_err("a pause");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_may_have_its_size_to_the_byte() {
        assert_eq!(outcome(&[3, 7], Duration::ZERO, 10).await, Ok(10));
        outcome(&[3, 8], Duration::ZERO, 10).await.expect_err("one too many");
    }

    #[test]
    fn length_and_end_are_those_of_the_body() {
        let (upload, _) = Upload::new(body::full("abc"), 10);
        assert_eq!((upload.size_hint().exact(), upload.is_end_stream()), (Some(3), false));
        let (upload, _) = Upload::new(body::empty(), 10);
        assert!(upload.is_end_stream());
    }
}
