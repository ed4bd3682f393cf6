//! The upstream: one origin, reached over verified TLS with pooled connections.
//!
//! Every request ends at the configured origin, whatever its path says. Errors say which phase failed.

mod connect;
mod failure;
mod loop_mark;
mod no_proxy;
pub mod outbound;
mod resolve;
pub mod retry_after;
mod roots;

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use http::uri::{PathAndQuery, Uri};
use http::{HeaderMap, HeaderValue, Request, Response, Version, header};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;
use tokio::time::Instant;

use self::connect::Connector;
pub use self::failure::{FailureRow, UpstreamFailure};
use self::loop_mark::LoopMark;
use self::outbound::Outbound;
pub use self::roots::RootsError;
use self::roots::{Roots, SecureConnector, Trust};
use crate::body::Body;
use crate::config::Origin;
use crate::given::Given;
use crate::metrics::Metrics;
use crate::reloading::{Reloadable, Reloading};
use crate::watch::Watch;

/// Name and version as the upstream sees them.
pub const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("catalog-proxy/", env!("CARGO_PKG_VERSION")));

/// This proxy in a `Via` field (RFC 9110 §7.6.3) of messages that it makes itself.
pub const VIA: HeaderValue = HeaderValue::from_static("1.1 catalog-proxy");

/// Returns this proxy in the `Via` field of a message that was received in `version` (RFC 9110 §7.6.3).
pub fn via(version: Version) -> HeaderValue {
    match version {
        Version::HTTP_10 => HeaderValue::from_static("1.0 catalog-proxy"),
        Version::HTTP_2 => HeaderValue::from_static("2 catalog-proxy"),
        _ => VIA,
    }
}

/// How long an idle connection is kept: shorter than what servers usually allow (60 s and more), so that
/// few requests meet a connection that is being closed.
const POOL_IDLE: Duration = Duration::from_secs(50);

/// How long connections are used for new requests. Under load none is ever idle, and one that lives on hides that the
/// upstream's name has moved to another address.
const CONNECTION_LIFETIME: Duration = Duration::from_mins(10);

/// A peer of HTTP/2 that is silent for so long is asked for a sign of life, and given up if it gives none:
/// all requests share its connection. Both end well before a fetch loses patience, which then has a new one.
const PING_INTERVAL: Duration = Duration::from_secs(3);
const PING_TIMEOUT: Duration = Duration::from_secs(3);
/// How far one answer over HTTP/2 may run ahead of its reader: 20 MB/s over 50 ms.
const STREAM_WINDOW: u32 = 1 << 20;
/// How far all of them may; so far that those nobody reads never hold up the others. It is the most there is.
const CONNECTION_WINDOW: u32 = (1 << 31) - 1;

/// The client of one upstream; clones share its connections.
#[derive(Debug, Clone)]
pub struct Upstream {
    client: Arc<Mutex<RenewedClient>>,
    connector: SecureConnector,
    origin: Origin,
    outbound: Outbound,
    mark: LoopMark,
}

/// A request to the upstream failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{failure}")]
pub struct UpstreamError {
    /// What failed, in words fit for a client.
    pub failure: UpstreamFailure,
    /// The causes, for the log.
    pub chain: Arc<str>,
}

impl Upstream {
    /// Makes the client of `origin`, which is reached the way `outbound` says; nothing is connected yet.
    ///
    /// # Errors
    /// If the roots in `ca_file` cannot be read. Without one the system's are used, or if it has none,
    /// Mozilla's as built in.
    pub fn new(
        origin: Origin,
        ca_file: Option<&Given<PathBuf>>,
        outbound: Outbound,
    ) -> Result<Self, RootsError> {
        let trust = ca_file.map_or(Trust::System, |file| Trust::File(file.clone()));
        Self::over(Connector::new(&outbound), origin, trust, outbound)
    }

    fn over(tcp: Connector, origin: Origin, trust: Trust, outbound: Outbound) -> Result<Self, RootsError> {
        let connector = SecureConnector { tcp, roots: Reloading::load(trust)? };
        let client = RenewedClient::new(connector.clone(), CONNECTION_LIFETIME);
        Ok(Self {
            client: Arc::new(Mutex::new(client)),
            connector,
            origin,
            outbound,
            mark: LoopMark::random(),
        })
    }

    /// Starts a thread that reloads the trusted roots when they change; connections made afterwards are verified
    /// with the new ones.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn watch_roots(&self, metrics: &Metrics) -> io::Result<Watch> {
        self.connector.roots.watch(metrics.panics(Roots::NAME))
    }

    /// Returns a client of the same upstream with connections of its own.
    pub fn apart(&self) -> Self {
        let client = RenewedClient::new(self.connector.clone(), CONNECTION_LIFETIME);
        Self { client: Arc::new(Mutex::new(client)), ..self.clone() }
    }

    /// Returns where requests go.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Returns the way they take.
    pub fn outbound(&self) -> &Outbound {
        &self.outbound
    }

    /// Returns true if a request that came in was sent by this client, so that the origin leads back here.
    pub fn has_sent(&self, headers: &HeaderMap) -> bool {
        self.mark.is_in(headers)
    }

    /// Sends a request for `target` to the origin and returns the answer's head with the body to come.
    ///
    /// Version and `Host` are the connection's own. There is no time limit here.
    ///
    /// # Errors
    /// Says which phase failed.
    pub async fn send(
        &self,
        target: PathAndQuery,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, UpstreamError> {
        // SECURITY: the origin is ours alone to choose; a client's absolute-form target ends here.
        let uri = Uri::builder()
            .scheme(self.origin.scheme.clone())
            .authority(self.origin.authority.clone())
            .path_and_query(target)
            .build();
        *request.uri_mut() = uri.map_err(|error| UpstreamError::new(UpstreamFailure::Protocol, &error))?;
        *request.version_mut() = Version::HTTP_11;
        request.headers_mut().remove(header::HOST);
        self.mark.add_to(request.headers_mut());
        let client = self.client.lock().current(Instant::now());
        let mut response = client.request(request).await.map_err(|error| UpstreamError::of(&error))?;
        if let Some(coding) = response.headers().get(header::TRANSFER_ENCODING) {
            if !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return Err(UpstreamError::unexpected("unknown transfer coding"));
            }
            // SECURITY: the chunks count (RFC 9112 §6.3); passed on, a length would contradict them.
            response.headers_mut().remove(header::CONTENT_LENGTH);
        }
        Ok(response)
    }
}

impl UpstreamError {
    /// Classifies what the client or a body reported.
    pub fn of(error: &(dyn StdError + 'static)) -> Self {
        Self::new(UpstreamFailure::of(error), error)
    }

    /// A time limit ran out.
    pub fn timeout(failure: UpstreamFailure) -> Self {
        Self { failure, chain: "time limit".into() }
    }

    /// The answer makes no sense in HTTP.
    pub fn unexpected(what: &str) -> Self {
        Self { failure: UpstreamFailure::Protocol, chain: what.into() }
    }

    fn new(failure: UpstreamFailure, error: &dyn StdError) -> Self {
        let mut chain = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            // Writing to a string cannot fail.
            let _ = write!(chain, ": {error}");
            source = error.source();
        }
        Self { failure, chain: chain.into() }
    }
}

/// Pooling client that is replaced when its lifetime is over, and its connections with it. Responses under way keep
/// their connections until they end.
#[derive(Debug)]
struct RenewedClient {
    client: Client<SecureConnector, Body>,
    connector: SecureConnector,
    started: Instant,
    lifetime: Duration,
}

impl RenewedClient {
    fn new(connector: SecureConnector, lifetime: Duration) -> Self {
        Self { client: client(connector.clone()), connector, started: Instant::now(), lifetime }
    }

    /// Returns the client for a request that is sent at `now`.
    fn current(&mut self, now: Instant) -> Client<SecureConnector, Body> {
        if now.saturating_duration_since(self.started) >= self.lifetime {
            (self.client, self.started) = (client(self.connector.clone()), now);
        }
        self.client.clone()
    }
}

fn client(connector: SecureConnector) -> Client<SecureConnector, Body> {
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        // What old servers send and curl takes. None of it leaves the end of a body in doubt.
        .http1_allow_obsolete_multiline_headers_in_responses(true)
        .http1_allow_spaces_after_header_name_in_responses(true)
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .build(connector)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::atomic::{AtomicBool, Ordering};

    use bytes::Bytes;
    use http_body_util::BodyExt;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::resolve::Resolver;
    use super::*;
    use crate::body;

    /// Answers each request with the number of connections so far, then a blank and its own address.
    async fn serve(address: &str) -> SocketAddr {
        let listener = TcpListener::bind(address).await.expect("a port");
        let address = listener.local_addr().expect("an address");
        tokio::spawn(async move {
            let mut connections = 0;
            while let Ok((mut stream, _)) = listener.accept().await {
                connections += 1;
                tokio::spawn(async move {
                    while stream.read(&mut [0; 1024]).await.is_ok_and(|len| len > 0) {
                        let body = format!("{connections} {}", address.ip());
                        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                        stream.write_all((head + &body).as_bytes()).await.expect("a client");
                    }
                });
            }
        });
        address
    }

    async fn ask(upstream: &Upstream) -> Bytes {
        let target = PathAndQuery::from_static("/x");
        let response = upstream.send(target, Request::new(body::empty())).await.expect("a response");
        response.into_body().collect().await.expect("a body").to_bytes()
    }

    #[tokio::test]
    async fn connections_are_renewed_under_load() {
        let origin: Origin = format!("http://{}", serve("127.0.0.1:0").await).parse().expect("an origin");
        let upstream = Upstream::new(origin, None, Outbound::direct()).expect("a client");
        for _ in 0..3 {
            assert_eq!(ask(&upstream).await, "1 127.0.0.1");
        }
        upstream.client.lock().lifetime = Duration::ZERO;
        for expected in ["2 127.0.0.1", "3 127.0.0.1"] {
            assert_eq!(ask(&upstream).await, expected);
        }
    }

    #[tokio::test]
    async fn a_name_that_moves_is_followed_when_a_connection_has_had_its_time() {
        static HAS_MOVED: AtomicBool = AtomicBool::new(false);
        let old = serve("127.0.0.1:0").await;
        serve(&format!("127.0.0.2:{}", old.port())).await;
        let resolver = Resolver::with(|_| {
            let last = if HAS_MOVED.load(Ordering::SeqCst) { 2 } else { 1 };
            Ok(vec![SocketAddr::from(([127, 0, 0, last], 0))].into_iter())
        });
        let origin: Origin = format!("http://catalog.test:{}", old.port()).parse().expect("an origin");
        let direct = Outbound::direct();
        let connector = Connector::over(resolver, &direct);
        let upstream = Upstream::over(connector, origin, Trust::System, direct).expect("a client");
        assert_eq!(ask(&upstream).await, "1 127.0.0.1");
        HAS_MOVED.store(true, Ordering::SeqCst);
        assert_eq!(ask(&upstream).await, "1 127.0.0.1", "the connection lives on");
        upstream.client.lock().started = Instant::now().checked_sub(CONNECTION_LIFETIME).expect("a past");
        assert_eq!(ask(&upstream).await, "1 127.0.0.2");
    }

    #[test]
    fn via_has_the_received_version() {
        let check = |version: Version, expected: &str| assert_eq!(via(version), expected);
        check(Version::HTTP_10, "1.0 catalog-proxy");
        check(Version::HTTP_11, "1.1 catalog-proxy");
        check(Version::HTTP_2, "2 catalog-proxy");
    }
}
