//! Sockets that the proxy listens on: those of the service manager, or those that it binds itself.

use std::net::SocketAddr;

use tokio::net::TcpListener;
use tracing::{info, warn};

use super::AppError;
use crate::config::{Admin, Config};
use crate::printable::joined;
use crate::server::inherited::InheritedSockets;
use crate::server::listener;

/// Flag with the addresses of the service port.
const SERVICE: &str = "--listen";
/// Flag with the address of the admin port.
const ADMIN: &str = "--admin-listen";

/// The listening sockets of both ports.
#[derive(Debug)]
pub(super) struct Listeners {
    pub(super) service: Vec<TcpListener>,
    pub(super) admin: Option<TcpListener>,
}

impl Listeners {
    /// Takes the inherited sockets, and binds the addresses of a port that has none.
    ///
    /// # Errors
    /// If an address cannot be had.
    pub(super) fn bind(config: &Config, inherited: InheritedSockets) -> Result<Self, AppError> {
        inherited.warnings.iter().for_each(|warning| warn!("{warning}"));
        let service =
            inherited.service.into_iter().map(TcpListener::from_std).collect::<Result<Vec<_>, _>>()?;
        let inherited_admin = inherited.admin.map(TcpListener::from_std).transpose()?;
        tell(&service, &config.listen.source.to_string(), SERVICE);
        tell(inherited_admin.as_slice(), &config.admin.source.to_string(), ADMIN);
        let listen = |address: &SocketAddr, flag| {
            let bound = listener::bind(*address, &config.listen);
            bound.map_err(|error| AppError::Listen { address: *address, flag, error })
        };
        let service = match service.is_empty() {
            true => {
                config.listen.iter().map(|address| listen(address, SERVICE)).collect::<Result<Vec<_>, _>>()?
            }
            false => service,
        };
        let admin = match (inherited_admin, &*config.admin) {
            (Some(inherited), _) => Some(inherited),
            (None, Admin::Off) => None,
            (None, Admin::Required(address)) => Some(listen(address, ADMIN)?),
            (None, Admin::IfFree(address)) => {
                listen(address, ADMIN).inspect_err(|error| warn!(%error, "no admin port")).ok()
            }
        };
        Ok(Self { service, admin })
    }
}

/// Tells which sockets are used in the place of what is configured.
fn tell(sockets: &[TcpListener], configured: &str, setting: &str) {
    let addresses: Vec<_> = sockets.iter().filter_map(|socket| socket.local_addr().ok()).collect();
    if !addresses.is_empty() {
        let sockets = joined(&addresses);
        info!(%sockets, setting, configured, "sockets of the service manager are used in place of the setting");
    }
}
