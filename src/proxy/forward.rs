//! Everything that is no feed: streamed to the upstream and back.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use prometheus_client::metrics::counter::Counter;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::headers::{self, Client};
use super::upload::Upload;
use crate::body::{self, Body};
use crate::error::Error;
use crate::upstream::{Upstream, UpstreamError, UpstreamFailure};

/// Longest silence while a request is passed on: no byte of it taken, no head of the answer. A download
/// that the vendor's server puts together first may well take half a minute.
const HEAD_TIMEOUT: Duration = Duration::from_mins(1);

/// Longest pause within the body of an answer.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// Passes a request on and returns the answer, its body still to come. What comes of the request's body is
/// counted in `received`.
///
/// # Errors
/// If the upstream cannot be reached or does not answer, or the request's body is not what it may be.
pub async fn forward(
    upstream: &Upstream,
    request: Request<Incoming>,
    target: PathAndQuery,
    client: &Client,
    max_body: u64,
    received: Counter,
) -> Result<Response<Body>, Error> {
    let send =
        move |target, request| async move { Ok(upstream.send(target, request).await?.map(body::boxed)) };
    over(send, request.map(body::boxed), target, client, max_body, received).await
}

/// As [`forward`], over any way to an upstream.
pub(crate) async fn over<F: Future<Output = Result<Response<Body>, UpstreamError>>>(
    send: impl Fn(PathAndQuery, Request<Body>) -> F,
    request: Request<Body>,
    target: PathAndQuery,
    client: &Client,
    max_body: u64,
    received: Counter,
) -> Result<Response<Body>, Error> {
    let activity = ForwardActivity::new();
    let (mut head, incoming) = request.into_parts();
    headers::to_upstream(&mut head.headers, head.version, client);
    let (upload, fault) = Upload::new(incoming, max_body);
    let is_empty = upload.is_end_stream();
    let outgoing = match is_empty {
        true => body::empty(),
        false => {
            // SECURITY: a server that ignores a body takes it for the next request, and its answer would be
            // the next client's. So nothing else goes over this connection.
            head.headers.append(header::CONNECTION, HeaderValue::from_static("close"));
            let activity = activity.clone();
            body::boxed(upload.map_frame(move |mut frame| {
                activity.touch();
                received.inc_by(frame.data_ref().map_or(0, Bytes::len) as u64);
                frame.trailers_mut().map(headers::remove_overrides);
                frame
            }))
        }
    };
    let again = (is_empty && head.method.is_safe()).then(|| {
        let mut request = Request::new(body::empty());
        (*request.method_mut(), *request.headers_mut()) = (head.method.clone(), head.headers.clone());
        (target.clone(), request)
    });
    let answer = async {
        match (send(target, Request::from_parts(head, outgoing)).await, again) {
            // A pooled connection that the other side had closed looks like this, so once more at once
            // (RFC 9110 §9.2.2).
            (Err(UpstreamError { failure: UpstreamFailure::Cut, .. }), Some((target, request))) => {
                send(target, request).await
            }
            (answer, _) => answer,
        }
    };
    let answer = activity.limit(HEAD_TIMEOUT, answer).await;
    // What went wrong with the body is why the upstream could not answer.
    let answer = answer.map_err(|error| fault.get().cloned().unwrap_or(error.into()))?;
    let (mut head, incoming) = answer.into_parts();
    if head.status == StatusCode::SWITCHING_PROTOCOLS {
        // Nobody asked for it: `Upgrade` is not passed on.
        return Err(UpstreamError::unexpected("status 101").into());
    }
    headers::to_client(&mut head.headers, head.version);
    // The version is this hop's own (RFC 9110 §2.5).
    head.version = Version::HTTP_11;
    Ok(Response::from_parts(head, body::boxed(IdleLimited { incoming, sleep: None })))
}

/// When something last happened; cloning shares it.
#[derive(Debug, Clone)]
struct ForwardActivity {
    start: Instant,
    /// Milliseconds after the start.
    last: Arc<AtomicU64>,
}

impl ForwardActivity {
    fn new() -> Self {
        Self { start: Instant::now(), last: Arc::default() }
    }

    fn touch(&self) {
        self.last.store(self.start.elapsed().as_millis() as u64, Ordering::Relaxed);
    }

    /// Waits for `answer` as long as something happens at least every `limit`.
    async fn limit<T>(
        &self,
        limit: Duration,
        answer: impl Future<Output = Result<T, UpstreamError>>,
    ) -> Result<T, UpstreamError> {
        let mut answer = std::pin::pin!(answer);
        loop {
            let due = self.start + Duration::from_millis(self.last.load(Ordering::Relaxed)) + limit;
            if due <= Instant::now() {
                return Err(UpstreamError::timeout(UpstreamFailure::HeadTimeout(limit)));
            }
            tokio::select! {
                biased;
                answer = &mut answer => return answer,
                () = sleep_until(due) => {}
            }
        }
    }
}

/// A body that ends in an error when the upstream pauses for too long. Time that the client takes to read
/// does not count.
struct IdleLimited {
    incoming: Body,
    /// Runs while the upstream is waited for.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl http_body::Body for IdleLimited {
    type Data = Bytes;
    type Error = UpstreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamError>>> {
        match Pin::new(&mut self.incoming).poll_frame(context) {
            Poll::Ready(frame) => {
                self.sleep = None;
                Poll::Ready(frame.map(|frame| frame.map_err(|error| UpstreamError::of(&*error))))
            }
            Poll::Pending => {
                let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep(IDLE_TIMEOUT)));
                ready!(sleep.as_mut().poll(context));
                let timeout = UpstreamError::timeout(UpstreamFailure::IdleTimeout(IDLE_TIMEOUT));
                Poll::Ready(Some(Err(timeout)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}
