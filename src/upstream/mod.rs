//! The upstream: one origin, reached over verified TLS with pooled connections.
//!
//! Every request ends at the configured origin, whatever its path says. Errors say which phase failed.

mod connect;
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
use http::{HeaderValue, Request, Response, Version, header};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use self::connect::{CONNECT_TIMEOUT, Connector, TunnelError};
use self::outbound::Outbound;
use self::resolve::RESOLVE_TIMEOUT;
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

/// This proxy in a `Via` field (RFC 9110 §7.6.3).
pub const VIA: HeaderValue = HeaderValue::from_static("1.1 catalog-proxy");

/// How long an idle connection is kept: shorter than what servers usually allow (60 s and more), so that
/// few requests meet a connection that is being closed.
const POOL_IDLE: Duration = Duration::from_secs(50);

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
    client: Client<SecureConnector, Body>,
    connector: SecureConnector,
    origin: Origin,
    outbound: Outbound,
}

/// A request to the upstream failed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{failure}")]
pub struct UpstreamError {
    /// What failed, in words fit for a client.
    pub failure: Failure,
    /// The causes, for the log.
    pub chain: Arc<str>,
}

/// The phases in which a request can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    #[error("the upstream's name could not be resolved")]
    Dns,
    #[error("the upstream's name was not resolved within {} s", .0.as_secs())]
    DnsTimeout(Duration),
    #[error("the upstream refused the connection")]
    Refused,
    #[error("no connection to the upstream within {} s", .0.as_secs())]
    ConnectTimeout(Duration),
    #[error("the upstream could not be reached")]
    Unreachable,
    #[error("the outbound proxy could not be reached")]
    OutboundProxy,
    #[error("the outbound proxy opened no connection to the upstream")]
    Tunnel,
    #[error("the upstream's certificate is not valid")]
    Certificate,
    #[error("no secure connection to the upstream could be made")]
    Tls,
    #[error("the upstream did not answer within {} s", .0.as_secs())]
    HeadTimeout(Duration),
    #[error("the upstream sent nothing for {} s", .0.as_secs())]
    IdleTimeout(Duration),
    #[error("the upstream did not finish its answer within {} s", .0.as_secs())]
    TotalTimeout(Duration),
    #[error("the upstream closed the connection too early")]
    Cut,
    #[error("the upstream did not answer in proper HTTP")]
    Protocol,
    #[error("the request broke off before its body was complete")]
    RequestBody,
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
        let connector = SecureConnector { tcp: Connector::new(&outbound), roots: Reloading::load(trust)? };
        Ok(Self { client: client(connector.clone()), connector, origin, outbound })
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
        Self { client: client(self.connector.clone()), ..self.clone() }
    }

    /// Returns where requests go.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Returns the way they take.
    pub fn outbound(&self) -> &Outbound {
        &self.outbound
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
        *request.uri_mut() = uri.map_err(|error| UpstreamError::new(Failure::Protocol, &error))?;
        *request.version_mut() = Version::HTTP_11;
        request.headers_mut().remove(header::HOST);
        let mut response = self.client.request(request).await.map_err(|error| UpstreamError::of(&error))?;
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
        Self::new(Failure::of(error), error)
    }

    /// A time limit ran out.
    pub fn timeout(failure: Failure) -> Self {
        Self { failure, chain: "time limit".into() }
    }

    /// The answer makes no sense in HTTP.
    pub fn unexpected(what: &str) -> Self {
        Self { failure: Failure::Protocol, chain: what.into() }
    }

    fn new(failure: Failure, error: &dyn StdError) -> Self {
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

impl Failure {
    /// Returns its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::DnsTimeout(_) => "dns_timeout",
            Self::Refused => "refused",
            Self::ConnectTimeout(_) => "connect_timeout",
            Self::Unreachable => "unreachable",
            Self::OutboundProxy => "outbound_proxy",
            Self::Tunnel => "tunnel",
            Self::Certificate => "certificate",
            Self::Tls => "tls",
            Self::HeadTimeout(_) => "head_timeout",
            Self::IdleTimeout(_) => "idle_timeout",
            Self::TotalTimeout(_) => "total_timeout",
            Self::Cut => "cut",
            Self::Protocol => "protocol",
            Self::RequestBody => "request_body",
        }
    }

    /// Returns the name of its phase in metrics.
    pub fn phase(self) -> &'static str {
        match self {
            Self::Dns
            | Self::DnsTimeout(_)
            | Self::Refused
            | Self::ConnectTimeout(_)
            | Self::Unreachable
            | Self::OutboundProxy
            | Self::Tunnel => "connect",
            Self::Certificate | Self::Tls => "tls",
            Self::HeadTimeout(_)
            | Self::IdleTimeout(_)
            | Self::TotalTimeout(_)
            | Self::Cut
            | Self::Protocol
            | Self::RequestBody => "transfer",
        }
    }

    fn of(error: &(dyn StdError + 'static)) -> Self {
        let connecting =
            error.downcast_ref::<hyper_util::client::legacy::Error>().is_some_and(|error| error.is_connect());
        let mut cause = Some(error);
        while let Some(error) = cause {
            // What follows is about the proxy, and must not be taken for the upstream's.
            if let Some(error) = error.downcast_ref::<TunnelError>() {
                return error.failure;
            }
            if error.to_string() == "dns error" {
                let io = error.source().and_then(|error| error.downcast_ref::<io::Error>());
                return match io.map(io::Error::kind) {
                    Some(io::ErrorKind::TimedOut) => Self::DnsTimeout(RESOLVE_TIMEOUT),
                    _ => Self::Dns,
                };
            }
            if let Some(tls) = error.downcast_ref::<rustls::Error>() {
                return match tls {
                    rustls::Error::InvalidCertificate(_) => Self::Certificate,
                    _ => Self::Tls,
                };
            }
            match error.downcast_ref::<hyper::Error>() {
                Some(error) if error.is_parse() || error.is_parse_too_large() => return Self::Protocol,
                // All that can fail on this side is the body that a client sends.
                Some(error) if error.is_user() => return Self::RequestBody,
                _ => {}
            }
            cause = match error.downcast_ref::<io::Error>() {
                Some(io) => match io.kind() {
                    io::ErrorKind::ConnectionRefused => return Self::Refused,
                    io::ErrorKind::TimedOut if connecting => return Self::ConnectTimeout(CONNECT_TIMEOUT),
                    // Where TLS is expected, that is how other protocols end the handshake.
                    io::ErrorKind::UnexpectedEof if connecting => return Self::Tls,
                    // Its source is that of what it wraps, so the wrapped one is next.
                    _ => io.get_ref().map(|inner| -> &(dyn StdError + 'static) { inner }),
                },
                None => error.source(),
            };
        }
        if connecting { Self::Unreachable } else { Self::Cut }
    }
}

fn client(connector: SecureConnector) -> Client<SecureConnector, Body> {
    Client::builder(TokioExecutor::new())
        .timer(TokioTimer::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(POOL_IDLE)
        .http2_keep_alive_interval(PING_INTERVAL)
        .http2_keep_alive_timeout(PING_TIMEOUT)
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .build(connector)
}
