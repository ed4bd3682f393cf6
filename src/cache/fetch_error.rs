//! Why a fetch brings no feed: one table of name, phase, status and `Proxy-Status`.

use std::time::Duration;

use http::StatusCode;

use super::budget::Exhausted;
use super::failures::MAX_PAUSE_WITHOUT_COPY;
use crate::feed::scan::ScanError;
use crate::metrics::Failed;
use crate::upstream::{FailureRow, UpstreamError};

/// When a client that was refused for want of room or patience may ask again: half of what others wait at most.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Why there is no new copy.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FetchError {
    /// The upstream could not be asked, or did not answer to the end.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// It answered with another status than 200.
    #[error("the upstream answered with status {}{}", status.as_u16(), if *status == StatusCode::LOOP_DETECTED { ", so it leads back to this proxy" } else { "" })]
    Status {
        /// That status.
        status: StatusCode,
        /// When it wants to be asked again (RFC 9110 §10.2.3).
        retry_after: Option<Duration>,
    },
    /// It redirected to where we do not go.
    #[error("the upstream redirected elsewhere")]
    Redirect {
        /// The `Location` field.
        location: Box<str>,
    },
    /// What it sent is no feed.
    #[error("the upstream's feed is not valid: {0}")]
    Invalid(#[from] ScanError),
    /// What it sent is too large.
    #[error("the upstream's feed has more than {0} bytes")]
    TooLarge(u64),
    /// It cannot be decoded.
    #[error("the upstream's feed has a broken or unknown content coding")]
    Coding,
    /// It has suspiciously few elements, and was not yet confirmed.
    #[error("the upstream's feed shrank from {had} to {has} elements, seen {seen} {}", if *.seen == 1 { "time" } else { "times" })]
    Shrunk {
        /// Elements of the copy in service.
        had: usize,
        /// Elements of the new feed.
        has: usize,
        /// How many times in a row.
        seen: u32,
    },
    /// The fetch itself broke off.
    #[error("the fetch was interrupted")]
    Interrupted,
    /// Too many fetches wait for their turn. Not remembered: the upstream was not even asked.
    #[error("too many requests wait for the upstream")]
    Busy,
    /// A client waited long enough. Not remembered: the fetch goes on.
    #[error("the upstream did not answer within {} s", .0.as_secs())]
    Late(Duration),
    /// All fetches under way together would take too much memory.
    #[error("too many large feeds are being fetched")]
    NoRoom,
}

impl From<Exhausted> for FetchError {
    fn from(_: Exhausted) -> Self {
        Self::NoRoom
    }
}

impl FetchError {
    /// Returns what it is in metrics.
    pub fn failed(&self) -> Failed {
        let FailureRow { name: outcome, phase, .. } = self.row();
        Failed { outcome, phase }
    }

    /// Looks the error up in the table of all.
    pub fn row(&self) -> FailureRow {
        const BAD: StatusCode = StatusCode::BAD_GATEWAY;
        const BUSY: StatusCode = StatusCode::SERVICE_UNAVAILABLE;
        let row = FailureRow::new;
        match self {
            Self::Upstream(error) => error.failure.row(),
            Self::Status { .. } => row("status", "content", BAD, "http_protocol_error"),
            Self::Redirect { .. } => row("redirect", "content", BAD, "http_protocol_error"),
            Self::Invalid(_) => row("invalid", "content", BAD, "http_protocol_error"),
            Self::TooLarge(_) => row("too_large", "content", BAD, "http_response_body_size"),
            Self::Coding => row("coding", "content", BAD, "http_response_content_coding"),
            Self::Shrunk { .. } => row("shrunk", "content", BAD, "http_protocol_error"),
            Self::Interrupted => {
                row("interrupted", "transfer", StatusCode::INTERNAL_SERVER_ERROR, "proxy_internal_error")
            }
            Self::Busy => row("busy", "queue", BUSY, "connection_limit_reached"),
            Self::Late(_) => row("late", "transfer", StatusCode::GATEWAY_TIMEOUT, "http_response_timeout"),
            Self::NoRoom => row("no_room", "content", BUSY, "connection_limit_reached"),
        }
    }

    /// Returns how many bytes its texts take.
    pub(super) fn weight(&self) -> usize {
        match self {
            Self::Upstream(error) => error.chain.len(),
            Self::Redirect { location } => location.len(),
            _ => 0,
        }
    }

    /// Returns after how long it is worth to ask again, if that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after: Some(pause), .. } => Some(*pause),
            Self::Busy | Self::Late(_) | Self::NoRoom => Some(RETRY_AFTER),
            Self::Interrupted => None,
            // The key may be fetched again by then.
            _ => Some(MAX_PAUSE_WITHOUT_COPY),
        }
    }

    /// Returns the causes for the log, where they say more than the error itself.
    pub fn chain(&self) -> Option<String> {
        let chain = match self {
            Self::Upstream(error) => Some(error.chain.to_string()),
            Self::Redirect { location } => Some(location.to_string()),
            _ => None,
        };
        chain.filter(|chain| *chain != self.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::UpstreamFailure;

    #[test]
    fn says_when_to_ask_again_and_what_only_the_log_is_told() {
        let check = |error: FetchError, retry_after: Option<u64>, chain: Option<&str>| {
            assert_eq!(error.retry_after(), retry_after.map(Duration::from_secs), "{error:?}");
            assert_eq!(error.chain().as_deref(), chain, "{error:?}");
        };
        let failure = UpstreamFailure::Refused;
        let upstream = |chain: &str| FetchError::Upstream(UpstreamError { failure, chain: chain.into() });
        check(upstream("tcp: refused"), Some(1), Some("tcp: refused"));
        // What the error itself says is not said twice.
        check(upstream(&failure.to_string()), Some(1), None);
        let redirect = FetchError::Redirect { location: "https://elsewhere.test/".into() };
        assert_eq!((upstream("tcp: refused").weight(), redirect.weight()), (12, 23));
        check(redirect, Some(1), Some("https://elsewhere.test/"));
        check(FetchError::Coding, Some(1), None);
        let status = |retry_after| FetchError::Status { status: StatusCode::BAD_GATEWAY, retry_after };
        check(status(None), Some(1), None);
        check(status(Some(Duration::from_secs(77))), Some(77), None);
        for busy in [FetchError::Busy, FetchError::Late(RETRY_AFTER), FetchError::NoRoom] {
            check(busy, Some(5), None);
        }
        check(FetchError::Interrupted, None, None);
    }
}
