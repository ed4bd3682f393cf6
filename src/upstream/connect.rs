//! Connections to the upstream: straight, or through a tunnel that a proxy opens (CONNECT, RFC 9110 §9.3.6).

use std::error::Error as StdError;
use std::io;
use std::iter::successors;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::TryFutureExt;
use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tower_service::Service;

use super::UpstreamFailure;
use super::outbound::Outbound;
use super::resolve::Resolver;
use crate::body::BoxError;

/// Longest wait for a TCP connection, over all addresses: a reachable server takes under a second. A proxy
/// has as long for all it does, which is to be found, to connect and to answer.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Makes TCP connections: to each address of a name in turn, and where there are both kinds, to the first of
/// the other kind as well when one of the preferred has not answered for 300 ms (RFC 8305).
type Tcp = HttpConnector<Resolver>;

/// Makes the connections that TLS runs on.
#[derive(Debug, Clone)]
pub(super) enum Connector {
    /// To the origin itself.
    Direct(Tcp),
    /// To the proxy, which connects to the origin.
    Tunnel(Tunnel<Tcp>),
}

/// There is no tunnel to the upstream.
#[derive(Debug, thiserror::Error)]
#[error("through the outbound proxy")]
pub(super) struct TunnelError {
    /// Which side of the proxy failed.
    pub(super) failure: UpstreamFailure,
    source: BoxError,
}

impl Connector {
    /// Makes a connector that goes the given way.
    pub(super) fn new(outbound: &Outbound) -> Self {
        Self::over(Resolver::new(), outbound)
    }

    pub(super) fn over(resolver: Resolver, outbound: &Outbound) -> Self {
        let mut tcp = Tcp::new_with_resolver(resolver);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let Some(proxy) = outbound.proxy() else { return Self::Direct(tcp) };
        let tunnel = Tunnel::new(proxy.uri().clone(), tcp);
        Self::Tunnel(match proxy.basic_auth() {
            Some(auth) => tunnel.with_auth(auth.clone()),
            None => tunnel,
        })
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        match self {
            Self::Direct(tcp) => tcp.poll_ready(cx).map_err(Into::into),
            Self::Tunnel(tunnel) => tunnel.poll_ready(cx).map_err(Into::into),
        }
    }

    fn call(&mut self, target: Uri) -> Self::Future {
        match self {
            Self::Direct(tcp) => Box::pin(tcp.call(target).err_into()),
            Self::Tunnel(tunnel) => {
                let connecting = tunnel.call(target);
                Box::pin(async move {
                    // The connector's own limit ends where the proxy has accepted the connection.
                    let connected = timeout(CONNECT_TIMEOUT, connecting).await;
                    let connected =
                        connected.map_err(|late| TunnelError::of(io::Error::from(late).into()))?;
                    Ok(connected.map_err(|error| TunnelError::of(error.into()))?)
                })
            }
        }
    }
}

impl TunnelError {
    fn of(source: BoxError) -> Self {
        let causes = || successors(Some(&*source as &(dyn StdError + 'static)), |&error| error.source());
        let late = |error: &(dyn StdError + 'static)| {
            error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
        };
        let failure = if causes().any(late) {
            UpstreamFailure::ConnectTimeout(CONNECT_TIMEOUT)
        } else if causes().any(<dyn StdError>::is::<<Tcp as Service<Uri>>::Error>) {
            UpstreamFailure::OutboundProxy
        } else {
            UpstreamFailure::Tunnel
        };
        Self { failure, source }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Mutex;

    use tokio::net::{TcpListener, TcpSocket};
    use tokio::time::Instant;

    use super::*;
    use crate::config::ProxyVariables;

    /// Fills the queue of a port of IPv6 that nobody accepts on, so that it answers no more. A machine
    /// without IPv6 has no port that answers anyway.
    async fn black_hole() -> (SocketAddr, Option<TcpListener>, Vec<TcpStream>) {
        let any = "[::1]:0".parse().expect("an address");
        let socket = TcpSocket::new_v6().and_then(|socket| socket.bind(any).map(|()| socket));
        let Ok(listener) = socket.and_then(|socket| socket.listen(1)) else {
            return ("[::1]:1".parse().expect("an address"), None, Vec::new());
        };
        let address = listener.local_addr().expect("an address");
        let mut queue = Vec::new();
        while let Ok(stream) = timeout(Duration::from_millis(200), TcpStream::connect(address)).await {
            queue.push(stream.expect("a connection"));
        }
        (address, Some(listener), queue)
    }

    #[tokio::test]
    async fn a_dead_address_of_ipv6_does_not_hide_one_of_ipv4() {
        static ADDRESSES: Mutex<Vec<SocketAddr>> = Mutex::new(Vec::new());
        let resolver = Resolver::with(|_| Ok(ADDRESSES.lock().expect("no panic").clone().into_iter()));
        let mut connector = Connector::over(resolver, &Outbound::direct());
        let alive = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let alive = alive.local_addr().expect("an address");
        let (silent, _listener, _queue) = black_hole().await;
        let refusing = "[::1]:1".parse().expect("an address");
        for dead in [silent, refusing] {
            *ADDRESSES.lock().expect("no panic") = vec![dead, alive];
            let stream =
                connector.call(Uri::from_static("http://dual.example/")).await.expect("a connection");
            assert_eq!(stream.inner().peer_addr().expect("a peer"), alive, "beside {dead}");
        }
        *ADDRESSES.lock().expect("no panic") = vec![silent];
        // From here on nothing is to arrive, so the clock may jump.
        tokio::time::pause();
        let started = Instant::now();
        connector.call(Uri::from_static("http://dead.example/")).await.map(drop).expect_err("no connection");
        assert!(started.elapsed() < 2 * CONNECT_TIMEOUT);
    }

    #[tokio::test(start_paused = true)]
    async fn a_proxy_that_never_answers_is_left() {
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", silent.local_addr().expect("an address"));
        let origin = "https://a.example".parse().expect("an origin");
        let outbound = Outbound::new(
            &origin,
            &ProxyVariables::from_variables(|name| (name == "HTTPS_PROXY").then(|| url.clone())),
        )
        .expect("a way");
        let mut connector = Connector::new(&outbound);
        let error =
            connector.call(Uri::from_static("https://a.example/")).await.map(drop).expect_err("no tunnel");
        let error = error.downcast_ref::<TunnelError>().expect("a tunnel's error");
        assert_eq!(error.failure, UpstreamFailure::ConnectTimeout(CONNECT_TIMEOUT));
    }
}
