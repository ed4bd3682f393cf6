//! Notifications: one POST of JSON for each renewed feed that brought something new.
//!
//! They wait in a bounded queue and are sent one after the other, with retries. What cannot be delivered is
//! given up and logged; the history on disk has it all the same.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderValue, Method, Request, StatusCode, header};
use serde::Serialize;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tracing::{debug, error, info, warn};

use super::{Change, Kind};
use crate::body;
use crate::config::Webhook;
use crate::hex::hex;
use crate::metrics::{Metrics, Notified};
use crate::printable::{escaped, millis};
use crate::upstream::retry_after::retry_after;
use crate::upstream::{USER_AGENT, Upstream};
use crate::worker::panic_message;

/// Notifications waiting for the one that is being sent; beyond that they are dropped.
const QUEUE: usize = 16;
/// Longest wait for an answer, connecting included.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Times that a notification is sent. With the pauses below that is within twenty minutes, which outlasts a
/// restart of the other side.
const ATTEMPTS: u32 = 12;
/// Pause after the first failure; each further one is twice as long.
const MIN_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause.
const MAX_PAUSE: Duration = Duration::from_secs(5 * 60);
/// Most changes in one notification; an upheaval beyond that is looked up in the history.
const MAX_CHANGES: usize = 1000;
/// Most codes in its text.
const MAX_NAMED: usize = 20;

/// Takes notifications.
#[derive(Debug)]
pub struct Outbox {
    queue: mpsc::Sender<Bytes>,
}

/// Sends them.
#[derive(Debug)]
pub struct Notifier {
    hook: Webhook,
    client: Upstream,
    queue: mpsc::Receiver<Bytes>,
    /// Is one on its way that the queue has no more?
    is_delivering: bool,
}

/// The body. A contract with whoever receives it, as documented in the README.
#[derive(Debug, Serialize)]
struct Notification<'a> {
    /// For chats, which show this member and ignore the rest.
    text: String,
    event: &'static str,
    /// Version of this format.
    format: u8,
    /// Tells a repeated delivery from another one.
    id: String,
    at: String,
    api: &'a str,
    changes: &'a [Change],
    /// Changes that are not listed.
    omitted: usize,
}

/// Why a delivery failed.
#[derive(Debug, thiserror::Error)]
enum DeliveryError {
    #[error("status {status}")]
    Status {
        status: StatusCode,
        /// The pause that is asked for.
        retry_after: Option<Duration>,
    },
    #[error("{0}")]
    Transport(String),
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Timeout,
}

/// Makes the two sides of notifications to `hook`, which `client` reaches. Nothing is sent yet.
pub fn notifier(hook: Webhook, client: Upstream) -> (Outbox, Notifier) {
    let (sender, queue) = mpsc::channel(QUEUE);
    (Outbox { queue: sender }, Notifier { hook, client, queue, is_delivering: false })
}

impl Outbox {
    /// Has a notification sent.
    pub(super) fn post(&self, metrics: &Metrics, api: &str, at: SystemTime, changes: &[Change]) {
        let listed = &changes[..changes.len().min(MAX_CHANGES)];
        let notification = Notification {
            text: text(api, changes),
            event: "catalog-changed",
            format: 1,
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
    /// Sends notifications until `stop` is set; what is not delivered then is given up.
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
            let delivered = AssertUnwindSafe(self.deliver(&body)).catch_unwind().await;
            self.is_delivering = false;
            if let Err(payload) = &delivered {
                metrics.panics("notifier").inc();
                error!(to = %self.hook, panic = panic_message(&**payload), "a notification panicked");
            }
            count(metrics, if delivered.unwrap_or(false) { "delivered" } else { "failed" });
        }
    }

    /// Sends one until it is taken or given up. Cancel safe, but for what was sent.
    async fn deliver(&self, body: &Bytes) -> bool {
        for attempt in 1.. {
            let error = match self.send(body).await {
                Ok(()) => {
                    info!(to = %self.hook, attempt, "notified");
                    return true;
                }
                Err(error) => error,
            };
            if attempt == ATTEMPTS || !error.is_worth_another_try() {
                warn!(to = %self.hook, attempt, %error, "notification given up");
                break;
            }
            let pause = pause(attempt, fastrand::f64()).max(error.pause());
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
        let answer = timeout(TIMEOUT, self.client.send(self.hook.target.clone(), request));
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
    /// Will it help to ask again? Not if the other side says that the request is wrong.
    fn is_worth_another_try(&self) -> bool {
        match self {
            Self::Status { status, .. } => {
                status.is_server_error()
                    || matches!(*status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT)
            }
            Self::Transport(_) | Self::Timeout => true,
        }
    }

    /// Returns the least pause that the other side asks for, within reason.
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

/// Doubles up to the longest; `random` in 0..1 takes up to half of it off, so that many proxies do not knock
/// together.
fn pause(attempt: u32, random: f64) -> Duration {
    let full = MIN_PAUSE.saturating_mul(1 << (attempt - 1).min(16)).min(MAX_PAUSE);
    full.mul_f64(1.0 - random / 2.0)
}

/// Says in a line what changed.
fn text(api: &str, changes: &[Change]) -> String {
    let named = |change: &Change| {
        let mut text =
            format!("{} {} ({}", change.change.name(), escaped(&change.code), change.seller.name());
        if let Some(was) = change.was {
            text += &format!(", was {}", was.name());
        }
        if change.whitelisted && change.change == Kind::Gone {
            text += ", whitelisted";
        }
        text + ")"
    };
    let named: Vec<String> = changes.iter().take(MAX_NAMED).map(named).collect();
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
            name: None,
            seller: SellerName::Plesk,
            was,
            whitelisted: true,
        };
        let mut changes = vec![
            change(Kind::New, "a", None),
            change(Kind::Gone, "b", None),
            change(Kind::Switched, "c", Some(SellerName::Free)),
        ];
        let said = "Plesk's extension catalog (v4): new a (plesk), gone b (plesk, whitelisted), \
                    switched c (plesk, was free)";
        assert_eq!(text("v4", &changes), said);
        assert!(text("v4", &[change(Kind::New, "a\u{1b}[2Jb", None)]).contains(r"new a\u{1b}[2Jb ("));
        changes.extend((0..20).map(|n| change(Kind::New, &n.to_string(), None)));
        assert!(text("v4", &changes).ends_with("new 16 (plesk) and 3 more"), "{}", text("v4", &changes));
    }

    #[test]
    fn pauses_grow_to_a_limit() {
        let total: Duration = (1..ATTEMPTS).map(|attempt| pause(attempt, 0.0)).sum();
        assert_eq!((pause(1, 0.0), pause(2, 1.0), total.as_secs()), (MIN_PAUSE, MIN_PAUSE, 1111));
        assert_eq!(pause(u32::MAX, 0.0), MAX_PAUSE);
    }
}
