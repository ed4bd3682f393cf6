//! Requests that are passed on: a client that sends a body at its own pace, and an upstream that sends it back.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::uri::PathAndQuery;
use http::{Request, Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use prometheus_client::metrics::counter::Counter;
use tokio::time::{Duration, sleep};

use super::script::{Behaviour, Upload};
use super::upstream::Upstream;
use super::world::World;
use crate::body::{self, Body, BoxError};
use crate::cancel;
use crate::proxy::forward;
use crate::proxy::headers::Client;
use crate::proxy::respond;
use crate::upstream::UpstreamError;

/// Largest body of a request that is passed on.
const MAX_BODY: u64 = 1500;
/// Body of an answer that does not wait for the request's.
const EARLY: &[u8] = b"not read";

/// Bytes of one request's body, like no other's.
fn content(number: usize, len: u16) -> Bytes {
    (0..usize::from(len)).map(|n| (n * 7 + n / 256 + number * 31) as u8).collect()
}

/// Sends parts of a body, with a pause before each, and then ends it or fails.
fn paced(parts: Vec<Bytes>, pause: Duration, error: Option<&'static str>) -> Body {
    let parts: Vec<Result<Bytes, BoxError>> =
        parts.into_iter().map(Ok).chain(error.map(|error| Err(error.into()))).collect();
    let frames = stream::unfold(parts.into_iter(), move |mut parts| async move {
        let part = parts.next()?;
        sleep(pause).await;
        Some((part.map(Frame::data), parts))
    });
    body::boxed(StreamBody::new(frames))
}

fn cut(bytes: &Bytes) -> Vec<Bytes> {
    bytes.chunks(200).map(Bytes::copy_from_slice).collect()
}

/// Sends a request that is passed on, and looks what comes back.
pub(super) async fn pass(world: Arc<World>, process: usize, number: usize, upload: Upload) {
    let sent = content(number, upload.len);
    let body = if sent.is_empty() { body::empty() } else { paced(cut(&sent), upload.pause.time(), None) };
    let request = if sent.is_empty() { Request::get("/other") } else { Request::put("/other") };
    let request = request.body(body).expect("a request");
    let target: PathAndQuery = format!("/other?{number}").parse().expect("a target");
    let send = |target: PathAndQuery, request| {
        let (upstream, expected) = (world.upstream.clone(), sent.clone());
        async move { answer(upstream, process, &target, request, expected).await }
    };
    let peer = std::net::Ipv4Addr::LOCALHOST.into();
    let client = Client { address: peer, host: None, secure: false, trusted: false };
    let response = forward::over(send, request, target, &client, MAX_BODY, Counter::default());
    let response = match upload.patience {
        Some(polls) => cancel::after(polls.into(), response).await,
        None => Some(response.await),
    };
    let Some(response) = response else {
        return world.trace(format!("upload {number} hung up"));
    };
    let response = response.unwrap_or_else(|error| respond::problem(&error));
    let status = response.status();
    let (mut body, mut bytes, mut is_complete) = (response.into_body(), Vec::new(), false);
    for _ in 0..upload.max_frames.unwrap_or(u8::MAX) {
        match body.frame().await {
            Some(Ok(frame)) => bytes.extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
            Some(Err(_)) => break,
            None => {
                is_complete = true;
                break;
            }
        }
    }
    drop(body);
    world.trace(format!("upload {number}: {status} {} bytes, complete: {is_complete}", bytes.len()));
    let is_too_large = sent.len() as u64 > MAX_BODY;
    let is_right = match status.as_u16() {
        200 if is_complete => bytes == EARLY || bytes == sent && !is_too_large,
        200 => EARLY.starts_with(&bytes) || sent.starts_with(&bytes) && !is_too_large,
        // Less than a kilobyte in half a minute, and there are jumps.
        408 => !sent.is_empty(),
        413 => is_too_large,
        404 | 429 | 500 | 502 | 503 | 504 => true,
        _ => false,
    };
    if !is_right {
        world.fail(format!(
            "wrong answer: {status} with {} bytes to an upload (client {number})",
            bytes.len()
        ));
    }
}

/// Answers as the upstream does to what is no feed.
async fn answer(
    upstream: Upstream,
    process: usize,
    target: &PathAndQuery,
    request: Request<Body>,
    expected: Bytes,
) -> Result<Response<Body>, UpstreamError> {
    let open = upstream.begin(process, target);
    let behaviour = upstream.behaviour();
    let mut response = Response::new(body::empty());
    match behaviour {
        Behaviour::Silent => sleep(Duration::from_secs(86_400)).await,
        Behaviour::Status(status, _) => {
            *response.status_mut() = StatusCode::from_u16(status).expect("a status");
            return Ok(response);
        }
        Behaviour::Garbage | Behaviour::Spoiled | Behaviour::Shrunken => {
            *response.body_mut() = body::full(EARLY);
            return Ok(response);
        }
        _ => {}
    }
    let closes = request.headers().get(header::CONNECTION).is_some_and(|value| value == "close");
    if !expected.is_empty() && !closes {
        upstream.fail(format!("connection kept: {target}"));
    }
    let (mut incoming, mut received) = (request.into_body(), Vec::new());
    while let Some(frame) = incoming.frame().await {
        let frame = frame.map_err(|error| UpstreamError::of(&*error))?;
        received.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
        if !expected.starts_with(&received) {
            upstream.fail(format!("wrong upload: {target}, {} bytes", received.len()));
        }
    }
    if received.len() != expected.len() {
        upstream.fail(format!("cut upload: {target}, {} of {} bytes", received.len(), expected.len()));
    }
    let received = Bytes::from(received);
    let half = received.slice(..received.len() / 2);
    let body = match behaviour {
        Behaviour::Good(wait, pause) => {
            sleep(wait.time()).await;
            paced(cut(&received), pause.time(), None)
        }
        Behaviour::Stalls => paced(cut(&half), Duration::from_secs(80), Some("stalled")),
        Behaviour::Cuts => paced(cut(&half), Duration::ZERO, Some("cut")),
        _ => body::full(received),
    };
    *response.body_mut() = body::boxed(body.map_frame(move |frame| {
        // The request is open as long as its answer is read.
        let _ = &open;
        frame
    }));
    Ok(response)
}
