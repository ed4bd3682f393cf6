//! `serve`: runs the proxy until a signal ends it.

use std::io;

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind, signal};
use tracing::warn;

use super::{CommandError, runtime};
use crate::app::App;
use crate::cli::{Cli, Settings};
use crate::config::{Config, RestartCheck};
use crate::printable::printable;
use crate::server::inherited::InheritedSockets;
use crate::{logging, stderr};

/// Runs the proxy until a signal ends it.
///
/// # Errors
/// If it cannot start.
pub fn serve(settings: Settings) -> Result<(), CommandError> {
    // Before there is a second thread.
    let inherited = InheritedSockets::from_env().map_err(CommandError::wrong)?;
    let config = Config::load(settings.clone())?;
    logging::start(*config.log_format, config.log_level.as_ref())?;
    for unknown in Cli::unknown_variables() {
        warn!(variable = %printable(&unknown.name), "{unknown}");
    }
    runtime::run(async {
        let app = App::bind_over(&config, inherited).await?;
        let app = app.with_warm_start().with_restart_check(RestartCheck::new(settings, config));
        Ok(app.run(shutdown_signal().map_err(CommandError::failed)?).await?)
    })
}

/// Completes at the first SIGTERM or SIGINT; a second one ends the process at once.
///
/// # Errors
/// If the handlers cannot be set.
pub fn shutdown_signal() -> io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    // What log rotation sends to other servers must not end this one; a signal once asked for does nothing else.
    // A log file that has grown to its limit (`ulimit -f`) is one that cannot be written, and no reason to die.
    let file_too_large = SignalKind::from_raw(Signal::XFSZ.as_raw());
    for unused in [SignalKind::user_defined1(), SignalKind::user_defined2(), file_too_large] {
        drop(signal(unused)?);
    }
    Ok(async move {
        either(&mut terminate, &mut interrupt).await;
        tokio::spawn(async move {
            either(&mut terminate, &mut interrupt).await;
            warn!("a second signal: running answers are cut");
            stderr::finish();
            std::process::exit(i32::from(super::FAILED));
        });
    })
}

async fn either(a: &mut unix::Signal, b: &mut unix::Signal) {
    tokio::select! {
        _ = a.recv() => {}
        _ = b.recv() => {}
    }
}
