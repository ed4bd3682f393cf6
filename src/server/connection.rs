//! One connection from its first byte to its end.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use prometheus_client::metrics::counter::Counter;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::debug;

use super::activity::Activity;
use super::admission::ConnectionPlace;
use super::handshake;
use super::response::ResponseBody;
use super::socket::Socket;
use super::streams::Streams;
use crate::body::BoxError;
use crate::certificate::Certificate;
use crate::limits::{
    FIRST_REQUEST_GRACE, GOAWAY_TIMEOUT, HANDSHAKE_TIMEOUT, MAX_ERROR_RESETS, MAX_FIELDS, MAX_HEAD,
    MAX_PENDING_RESETS, MAX_STREAMS, PING_INTERVAL, PING_TIMEOUT,
};

/// Speaks HTTP/1 or HTTP/2, as the client begins.
pub(super) type Http = auto::Builder<Streams>;

/// Sets up both protocols. Panics of HTTP/2 streams are counted in `panics`.
pub(super) fn http(panics: Counter) -> Http {
    let mut http = Http::new(Streams { panics });
    // The sweep limits the time for a head with all else that a connection waits for: hyper's own limit does not
    // tell an idle connection from half a request.
    http.http1()
        .header_read_timeout(None)
        // Programs that read fields by hand, as many in PHP do, look for `Content-Length`.
        .title_case_headers(true)
        .max_headers(MAX_FIELDS)
        .max_buf_size(MAX_HEAD as usize);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .max_local_error_reset_streams(MAX_ERROR_RESETS)
        .max_header_list_size(MAX_HEAD)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    http
}

/// What all connections of a listener share.
#[derive(Debug)]
pub(super) struct Shared<H> {
    pub(super) http: Http,
    pub(super) certificate: Option<Arc<Certificate>>,
    pub(super) handler: H,
}

impl<H, A, B> Shared<H>
where
    H: Fn(Request<Incoming>, SocketAddr) -> A + Send + Sync + 'static,
    A: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error = BoxError> + Send + Unpin + 'static,
{
    /// Serves an accepted connection, over TLS if there is a certificate, until it ends or is told to.
    pub(super) async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        place: ConnectionPlace,
        mut stop: watch::Receiver<bool>,
    ) {
        let activity = &place.activity;
        let socket = Socket::new(stream, Arc::clone(activity));
        let Some(certificate) = self.certificate.clone() else {
            return self.converse(socket, peer, activity, stop).await;
        };
        // Boxed, so that connections without TLS do not keep room for one.
        let handshake = Box::pin(timeout(HANDSHAKE_TIMEOUT, handshake::accept(&certificate, socket)));
        let stream = tokio::select! {
            stream = handshake => stream,
            () = activity.closing() => return,
            () = stopping(&mut stop, activity) => return,
        };
        match stream {
            Ok(Ok(stream)) => Box::pin(self.converse(stream, peer, activity, stop)).await,
            Ok(Err(error)) => debug!(client.addr = %peer, %error, "no TLS handshake"),
            Err(_) => debug!(client.addr = %peer, "TLS handshake took too long"),
        }
    }

    /// Serves requests on a stream until it ends or is told to.
    ///
    /// INVARIANT: hyper alone decides whether a connection goes on to its next request, which it does only when it
    /// has read the one before to its end. Nothing here takes a connection out of its hands.
    async fn converse(
        self: Arc<Self>,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: SocketAddr,
        activity: &Arc<Activity>,
        mut stop: watch::Receiver<bool>,
    ) {
        let service = service_fn(|request: Request<Incoming>| {
            let running = activity.start(&request);
            let shared = Arc::clone(&self);
            // The handler is called by its own task over HTTP/2, so that a panic of it ends one stream only.
            async move {
                let response = (shared.handler)(request, peer).await;
                Ok::<_, Infallible>(response.map(|body| ResponseBody::new(body, running)))
            }
        });
        let mut connection = pin!(self.http.serve_connection(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = activity.closing() => {
                connection.as_mut().graceful_shutdown();
                // Over HTTP/1 there is nothing to say: no response is under way, or it would not be closed.
                let limit = if activity.is_multiplexed() { GOAWAY_TIMEOUT } else { Duration::ZERO };
                timeout(limit, connection).await.unwrap_or(Ok(()))
            }
            () = stopping(&mut stop, activity) => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            debug!(client.addr = %peer, error, "connection ended early");
        }
    }
}

/// Completes when the server stops, and a connection without a request so far has had its chance: the client sees that
/// it was accepted, and its request may be on its way.
async fn stopping(stop: &mut watch::Receiver<bool>, activity: &Activity) {
    // It fails only if the sender is gone, which is an end as well.
    let _ = stop.wait_for(|stop| *stop).await;
    let _ = timeout(FIRST_REQUEST_GRACE, activity.asked()).await;
}

#[cfg(test)]
#[allow(clippy::async_yields_async, reason = "the helper makes the future anew for every run")]
mod tests {
    use std::future::{Ready, ready};

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::super::admission::{Connections, Quotas};
    use super::*;
    use crate::body::{self, Body as AnyBody};
    use crate::cancel;
    use crate::metrics::connections::Port;
    use crate::panics;

    const PEER: ([u8; 4], u16) = ([192, 0, 2, 1], 1);

    fn connections(panics: Counter) -> Arc<Connections> {
        Connections::new(Quotas { total: 1, per_address: 1, exempt: Vec::new() }, Port::default(), panics)
    }

    fn shared<H>(handler: H, panics: Counter) -> Arc<Shared<H>> {
        Arc::new(Shared { http: http(panics), certificate: None, handler })
    }

    fn hello(_: Request<Incoming>, _: SocketAddr) -> Ready<Response<AnyBody>> {
        ready(Response::new(body::full("hello")))
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_dropped_at_any_await_gives_its_place_back() {
        let connections = connections(Counter::default());
        let (_stop, stopped) = watch::channel(false);
        let talk = async || {
            let (connections, stopped) = (Arc::clone(&connections), stopped.clone());
            async move {
                let place = connections.admit(PEER.into()).expect("a place");
                let (near, mut far) = duplex(64);
                let shared = shared(hello, Counter::default());
                let socket = Socket::new(near, Arc::clone(&place.activity));
                let client = async {
                    for part in ["POST / HTTP/1.1\r\nhost: x\r\n", "content-length: 4\r\n\r\n", "body"] {
                        far.write_all(part.as_bytes()).await.expect("room");
                        tokio::task::yield_now().await;
                    }
                    let mut answer = vec![0; 64];
                    far.read_exact(&mut answer).await.expect("an answer");
                    drop(far);
                };
                tokio::join!(shared.converse(socket, PEER.into(), &place.activity, stopped), client);
            }
        };
        let mut drops = 0;
        cancel::at_every_await(talk, async |_| {
            drops += 1;
            assert_eq!(connections.len(), 0);
        })
        .await;
        assert!(drops > 2 && connections.len() == 0, "{drops}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_accepted_before_the_end_may_still_ask_once() {
        let connections = connections(Counter::default());
        for asks in [true, false] {
            let (_stop, stopped) = watch::channel(true);
            let place = connections.admit(PEER.into()).expect("a place");
            let (near, mut far) = duplex(1 << 10);
            let shared = shared(hello, Counter::default());
            let socket = Socket::new(near, Arc::clone(&place.activity));
            let start = tokio::time::Instant::now();
            let client = async {
                // The end is known before the request comes.
                for _ in 0..10 {
                    tokio::task::yield_now().await;
                }
                if asks {
                    far.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("room");
                }
                let mut answer = Vec::new();
                far.read_to_end(&mut answer).await.expect("an end");
                answer
            };
            let serving = shared.converse(socket, PEER.into(), &place.activity, stopped);
            let ((), answer) = tokio::join!(serving, client);
            assert_eq!(answer.starts_with(b"HTTP/1.1 200 "), asks, "{}", String::from_utf8_lossy(&answer));
            assert!(start.elapsed() <= 2 * FIRST_REQUEST_GRACE, "{:?}", start.elapsed());
        }
    }

    /// A handler that panics.
    fn broken(_: Request<Incoming>, _: SocketAddr) -> Ready<Response<AnyBody>> {
        panic!("a fault of the handler")
    }

    #[tokio::test]
    async fn a_panic_of_a_handler_is_counted_and_ends_its_own_request_only() {
        for preface in [None, Some(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")] {
            let panics = Counter::default();
            let connections = connections(panics.clone());
            let place = connections.admit(PEER.into()).expect("a place");
            let (_stop, stopped) = watch::channel(false);
            let (near, mut far) = duplex(1 << 16);
            let shared = shared(broken, panics.clone());
            let socket = Socket::new(near, Arc::clone(&place.activity));
            let task = panics::catch_task("connection", panics.clone(), async move {
                shared.converse(socket, PEER.into(), &place.activity, stopped).await;
            });
            let client = async {
                if preface.is_some() {
                    let (mut client, connection) = h2::client::handshake(far).await.expect("a handshake");
                    tokio::spawn(connection);
                    for _ in 0..2 {
                        let request = Request::get("http://x/").body(()).expect("a request");
                        let (answer, _) = client.send_request(request, true).expect("a stream");
                        assert!(answer.await.expect_err("a reset").is_reset());
                    }
                    return;
                }
                far.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.expect("room");
                assert_eq!(far.read(&mut [0]).await.expect("an end"), 0);
            };
            tokio::join!(task, client);
            assert_eq!(panics.get(), if preface.is_some() { 2 } else { 1 });
            assert_eq!(connections.len(), 0);
        }
    }
}
