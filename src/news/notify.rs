//! Notifications: one POST for each report.
//!
//! Notifications wait in a bounded queue and are sent one after the other, with retries. One that cannot be delivered is
//! dropped and logged; the history on disk has its changes all the same.

pub(crate) mod delivery;
pub(crate) mod message;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tracing::{debug, info, warn};

use super::Change;
use crate::backoff::Backoff;
use crate::cli::NotifyFormat;
use crate::metrics::{Metrics, Notified};
use crate::panics;
use crate::printable::millis;
pub use delivery::NotificationTarget;
use message::Occasion;

/// Most notifications that wait. More are dropped.
const MAX_QUEUED_NOTIFICATIONS: usize = 16;
/// Most attempts to deliver a notification. With the pauses below they take up to twenty minutes, which outlasts a
/// restart of the receiver.
const MAX_ATTEMPTS: u32 = 12;
/// Longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_mins(5);
/// Pauses between attempts.
const BACKOFF: Backoff = Backoff { min: Duration::from_secs(1), max: MAX_PAUSE };

/// Sending side of the queue of notifications.
#[derive(Debug)]
pub struct Outbox {
    format: NotifyFormat,
    queue: mpsc::Sender<Bytes>,
}

/// Delivers the queued notifications.
#[derive(Debug)]
pub struct Notifier {
    target: NotificationTarget,
    queue: mpsc::Receiver<Bytes>,
    /// True while a notification that has left the queue is being delivered.
    is_delivering: bool,
}

/// Creates both sides of the queue of notifications for `target`.
pub fn notifier(target: NotificationTarget, format: NotifyFormat) -> (Outbox, Notifier) {
    let (sender, queue) = mpsc::channel(MAX_QUEUED_NOTIFICATIONS);
    (Outbox { format, queue: sender }, Notifier { target, queue, is_delivering: false })
}

impl Outbox {
    /// Queues a notification, or drops and counts it if the queue is full.
    pub(super) fn post(&self, metrics: &Metrics, api: &str, at: SystemTime, changes: &[Change]) {
        let body = message::body(self.format, Occasion::Changed { api, changes }, at);
        if let Err(reason) = self.queue.try_send(body) {
            count(metrics, "dropped");
            warn!(%reason, "notification dropped");
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
            warn!(to = %self.target.hook(), undelivered, "notifications given up: stopping");
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
        let to = self.target.hook();
        for attempt in 1.. {
            let error = match self.target.post(body).await {
                Ok(status) => {
                    info!(%to, attempt, status = status.as_u16(), "notified");
                    return true;
                }
                Err(error) => error,
            };
            if attempt == MAX_ATTEMPTS || !error.is_worth_another_try() {
                warn!(%to, attempt, %error, "notification given up");
                break;
            }
            let pause = BACKOFF.pause(attempt, fastrand::f64()).max(error.pause().min(MAX_PAUSE));
            let retry_in_ms = millis(pause);
            match attempt {
                1 => warn!(%to, attempt, %error, retry_in_ms, "not notified yet"),
                _ => debug!(%to, attempt, %error, retry_in_ms, "not notified yet"),
            }
            sleep(pause).await;
        }
        false
    }
}

fn count(metrics: &Metrics, outcome: &'static str) {
    metrics.notifications.get_or_create(&Notified { outcome }).inc();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_outlast_a_restart_of_the_receiver() {
        let total: Duration = (1..MAX_ATTEMPTS).map(|attempt| BACKOFF.pause(attempt, 0.0)).sum();
        assert_eq!(total.as_secs(), 1111);
    }
}
