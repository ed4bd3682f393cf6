//! Notifications: one POST of JSON for each report.
//!
//! Notifications wait in a bounded queue and are sent one after the other, with retries. One that cannot be delivered is
//! dropped and logged; the history on disk has its changes all the same.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::{Change, Kind};
use crate::backoff::Backoff;
use crate::body;
use crate::config::Webhook;
use crate::hex::hex;
use crate::metrics::{Metrics, Notified};
use crate::panics;
use crate::printable::{escaped, millis};
use crate::upstream::retry_after::retry_after;
use crate::upstream::{USER_AGENT, Upstream};

/// Most notifications that wait. More are dropped.
const MAX_QUEUED_NOTIFICATIONS: usize = 16;
/// Longest wait for a response, the connection set-up included.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(10);
/// Most attempts to deliver a notification. With the pauses below they take up to twenty minutes, which outlasts a
/// restart of the receiver.
const MAX_ATTEMPTS: u32 = 12;
/// Longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(5 * 60);
/// Pauses between attempts.
const BACKOFF: Backoff = Backoff { min: Duration::from_secs(1), max: MAX_PAUSE };
/// Most changes in one notification. The history has the rest.
const MAX_CHANGES: usize = 1000;
/// Version of the notifications' format. 2 has renames, where 1 had a package that was gone and a new one.
const FORMAT: u8 = 2;
/// Most codes in the text of a notification.
const MAX_NAMED_CODES: usize = 20;

/// Sending side of the queue of notifications.
#[derive(Debug)]
pub struct Outbox {
    queue: mpsc::Sender<Bytes>,
}

/// Delivers the queued notifications.
#[derive(Debug)]
pub struct Notifier {
    hook: Webhook,
    client: Upstream,
    queue: mpsc::Receiver<Bytes>,
    /// True while a notification that has left the queue is being delivered.
    is_delivering: bool,
}

/// Body of a notification, as documented in the README.
#[derive(Debug, Serialize)]
struct Notification<'a> {
    /// Text for chats, which show this member and ignore the rest.
    text: String,
    event: &'static str,
    /// Version of this format.
    format: u8,
    /// Identifier. Repeated deliveries of one notification have the same.
    id: String,
    at: String,
    api: &'a str,
    changes: &'a [Change],
    /// Number of changes beyond [`MAX_CHANGES`].
    omitted: usize,
}

/// Why a delivery failed.
#[derive(Debug, thiserror::Error)]
enum DeliveryError {
    #[error("status {status}")]
    Status {
        status: StatusCode,
        /// Pause that the receiver asks for.
        retry_after: Option<Duration>,
    },
    #[error("{0}")]
    Transport(String),
    #[error("no answer within {} s", RESPONSE_TIMEOUT.as_secs())]
    Timeout,
}

/// Creates both sides of the queue of notifications for `hook`, which `client` connects to.
pub fn notifier(hook: Webhook, client: Upstream) -> (Outbox, Notifier) {
    let (sender, queue) = mpsc::channel(MAX_QUEUED_NOTIFICATIONS);
    (Outbox { queue: sender }, Notifier { hook, client, queue, is_delivering: false })
}

impl Outbox {
    /// Queues a notification, or drops and counts it if the queue is full.
    pub(super) fn post(&self, metrics: &Metrics, api: &str, at: SystemTime, changes: &[Change]) {
        let listed = &changes[..changes.len().min(MAX_CHANGES)];
        let notification = Notification {
            text: text(api, changes),
            event: "catalog-changed",
            format: FORMAT,
            id: hex(&fastrand::u128(..).to_be_bytes()).to_string(),
            at: humantime::format_rfc3339_seconds(at).to_string(),
            api,
            changes: listed,
            omitted: changes.len() - listed.len(),
        };
        let sent = serde_json::to_vec(&notification)
            .map_err(|error| error.to_string())
            .and_then(|body| self.queue.try_send(body.into()).map_err(|error| error.to_string()));
        if let Err(reason) = sent {
            count(metrics, "dropped");
            warn!(reason, "notification dropped");
        }
    }
}

impl Notifier {
    /// Delivers notifications until `stop` is set. Those that are left then are dropped.
    pub async fn run(mut self, metrics: Arc<Metrics>, mut stop: watch::Receiver<bool>) {
        let begun = tokio::select! {
            () = self.deliver_all(&metrics) => return,
            _ = stop.wait_for(|stop| *stop) => usize::from(self.is_delivering),
        };
        let undelivered = begun + self.queue.len();
        if undelivered > 0 {
            (0..undelivered).for_each(|_| count(&metrics, "dropped"));
            warn!(to = %self.hook, undelivered, "notifications given up: stopping");
        }
    }

    async fn deliver_all(&mut self, metrics: &Metrics) {
        while let Some(body) = self.queue.recv().await {
            self.is_delivering = true;
            // One that panics is lost; the next ones are not. What is shared with it is sound in any state.
            let delivered =
                panics::catch_task("notifier", metrics.panics("notifier"), self.deliver(&body)).await;
            self.is_delivering = false;
            count(metrics, if delivered.unwrap_or(false) { "delivered" } else { "failed" });
        }
    }

    /// Delivers one notification, with retries. Returns false if it is given up. When cancelled, it may have been
    /// delivered.
    async fn deliver(&self, body: &Bytes) -> bool {
        for attempt in 1.. {
            let error = match self.send(body).await {
                Ok(()) => {
                    info!(to = %self.hook, attempt, "notified");
                    return true;
                }
                Err(error) => error,
            };
            if attempt == MAX_ATTEMPTS || !error.is_worth_another_try() {
                warn!(to = %self.hook, attempt, %error, "notification given up");
                break;
            }
            let pause = BACKOFF.pause(attempt, fastrand::f64()).max(error.pause());
            let (to, retry_in_ms) = (&self.hook, millis(pause));
            match attempt {
                1 => warn!(%to, attempt, %error, retry_in_ms, "not notified yet"),
                _ => debug!(%to, attempt, %error, retry_in_ms, "not notified yet"),
            }
            sleep(pause).await;
        }
        false
    }

    async fn send(&self, body: &Bytes) -> Result<(), DeliveryError> {
        let mut request = Request::new(body::full(body.clone()));
        *request.method_mut() = Method::POST;
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, USER_AGENT);
        if let Some(authorization) = &self.hook.authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        let answer = timeout(RESPONSE_TIMEOUT, self.client.send(self.hook.target.clone(), request));
        match answer.await.map_err(|_| DeliveryError::Timeout)? {
            Ok(response) if response.status().is_success() => Ok(()),
            Ok(response) => Err(DeliveryError::Status {
                status: response.status(),
                retry_after: retry_after(response.headers(), SystemTime::now()),
            }),
            Err(error) => Err(DeliveryError::Transport(error.chain.to_string())),
        }
    }
}

impl DeliveryError {
    /// Returns true if a retry may help. It does not if the receiver says that the request is wrong.
    fn is_worth_another_try(&self) -> bool {
        match self {
            Self::Status { status, .. } => {
                status.is_server_error()
                    || matches!(*status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
            }
            Self::Transport(_) | Self::Timeout => true,
        }
    }

    /// Returns the pause that the receiver asks for, at most [`MAX_PAUSE`].
    fn pause(&self) -> Duration {
        match self {
            Self::Status { retry_after: Some(pause), .. } => (*pause).min(MAX_PAUSE),
            _ => Duration::ZERO,
        }
    }
}

fn count(metrics: &Metrics, outcome: &'static str) {
    metrics.notifications.get_or_create(&Notified { outcome }).inc();
}

/// Formats the text of a notification.
fn text(api: &str, changes: &[Change]) -> String {
    let named = |change: &Change| {
        let mut text = change.change.name().to_owned();
        if let Some(old) = &change.renamed_from {
            text += &format!(" {} to", escaped(old));
        }
        text += &format!(" {} ({}", escaped(&change.code), change.seller.name());
        if let Some(was) = change.was {
            text += &format!(", was {}", was.name());
        }
        if change.whitelisted && matches!(change.change, Kind::Gone | Kind::Renamed) {
            text += ", whitelisted";
        }
        text + ")"
    };
    let named: Vec<String> = changes.iter().take(MAX_NAMED_CODES).map(named).collect();
    let more = match changes.len() - named.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("Plesk's extension catalog ({api}): {}{more}", named.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::SellerName;
    use super::*;

    #[test]
    fn says_what_changed() {
        let change = |change, code: &str, was| Change {
            change,
            code: code.to_owned(),
            renamed_from: (change == Kind::Renamed).then(|| format!("old-{code}")),
            name: None,
            seller: SellerName::Plesk,
            was,
            whitelisted: true,
            shops: Vec::new(),
        };
        let mut changes = vec![
            change(Kind::New, "a", None),
            change(Kind::Gone, "b", None),
            change(Kind::Switched, "c", Some(SellerName::Free)),
            change(Kind::Renamed, "d", Some(SellerName::Vendor)),
        ];
        let said = "Plesk's extension catalog (v4): new a (plesk), gone b (plesk, whitelisted), \
                    switched c (plesk, was free), renamed old-d to d (plesk, was vendor, whitelisted)";
        assert_eq!(text("v4", &changes), said);
        assert!(text("v4", &[change(Kind::New, "a\u{1b}[2Jb", None)]).contains(r"new a\u{1b}[2Jb ("));
        changes.extend((0..20).map(|n| change(Kind::New, &n.to_string(), None)));
        assert!(text("v4", &changes).ends_with("new 15 (plesk) and 4 more"), "{}", text("v4", &changes));
    }

    #[test]
    fn attempts_outlast_a_restart_of_the_receiver() {
        let total: Duration = (1..MAX_ATTEMPTS).map(|attempt| BACKOFF.pause(attempt, 0.0)).sum();
        assert_eq!(total.as_secs(), 1111);
    }
}
