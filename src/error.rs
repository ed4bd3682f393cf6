//! What the proxy itself answers when it cannot serve: one table from error to answer.

use std::time::Duration;

use http::StatusCode;
use tracing::Level;

use crate::cache::fetch::FetchError;
use crate::upstream::{Failure, UpstreamError};

/// Why a request is not served.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// A known target with a method it does not answer.
    #[error("this resource answers {}{allow}", if allow.is_empty() { "no method" } else { "only " })]
    MethodNotAllowed {
        /// Those it does.
        allow: &'static str,
    },
    /// A method that no resource answers.
    #[error("no resource answers this method")]
    MethodNotImplemented,
    /// A target or method that is not for a reverse proxy.
    #[error("{0}")]
    Refused(&'static str),
    /// A path that servers may read in different ways.
    #[error("the path is not in normal form: {0}")]
    PathNotNormal(String),
    /// A feed's path behind a prefix that has no feeds.
    #[error("no feeds are served under `{0}`")]
    UnknownPrefix(String),
    /// A target that is too long for what it names.
    #[error("this target may have {0} bytes at most")]
    TargetTooLong(usize),
    /// A head with too many fields.
    #[error("a request may have {0} header fields at most")]
    TooManyFields(usize),
    /// A head that others may understand in another way.
    #[error("the request is not clear: {0}")]
    Ambiguous(&'static str),
    /// A body that is too large, or said to be.
    #[error("the body of a request may have {0} bytes at most")]
    BodyTooLarge(u64),
    /// A body that does not arrive.
    #[error("the body of the request did not go on within {} s", .0.as_secs())]
    BodyStalled(Duration),
    /// The feed cannot be had.
    #[error("{0}")]
    Feed(FetchError),
    /// The packages feed, without which categories cannot be filtered, cannot be had.
    #[error("the packages feed that belongs to the categories cannot be had: {0}")]
    PackagesOfCategories(FetchError),
    /// A request could not be passed on.
    #[error(transparent)]
    Forward(#[from] UpstreamError),
}

/// What an error looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answer {
    /// Status of the answer.
    pub status: StatusCode,
    /// Last part of the problem type.
    pub problem: &'static str,
    /// Title of the problem type.
    pub title: &'static str,
    /// Error type of RFC 9209 §2.3.
    pub proxy_status: &'static str,
    /// How loud the log is: failed fetches have a line of their own already.
    pub level: Level,
}

impl Error {
    /// Looks the answer up.
    pub fn answer(&self) -> Answer {
        use StatusCode as S;
        let row = |status, problem, title, proxy_status, level| Answer {
            status,
            problem,
            title,
            proxy_status,
            level,
        };
        let client = |status, problem, title| row(status, problem, title, "http_request_error", Level::DEBUG);
        let feed =
            |problem, title, proxy_status| row(S::BAD_GATEWAY, problem, title, proxy_status, Level::DEBUG);
        match self {
            Self::MethodNotAllowed { .. } => {
                client(S::METHOD_NOT_ALLOWED, "method-not-allowed", "Method not allowed")
            }
            Self::MethodNotImplemented => {
                client(S::NOT_IMPLEMENTED, "method-not-implemented", "Method not implemented")
            }
            Self::Refused(_) => client(S::BAD_REQUEST, "refused", "Request refused"),
            Self::PathNotNormal(_) => client(S::BAD_REQUEST, "path-not-normal", "Path not in normal form"),
            Self::UnknownPrefix(_) => client(S::NOT_FOUND, "unknown-prefix", "Unknown prefix"),
            Self::Ambiguous(_) => client(S::BAD_REQUEST, "ambiguous", "Request not clear"),
            Self::TooManyFields(_) => {
                client(S::REQUEST_HEADER_FIELDS_TOO_LARGE, "too-many-fields", "Too many header fields")
            }
            Self::BodyTooLarge(_) => client(S::PAYLOAD_TOO_LARGE, "body-too-large", "Body too large"),
            Self::BodyStalled(_) => client(S::REQUEST_TIMEOUT, "body-stalled", "Body did not arrive"),
            Self::TargetTooLong(_) => client(S::URI_TOO_LONG, "target-too-long", "Target too long"),
            Self::Forward(error) => error.failure.answer(Level::WARN),
            Self::Feed(error) | Self::PackagesOfCategories(error) => match error {
                FetchError::Upstream(error) => error.failure.answer(Level::DEBUG),
                FetchError::Shrunk { .. } => feed("feed-shrank", "Feed shrank", "http_protocol_error"),
                FetchError::Status { .. } => feed("upstream-status", "Upstream error", "http_protocol_error"),
                FetchError::Redirect { .. } => {
                    feed("upstream-redirect", "Upstream redirects", "http_protocol_error")
                }
                FetchError::Invalid(_) => feed("invalid-feed", "Invalid feed", "http_protocol_error"),
                FetchError::TooLarge(_) => {
                    feed("feed-too-large", "Feed too large", "http_response_body_size")
                }
                FetchError::Coding => {
                    feed("bad-coding", "Bad content coding", "http_response_content_coding")
                }
                FetchError::Busy | FetchError::NoRoom => row(
                    S::SERVICE_UNAVAILABLE,
                    "busy",
                    "Too many requests wait for the upstream",
                    "connection_limit_reached",
                    Level::DEBUG,
                ),
                FetchError::Late(_) => row(
                    S::GATEWAY_TIMEOUT,
                    "upstream-timeout",
                    "Upstream timeout",
                    "http_response_timeout",
                    Level::DEBUG,
                ),
                FetchError::Interrupted => row(
                    S::INTERNAL_SERVER_ERROR,
                    "internal",
                    "Internal error",
                    "proxy_internal_error",
                    Level::ERROR,
                ),
            },
        }
    }

    /// Returns the status that the upstream answered with, if that is the error.
    pub fn received_status(&self) -> Option<StatusCode> {
        match self {
            Self::Feed(FetchError::Status { status, .. })
            | Self::PackagesOfCategories(FetchError::Status { status, .. }) => Some(*status),
            _ => None,
        }
    }

    /// Returns after how long a client may ask again, if a wait helps.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Feed(error) | Self::PackagesOfCategories(error) => error.retry_after(),
            _ => None,
        }
    }

    /// Returns the causes, for the log.
    pub fn chain(&self) -> String {
        match self {
            Self::Feed(error) | Self::PackagesOfCategories(error) => error.chain(),
            Self::Forward(error) => error.chain.to_string(),
            _ => self.to_string(),
        }
    }
}

impl Failure {
    fn answer(self, level: Level) -> Answer {
        let row =
            |status, problem, title, proxy_status| Answer { status, problem, title, proxy_status, level };
        let (bad, late) = (StatusCode::BAD_GATEWAY, StatusCode::GATEWAY_TIMEOUT);
        match self {
            Self::Dns => row(bad, "upstream-dns", "Upstream not found", "dns_error"),
            Self::DnsTimeout(_) => row(late, "upstream-timeout", "Upstream timeout", "dns_timeout"),
            Self::Refused => row(bad, "upstream-refused", "Upstream refused", "connection_refused"),
            Self::ConnectTimeout(_) => {
                row(late, "upstream-timeout", "Upstream timeout", "connection_timeout")
            }
            Self::Unreachable => {
                row(bad, "upstream-unreachable", "Upstream unreachable", "destination_unavailable")
            }
            Self::OutboundProxy => row(
                bad,
                "outbound-proxy-unreachable",
                "Outbound proxy unreachable",
                "destination_unavailable",
            ),
            // Not `proxy_configuration_error`: all that is known is that the next hop would not connect. It
            // may be our password, its rules or an upstream that is down.
            Self::Tunnel => {
                row(bad, "outbound-proxy-refused", "Outbound proxy refused", "connection_refused")
            }
            Self::Certificate => {
                row(bad, "upstream-certificate", "Upstream certificate not valid", "tls_certificate_error")
            }
            Self::Tls => row(bad, "upstream-tls", "Upstream TLS failure", "tls_protocol_error"),
            Self::HeadTimeout(_) => {
                row(late, "upstream-timeout", "Upstream timeout", "http_response_timeout")
            }
            Self::IdleTimeout(_) | Self::TotalTimeout(_) => {
                row(late, "upstream-timeout", "Upstream timeout", "connection_read_timeout")
            }
            Self::Cut => row(bad, "upstream-cut", "Upstream closed early", "connection_terminated"),
            Self::RequestBody => Answer {
                level: Level::DEBUG,
                ..row(StatusCode::BAD_REQUEST, "request-body", "Request broke off", "http_request_error")
            },
            Self::Protocol => row(bad, "upstream-protocol", "Upstream protocol error", "http_protocol_error"),
        }
    }
}
