//! One connection, from its first byte to its end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioTimer;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::debug;

use super::WRITE_TIMEOUT;
use super::answer::Answer;
use super::connections::Place;
use super::streams::Streams;
use super::wire::{Begun, Wire};
use crate::body::BoxError;
use crate::proxy::admit::MAX_FIELDS;

/// How long an HTTP/2 connection has to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// Most bytes of a request's head, eight times what servers usually allow: a header of cookies and tokens is the
/// upstream's to refuse. As much is buffered of each body on its way.
const MAX_HEAD: u32 = 64 << 10;

/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 128;
/// Most requests that a client may have taken back before they were looked at, and most mistakes it may make,
/// on one HTTP/2 connection. Beyond, it is an attack (CVE-2023-44487, CVE-2025-8671).
const MAX_RESETS: usize = 20;
const MAX_MISTAKES: usize = 100;
/// A peer that is silent for so long is asked for a sign of life, and is gone if it gives none in time.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// How HTTP is spoken.
#[derive(Debug)]
pub(super) struct Protocols {
    http1: http1::Builder,
    http2: http2::Builder<Streams>,
}

impl Protocols {
    pub(super) fn new() -> Self {
        let mut http1 = http1::Builder::new();
        // The time for a head is limited with that for all else that a connection waits for: hyper's own limit
        // does not know an idle connection from half a request.
        http1.header_read_timeout(None).max_headers(MAX_FIELDS).max_buf_size(MAX_HEAD as usize);
        let mut http2 = http2::Builder::new(Streams(WRITE_TIMEOUT));
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(MAX_STREAMS)
            .max_pending_accept_reset_streams(MAX_RESETS)
            .max_local_error_reset_streams(MAX_MISTAKES)
            .max_header_list_size(MAX_HEAD)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        Self { http1, http2 }
    }
}

/// Serves one connection to its end.
pub(super) async fn converse<S, H, A, B>(
    stream: S,
    peer: SocketAddr,
    place: Place,
    protocols: &Protocols,
    handler: H,
    mut stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    H: Fn(Request<Incoming>, SocketAddr) -> A + Send + Sync,
    A: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error = BoxError> + Send + Unpin + 'static,
{
    let state = &place.connection;
    let answer = |request: Request<Incoming>, multiplexed: bool| {
        let busy = state.begin(multiplexed);
        let answer = handler(request, peer);
        async move { Ok::<_, Infallible>(answer.await.map(|body| Answer::new(body, busy))) }
    };
    let mut stopping = pin!(async { drop(stop.wait_for(|stop| *stop).await) });
    let mut wire = Wire::new(stream);
    let mut is_new = true;
    let ended = loop {
        let begun = tokio::select! {
            begun = wire.begun() => begun,
            () = state.closing() => return wire.close().await,
            () = stopping.as_mut() => return wire.close().await,
        };
        match begun {
            // SECURITY: later, a proxy in front would take what it begins with for a request of HTTP/1.
            Ok(Begun::Http2) if is_new => {
                let service = service_fn(|request| answer(request, true));
                let mut connection = Box::pin(protocols.http2.serve_connection(wire, service));
                break tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = state.closing() => {
                        connection.as_mut().graceful_shutdown();
                        timeout(GOODBYE, connection).await.unwrap_or(Ok(()))
                    }
                    () = stopping.as_mut() => {
                        connection.as_mut().graceful_shutdown();
                        connection.await
                    }
                };
            }
            Ok(Begun::Http1 | Begun::Http2) => {}
            Ok(Begun::Gone) => return,
            Err(error) => {
                debug!(client.addr = %peer, %error, "connection ended early");
                return;
            }
        }
        is_new = false;
        let service = service_fn(|request| answer(request, false));
        let mut connection = Box::pin(protocols.http1.serve_connection(wire, service));
        tokio::select! {
            ended = connection.as_mut() => break ended,
            () = state.closing() => {
                connection.as_mut().graceful_shutdown();
                break timeout(Duration::ZERO, connection).await.unwrap_or(Ok(()));
            }
            // Until the next request it keeps no buffers: they are most of what a connection takes.
            () = state.rests() => {
                let parts = Pin::into_inner(connection).into_parts();
                if !parts.read_buf.is_empty() {
                    // The start of a request that came with the one before.
                    state.received();
                }
                wire = parts.io.unread(&parts.read_buf);
            }
            () = stopping.as_mut() => {
                connection.as_mut().graceful_shutdown();
                break connection.await;
            }
        }
    };
    if let Err(error) = ended {
        debug!(client.addr = %peer, %error, "connection ended early");
    }
}
