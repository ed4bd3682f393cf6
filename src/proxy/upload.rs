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
