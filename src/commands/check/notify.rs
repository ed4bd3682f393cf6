//! `check --notify-test`: sends a test message to `--notify-url`.

use std::time::SystemTime;

use http::StatusCode;

use super::super::CommandError;
use super::super::catalog_source::block_on;
use super::{CheckReport, Level};
use crate::cli::NotifyFormat;
use crate::config::{Config, Webhook};
use crate::news::notify::NotificationTarget;
use crate::news::notify::delivery::DeliveryError;
use crate::news::notify::message::{self, Occasion};
use crate::printable::printable;
use crate::upstream::Upstream;
use crate::upstream::outbound::Outbound;

impl CheckReport {
    /// Sends one test message, and reports whether the receiver took it.
    ///
    /// # Errors
    /// If the runtime cannot be started.
    pub(super) fn notify_test(&mut self, config: &Config) -> Result<(), CommandError> {
        let Some(hook) = &config.notify else {
            self.about(Level::Error, "--notify-test", "there is no --notify-url to send a message to");
            return Ok(());
        };
        let name = hook.to_string();
        let target = target(hook, config);
        let Some(target) = self.failed(target) else { return Ok(()) };
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let format = *config.notify_format;
        let body = message::body(format, Occasion::Test { host: &host }, SystemTime::now());
        match block_on(target.post(&body))? {
            Ok(status) => self.good.push((name, format!("took the test message ({status})"))),
            Err(error) => {
                let message = format!(
                    "did not take the test message: {}{}",
                    printable(&error.to_string()),
                    hint(&error, format)
                );
                self.about(Level::Error, &name, message);
            }
        }
        Ok(())
    }
}

fn target(hook: &Webhook, config: &Config) -> Result<NotificationTarget, CommandError> {
    let outbound = Outbound::new(&hook.origin, &config.outbound)?;
    let client = Upstream::new(hook.origin.clone(), None, outbound)?;
    Ok(NotificationTarget::new(hook.clone(), client, config.outbound.clone()))
}

/// Says what to try if the receiver does not understand the message.
fn hint(error: &DeliveryError, format: NotifyFormat) -> &'static str {
    match (error, format) {
        (
            DeliveryError::Status {
                status: StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY, ..
            },
            NotifyFormat::Generic,
        ) => ": a chat wants --notify-format text, discord or teams",
        (DeliveryError::Status { status: StatusCode::BAD_REQUEST, .. }, _) => {
            ": is that the right --notify-format for this receiver?"
        }
        _ => "",
    }
}
