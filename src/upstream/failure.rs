//! What can go wrong with the upstream: one table of names, phases, statuses and `Proxy-Status` types.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use http::StatusCode;

use super::connect::{CONNECT_TIMEOUT, TunnelError};
use super::resolve::RESOLVE_TIMEOUT;

/// The phases in which a request can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum UpstreamFailure {
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

/// What a failure is called, and what a client gets for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureRow {
    /// Name in metrics.
    pub name: &'static str,
    /// Name of its phase in metrics.
    pub phase: &'static str,
    /// Status of the response to a client.
    pub status: StatusCode,
    /// Error type in `Proxy-Status` (RFC 9209 §2.3).
    pub proxy_status: &'static str,
}

impl FailureRow {
    /// Makes a row; the order is that of the tables.
    pub fn new(
        name: &'static str,
        phase: &'static str,
        status: StatusCode,
        proxy_status: &'static str,
    ) -> Self {
        Self { name, phase, status, proxy_status }
    }
}

impl UpstreamFailure {
    /// Looks the failure up in the table of all.
    pub fn row(self) -> FailureRow {
        const BAD: StatusCode = StatusCode::BAD_GATEWAY;
        const LATE: StatusCode = StatusCode::GATEWAY_TIMEOUT;
        let row = FailureRow::new;
        match self {
            Self::Dns => row("dns", "connect", BAD, "dns_error"),
            Self::DnsTimeout(_) => row("dns_timeout", "connect", LATE, "dns_timeout"),
            Self::Refused => row("refused", "connect", BAD, "connection_refused"),
            Self::ConnectTimeout(_) => row("connect_timeout", "connect", LATE, "connection_timeout"),
            Self::Unreachable => row("unreachable", "connect", BAD, "destination_unavailable"),
            Self::OutboundProxy => row("outbound_proxy", "connect", BAD, "destination_unavailable"),
            // Not `proxy_configuration_error`: all that is known is that the next hop would not connect. The cause
            // may be our password, its rules or an upstream that is down.
            Self::Tunnel => row("tunnel", "connect", BAD, "connection_refused"),
            Self::Certificate => row("certificate", "tls", BAD, "tls_certificate_error"),
            Self::Tls => row("tls", "tls", BAD, "tls_protocol_error"),
            Self::HeadTimeout(_) => row("head_timeout", "transfer", LATE, "http_response_timeout"),
            Self::IdleTimeout(_) => row("idle_timeout", "transfer", LATE, "connection_read_timeout"),
            Self::TotalTimeout(_) => row("total_timeout", "transfer", LATE, "connection_read_timeout"),
            Self::Cut => row("cut", "transfer", BAD, "connection_terminated"),
            Self::Protocol => row("protocol", "transfer", BAD, "http_protocol_error"),
            Self::RequestBody => {
                row("request_body", "transfer", StatusCode::BAD_REQUEST, "http_request_error")
            }
        }
    }

    /// Finds the phase in which the client or a body failed, by the causes of its error.
    pub(super) fn of(error: &(dyn StdError + 'static)) -> Self {
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
