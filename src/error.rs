//! What the proxy itself answers when it cannot serve: one table from error to answer.

use std::time::Duration;

use http::StatusCode;
use tracing::Level;

use crate::cache::fetch_error::FetchError;
use crate::upstream::{FailureRow, UpstreamError, UpstreamFailure};

/// When to ask a shop again that cannot serve: somebody has to mend a file first.
const SHOP_RETRY_AFTER: Duration = Duration::from_secs(30);

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
    /// A feed's path where no shop is.
    #[error("no feeds are served here")]
    NoShop,
    /// A shop that is there, but cannot serve its feeds now.
    #[error("this shop {0}")]
    ShopNotReady(&'static str),
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
    /// The upstream leads back to this proxy (RFC 5842 §7.2).
    #[error(
        "the upstream of this proxy leads back to it: --upstream must name the vendor's catalog, or another proxy"
    )]
    Circle,
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
pub struct ErrorResponse {
    /// Status of the answer.
    pub status: StatusCode,
    /// Error type of RFC 9209 §2.3.
    pub proxy_status: &'static str,
    /// How loud the log is: failed fetches have a line of their own already.
    pub level: Level,
}

impl Error {
    /// Looks the answer up.
    pub fn answer(&self) -> ErrorResponse {
        use StatusCode as S;
        let client =
            |status| ErrorResponse { status, proxy_status: "http_request_error", level: Level::DEBUG };
        match self {
            Self::MethodNotAllowed { .. } => client(S::METHOD_NOT_ALLOWED),
            Self::MethodNotImplemented => client(S::NOT_IMPLEMENTED),
            Self::Refused(_) | Self::PathNotNormal(_) | Self::Ambiguous(_) => client(S::BAD_REQUEST),
            Self::UnknownPrefix(_) | Self::NoShop => client(S::NOT_FOUND),
            Self::ShopNotReady(_) => ErrorResponse {
                status: S::SERVICE_UNAVAILABLE,
                proxy_status: "proxy_configuration_error",
                level: Level::DEBUG,
            },
            Self::Circle => ErrorResponse {
                status: S::LOOP_DETECTED,
                proxy_status: "proxy_loop_detected",
                level: Level::WARN,
            },
            Self::TooManyFields(_) => client(S::REQUEST_HEADER_FIELDS_TOO_LARGE),
            Self::BodyTooLarge(_) => client(S::PAYLOAD_TOO_LARGE),
            Self::BodyStalled(_) => client(S::REQUEST_TIMEOUT),
            Self::TargetTooLong(_) => client(S::URI_TOO_LONG),
            Self::Forward(UpstreamError { failure, .. }) => {
                let FailureRow { status, proxy_status, .. } = failure.row();
                let level = if *failure == UpstreamFailure::RequestBody { Level::DEBUG } else { Level::WARN };
                ErrorResponse { status, proxy_status, level }
            }
            Self::Feed(error) | Self::PackagesOfCategories(error) => {
                let FailureRow { status, proxy_status, .. } = error.row();
                let level =
                    if matches!(error, FetchError::Interrupted) { Level::ERROR } else { Level::DEBUG };
                ErrorResponse { status, proxy_status, level }
            }
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
            Self::ShopNotReady(_) => Some(SHOP_RETRY_AFTER),
            _ => None,
        }
    }

    /// Returns the causes for the log, where they say more than the error itself.
    pub fn chain(&self) -> Option<String> {
        let chain = match self {
            Self::Feed(error) | Self::PackagesOfCategories(error) => error.chain(),
            Self::Forward(error) => Some(error.chain.to_string()),
            _ => None,
        };
        chain.filter(|chain| *chain != self.to_string())
    }
}
