//! One attempt to deliver a notification.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tokio::time::timeout;

use crate::blocking;
use crate::body;
use crate::config::{ProxyVariables, RedirectError, Webhook};
use crate::upstream::outbound::Outbound;
use crate::upstream::retry_after::retry_after;
use crate::upstream::{USER_AGENT, Upstream};

/// Longest wait for a response, redirects and the connection set-up included.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Most redirects of one attempt: to https, to the right path, and one to spare.
const MAX_REDIRECTS: usize = 3;

/// Receiver of notifications, and the way to it.
#[derive(Debug)]
pub struct NotificationTarget {
    hook: Webhook,
    client: Upstream,
    /// Variables that say how other servers are reached.
    outbound: ProxyVariables,
}

/// Why a delivery failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DeliveryError {
    #[error("status {status}")]
    Status {
        status: StatusCode,
        /// Pause that the receiver asks for.
        retry_after: Option<Duration>,
    },
    #[error("status {status}: {error}")]
    Redirect { status: StatusCode, error: RedirectError },
    #[error("redirected more than {MAX_REDIRECTS} times")]
    Redirects,
    #[error("{0}")]
    Transport(String),
    #[error("no answer within {} s", RESPONSE_TIMEOUT.as_secs())]
    Timeout,
}

impl NotificationTarget {
    /// Creates the target at `hook`, which `client` connects to. `outbound` is for redirects from http to https.
    pub fn new(hook: Webhook, client: Upstream, outbound: ProxyVariables) -> Self {
        Self { hook, client, outbound }
    }

    /// Returns where it is.
    pub(super) fn hook(&self) -> &Webhook {
        &self.hook
    }

    /// Sends a body, and returns the status with which it was taken.
    ///
    /// # Errors
    /// If it was not, or nothing is known about it.
    pub(crate) async fn post(&self, body: &Bytes) -> Result<StatusCode, DeliveryError> {
        timeout(RESPONSE_TIMEOUT, self.follow(body)).await.unwrap_or(Err(DeliveryError::Timeout))
    }

    /// Sends a body to wherever the receiver redirects it.
    async fn follow(&self, body: &Bytes) -> Result<StatusCode, DeliveryError> {
        let mut to = self.hook.clone();
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(&to, body).await?;
            let status = response.status();
            to = match status {
                _ if status.is_success() => return Ok(status),
                // A browser would ask for the new place of the first two with GET (RFC 9110 §15.4.2). The body of a
                // notification is what matters, so it is sent again. 303 asks for no body.
                StatusCode::MOVED_PERMANENTLY
                | StatusCode::FOUND
                | StatusCode::TEMPORARY_REDIRECT
                | StatusCode::PERMANENT_REDIRECT => {
                    let location = response.headers().get(header::LOCATION);
                    let location = location.and_then(|value| value.to_str().ok());
                    location
                        .map_or(Err(RedirectError::Nowhere), |location| to.redirected(location))
                        .map_err(|error| DeliveryError::Redirect { status, error })?
                }
                _ => {
                    let retry_after = retry_after(response.headers(), SystemTime::now());
                    return Err(DeliveryError::Status { status, retry_after });
                }
            };
        }
        Err(DeliveryError::Redirects)
    }

    async fn send(&self, to: &Webhook, body: &Bytes) -> Result<Response<Incoming>, DeliveryError> {
        let mut request = Request::new(body::full(body.clone()));
        *request.method_mut() = Method::POST;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, USER_AGENT);
        if let Some(authorization) = &to.authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        let client = match to.origin == self.hook.origin {
            true => self.client.clone(),
            false => self.client_of(to).await?,
        };
        let sent = client.send(to.target.clone(), request).await;
        sent.map_err(|error| DeliveryError::Transport(error.chain.to_string()))
    }

    /// Creates the client of a place that a redirect leads to. Reads the trusted roots from disk.
    async fn client_of(&self, to: &Webhook) -> Result<Upstream, DeliveryError> {
        let failed = |error: &dyn std::fmt::Display| DeliveryError::Transport(error.to_string());
        let origin = to.origin.clone();
        let outbound = Outbound::new(&origin, &self.outbound).map_err(|error| failed(&error))?;
        let created = blocking::run(move || Upstream::new(origin, None, outbound)).await;
        created.map_err(|error| failed(&error))?.map_err(|error| failed(&error))
    }
}

impl DeliveryError {
    /// Returns true if a retry may help. It does not if the receiver says that the request is wrong.
    pub(super) fn is_worth_another_try(&self) -> bool {
        match self {
            Self::Status { status, .. } => {
                status.is_server_error()
                    || matches!(*status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
            }
            Self::Transport(_) | Self::Timeout => true,
            Self::Redirect { .. } | Self::Redirects => false,
        }
    }

    /// Returns the pause that the receiver asks for.
    pub(super) fn pause(&self) -> Duration {
        match self {
            Self::Status { retry_after: Some(pause), .. } => *pause,
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;
    use tokio::time::{pause, resume};

    use super::*;

    #[tokio::test]
    async fn a_receiver_that_never_answers_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let hook: Webhook = format!("http://{address}/hook").parse().expect("a URL");
        let client = Upstream::new(hook.origin.clone(), None, Outbound::direct()).expect("a client");
        let target = NotificationTarget::new(hook, client, ProxyVariables::default());
        let body = Bytes::from_static(b"{}");
        let silent = async {
            let accepted = listener.accept().await.expect("a connection");
            // From here on nothing happens any more, so the clock jumps to the time limit.
            pause();
            accepted
        };
        let (posted, _accepted) = tokio::join!(target.post(&body), silent);
        resume();
        let error = posted.expect_err("no answer");
        assert_eq!(error.to_string(), "no answer within 10 s");
        assert!(error.is_worth_another_try());
    }
}
