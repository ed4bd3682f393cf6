//! The accept loop: connections in, requests to a handler, an end in good order.

mod answer;
mod connections;
pub mod descriptors;
mod socket;
mod streams;
pub mod tls;
pub mod validity;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, Version};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, warn};

use self::answer::Answer;
pub use self::connections::Connections;
use self::connections::{Full, Place};
use self::socket::Socket;
use self::streams::Streams;
use self::tls::Certificate;
use crate::body::Body;
use crate::proxy::admit::MAX_FIELDS;

/// How long running answers may take to end at shutdown: what orchestrators grant before they kill.
const DRAIN: Duration = Duration::from_secs(10);

/// Longest wait for a client to take more of an answer, and the least that it must take by then: what is slower
/// than an old modem is no server's line. A feed is then held for 20 minutes at most by whoever reads it slowly.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);
const WRITE_LEAST: usize = 64 << 10;

/// Pause after a failed accept: out of file descriptors, trying again at once would only burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Longest wait for a TLS handshake: a few round trips.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How often connections are looked at for those that took too long.
const LOOK: Duration = Duration::from_secs(1);

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

/// Answers requests on `listener` until `stop` is set, then lets running answers finish.
///
/// Speaks HTTP/1.1 and HTTP/2: over TLS with `certificate` as is agreed on, else as the client begins.
pub async fn serve<H, A>(
    listener: TcpListener,
    connections: Arc<Connections>,
    certificate: Option<Arc<Certificate>>,
    handler: H,
    mut stop: watch::Receiver<bool>,
) where
    H: Fn(Request<Incoming>, SocketAddr) -> A + Clone + Send + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let builder = builder();
    let mut tasks = JoinSet::new();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut accepted: Option<(TcpStream, SocketAddr)> = None;
    loop {
        if let Some((stream, peer)) = accepted.take() {
            match connections.admit(peer) {
                Ok(place) => {
                    let (builder, handler, stop) = (builder.clone(), handler.clone(), stop.clone());
                    let certificate = certificate.clone();
                    let socket = Socket::new(stream, Arc::clone(&place.connection), WRITE_TIMEOUT);
                    tasks.spawn(async move {
                        let Some(certificate) = certificate else {
                            return converse(socket, peer, place, builder, handler, stop).await;
                        };
                        match timeout(HANDSHAKE_TIMEOUT, certificate.acceptor().accept(socket)).await {
                            // Boxed, so that connections without TLS do not keep room for one.
                            Ok(Ok(stream)) => {
                                Box::pin(converse(stream, peer, place, builder, handler, stop)).await;
                            }
                            Ok(Err(error)) => debug!(client.addr = %peer, %error, "no TLS handshake"),
                            Err(_) => debug!(client.addr = %peer, "TLS handshake took too long"),
                        }
                    });
                }
                // It waits for the next that ends or has no request, and the others in the system's queue. That
                // costs nothing here, and a wait is better than an error for whoever has to try again.
                Err(Full::All) => accepted = Some((stream, peer)),
                // Waiting for one client would make all others wait.
                Err(Full::Share) => debug!(client.addr = %peer, "too many connections from one address"),
            }
        }
        tokio::select! {
            connection = accept(&listener), if accepted.is_none() => accepted = Some(connection),
            Some(_) = tasks.join_next() => {}
            _ = look.tick() => connections.close_overdue(),
            // It fails only if the sender is gone, which is an end as well.
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    drop((listener, accepted));
    let ended = timeout(DRAIN, async { while tasks.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        let open = tasks.len();
        warn!(open, "connections cut: their answers did not finish within {} s", DRAIN.as_secs());
    }
}

fn builder() -> Builder<Streams> {
    let mut builder = Builder::new(Streams(WRITE_TIMEOUT));
    // The time for a head is limited with that for all else that a connection waits for: hyper's own limit does
    // not know an idle connection from half a request.
    builder.http1().header_read_timeout(None).max_headers(MAX_FIELDS).max_buf_size(MAX_HEAD as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_RESETS)
        .max_local_error_reset_streams(MAX_MISTAKES)
        .max_header_list_size(MAX_HEAD)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// Serves one connection to its end.
async fn converse<S, H, A>(
    stream: S,
    peer: SocketAddr,
    place: Place,
    builder: Builder<Streams>,
    handler: H,
    mut stop: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    H: Fn(Request<Incoming>, SocketAddr) -> A + Clone + Send + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let state = Arc::clone(&place.connection);
    let service = service_fn(move |request: Request<Incoming>| {
        let busy = state.begin(request.version() == Version::HTTP_2);
        // A connection keeps room for its answer's state as long as it is open: most are idle.
        let answer = Box::pin(handler(request, peer));
        async move { Ok::<_, Infallible>(answer.await.map(|body| Answer::new(body, busy))) }
    });
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = place.connection.closing() => {
            connection.as_mut().graceful_shutdown();
            let goodbye = if place.connection.is_multiplexed() { GOODBYE } else { Duration::ZERO };
            timeout(goodbye, connection).await.unwrap_or(Ok(()))
        }
        () = async { drop(stop.wait_for(|stop| *stop).await) } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(client.addr = %peer, error, "connection ended early");
    }
}

async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                // Heads and bodies are written apart; Nagle would hold the second back for 40 ms.
                if let Err(error) = stream.set_nodelay(true) {
                    debug!(client.addr = %peer, %error, "no TCP_NODELAY");
                }
                return (stream, peer);
            }
            // The client is gone already.
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                warn!(%error, "cannot accept connections");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn is_about_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(error.kind(), K::ConnectionRefused | K::ConnectionAborted | K::ConnectionReset)
}
