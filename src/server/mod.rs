//! Accept loop: admits connections, serves them, and drains them on shutdown.

mod activity;
mod admission;
mod connection;
mod handshake;
pub mod inherited;
pub mod listener;
mod response;
mod socket;
mod streams;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, warn};

use self::admission::Full;
pub use self::admission::{Connections, Quotas};
use self::connection::Shared;
use self::listener::Acceptor;
use crate::body::BoxError;
use crate::certificate::Certificate;
use crate::limits::{DRAIN_TIMEOUT, SWEEP_INTERVAL};
use crate::panics;

/// Serves requests on `listener` until `stop` is set, then lets running responses finish.
///
/// Speaks HTTP/1.1 and HTTP/2: over TLS with `certificate`, else in the clear, as the client begins. Ends at most
/// 10 s after `stop`. Dropped, it closes everything at once.
pub async fn serve<H, A, B>(
    listener: TcpListener,
    connections: Arc<Connections>,
    certificate: Option<Arc<Certificate>>,
    handler: H,
    mut stop: watch::Receiver<bool>,
) where
    H: Fn(Request<Incoming>, SocketAddr) -> A + Send + Sync + 'static,
    A: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error = BoxError> + Send + Unpin + 'static,
{
    let http = connection::http(connections.panics.clone());
    let shared = Arc::new(Shared { http, certificate, handler });
    let mut acceptor = Acceptor::new(listener);
    let mut tasks = JoinSet::new();
    let mut sweep = interval(SWEEP_INTERVAL);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut accepted: Option<(TcpStream, SocketAddr)> = None;
    loop {
        if let Some((stream, peer)) = accepted.take() {
            match connections.admit(peer) {
                Ok(place) => {
                    let task = Arc::clone(&shared).serve(stream, peer, place, stop.clone());
                    tasks.spawn(panics::catch_task("connection", connections.panics.clone(), task));
                }
                // It waits for the next that ends or has no request, and the others in the system's queue. That
                // costs nothing here, and a wait is better than an error for whoever has to try again.
                Err(Full::Total) => accepted = Some((stream, peer)),
                // Waiting for one client would make all others wait.
                Err(Full::PerAddress) => {
                    debug!(client.addr = %peer, "too many connections from one address");
                }
            }
        }
        tokio::select! {
            connection = acceptor.accept(), if accepted.is_none() => accepted = Some(connection),
            Some(_) = tasks.join_next() => {}
            _ = sweep.tick() => connections.sweep(),
            // It fails only if the sender is gone, which is an end as well.
            _ = stop.wait_for(|stop| *stop) => break,
        }
    }
    drop((acceptor, accepted));
    let ended = timeout(DRAIN_TIMEOUT, async { while tasks.join_next().await.is_some() {} }).await;
    if ended.is_err() {
        let (open, limit) = (tasks.len(), DRAIN_TIMEOUT.as_secs());
        warn!(open, "connections cut: their responses did not finish within {limit} s");
    }
}

#[cfg(test)]
#[allow(clippy::async_yields_async, reason = "the helper makes the future anew for every run")]
mod tests {
    use std::future::{Ready, pending, ready};
    use std::time::Duration;

    use futures_util::future::Either;
    use prometheus_client::metrics::counter::Counter;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;
    use crate::body::{self, Body as AnyBody};
    use crate::cancel;
    use crate::metrics::connections::Port;

    type Answer = Either<Ready<Response<AnyBody>>, std::future::Pending<Response<AnyBody>>>;

    /// Answers everything but `/stuck`.
    fn handler(request: Request<Incoming>, _: SocketAddr) -> Answer {
        match request.uri().path() {
            "/stuck" => Either::Right(pending()),
            _ => Either::Left(ready(Response::new(body::full("done")))),
        }
    }

    fn any_port() -> (TcpListener, SocketAddr) {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let listener = listener::bind(address, &[address]).expect("a port");
        let address = listener.local_addr().expect("an address");
        (listener, address)
    }

    fn connections() -> Arc<Connections> {
        let quotas = Quotas { total: 10, per_address: 10, exempt: Vec::new() };
        Connections::new(quotas, Port::default(), Counter::default())
    }

    async fn ask(address: SocketAddr, path: &str) -> TcpStream {
        let mut stream = TcpStream::connect(address).await.expect("a connection");
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("room");
        stream
    }

    #[tokio::test]
    async fn shutdown_has_an_end_whatever_a_handler_does() {
        let (listener, address) = any_port();
        let connections = connections();
        let (stop, stopped) = watch::channel(false);
        let server = tokio::spawn(serve(listener, Arc::clone(&connections), None, handler, stopped));
        let mut stuck = ask(address, "/stuck").await;
        let mut idle = ask(address, "/").await;
        idle.read_exact(&mut [0; 64]).await.expect("an answer");
        tokio::time::pause();
        let start = Instant::now();
        stop.send(true).expect("a server");
        server.await.expect("an end");
        assert!(start.elapsed() <= DRAIN_TIMEOUT + Duration::from_secs(1), "{:?}", start.elapsed());
        tokio::time::resume();
        assert_eq!(stuck.read(&mut [0]).await.expect("an end"), 0);
        let mut rest = Vec::new();
        idle.read_to_end(&mut rest).await.expect("an end");
        while connections.len() > 0 {
            tokio::task::yield_now().await;
        }
        TcpStream::connect(address).await.expect_err("nobody listens");
    }

    #[tokio::test]
    async fn a_server_dropped_at_any_await_leaves_nothing_behind() {
        let all = connections();
        let run = async || {
            let (listener, address) = any_port();
            let (stop, stopped) = watch::channel(false);
            let server = serve(listener, Arc::clone(&all), None, handler, stopped);
            async move {
                let client = async {
                    let mut stream = ask(address, "/").await;
                    stream.read_exact(&mut [0; 64]).await.expect("an answer");
                    stop.send(true).expect("a server");
                };
                tokio::join!(server, client);
            }
        };
        cancel::at_every_await(run, async |_| {
            while all.len() > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        while all.len() > 0 {
            tokio::task::yield_now().await;
        }
    }
}
