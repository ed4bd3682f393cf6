//! The accept loop: connections in, requests to a handler, an end in good order.

mod answer;
mod connections;
mod converse;
pub mod descriptors;
mod handshake;
mod socket;
mod streams;
pub mod tls;
pub mod validity;
mod wire;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Body;
use hyper::body::Incoming;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tracing::{debug, warn};

pub use self::connections::Connections;
use self::connections::Full;
use self::converse::{Protocols, converse};
use self::socket::Socket;
use self::tls::Certificate;
use crate::body::BoxError;

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

/// Answers requests on `listener` until `stop` is set, then lets running answers finish.
///
/// Speaks HTTP/1.1 and HTTP/2: over TLS with `certificate` as is agreed on, else as the client begins.
pub async fn serve<H, A, B>(
    listener: TcpListener,
    connections: Arc<Connections>,
    certificate: Option<Arc<Certificate>>,
    handler: H,
    mut stop: watch::Receiver<bool>,
) where
    H: Fn(Request<Incoming>, SocketAddr) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes, Error = BoxError> + Send + Unpin + 'static,
{
    let protocols = Arc::new(Protocols::new());
    let mut tasks = JoinSet::new();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut accepted: Option<(TcpStream, SocketAddr)> = None;
    loop {
        if let Some((stream, peer)) = accepted.take() {
            match connections.admit(peer) {
                Ok(place) => {
                    let (protocols, handler, stop) = (Arc::clone(&protocols), handler.clone(), stop.clone());
                    let certificate = certificate.clone();
                    let socket = Socket::new(stream, Arc::clone(&place.connection), WRITE_TIMEOUT);
                    tasks.spawn(async move {
                        let Some(certificate) = certificate else {
                            return converse(socket, peer, place, &protocols, handler, stop).await;
                        };
                        // Boxed, so that connections without TLS do not keep room for one.
                        let handshake = Box::pin(handshake::accept(&certificate, socket));
                        match timeout(HANDSHAKE_TIMEOUT, handshake).await {
                            Ok(Ok(stream)) => {
                                Box::pin(converse(stream, peer, place, &protocols, handler, stop)).await;
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
