//! The accept loop: connections in, requests to a handler, an end in good order.

mod write_limit;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use crate::body::Body;
use write_limit::WriteLimited;

/// How long running answers may take to end at shutdown: what orchestrators grant before they kill.
const DRAIN: Duration = Duration::from_secs(10);

/// Longest wait for the head of a request: no honest client takes seconds for some hundred bytes.
const HEAD_TIMEOUT: Duration = Duration::from_secs(20);

/// Longest wait for a client to take any more of an answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// Pause after a failed accept: out of file descriptors, trying again at once would only burn a core.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Most header fields of a request: some five times what browsers send.
const MAX_HEADERS: usize = 100;
/// Most bytes of an HTTP/2 request's head.
const MAX_HEADER_LIST: u32 = 64 << 10;

/// Requests at once on one HTTP/2 connection.
const MAX_STREAMS: u32 = 128;
/// A peer that is silent for so long is asked for a sign of life, and is gone if it gives none in time.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Answers requests on `listener` until `stop` is set, then lets running answers finish.
///
/// Speaks HTTP/1.1 and, with prior knowledge, HTTP/2.
pub async fn serve<H, A>(listener: TcpListener, handler: H, mut stop: watch::Receiver<bool>)
where
    H: Fn(Request<Incoming>, SocketAddr) -> A + Clone + Send + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_headers(MAX_HEADERS);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADER_LIST)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let connections = GracefulShutdown::new();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = accept(&listener) => accepted,
            // It fails only if the sender is gone, which is an end as well.
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let handler = handler.clone();
        let service = service_fn(move |request| {
            // A connection keeps room for its answer's state as long as it is open: most are idle.
            let answer = Box::pin(handler(request, peer));
            async move { Ok::<_, Infallible>(answer.await) }
        });
        let connection = builder
            .serve_connection(TokioIo::new(WriteLimited::new(stream, WRITE_TIMEOUT)), service)
            .into_owned();
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                debug!(client.addr = %peer, error, "connection ended early");
            }
        });
    }
    drop(listener);
    let open = connections.count();
    if timeout(DRAIN, connections.shutdown()).await.is_err() {
        warn!(open, "connections cut: their answers did not finish within {} s", DRAIN.as_secs());
    }
}

async fn accept(listener: &TcpListener) -> (tokio::net::TcpStream, SocketAddr) {
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
