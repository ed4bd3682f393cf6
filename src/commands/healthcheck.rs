//! `healthcheck`: asks the proxy of the same settings whether it is ready.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use http::uri::{PathAndQuery, Scheme};
use http::{Request, StatusCode};
use tokio::time::timeout;

use super::Failure;
use crate::body;
use crate::cli::Settings;
use crate::config::{Config, Origin};
use crate::upstream::Upstream;
use crate::upstream::outbound::Outbound;

/// Longest wait for the answer; container engines give a check 30 s by default.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Succeeds if the proxy answers that it is ready.
///
/// # Errors
/// If it does not.
pub fn healthcheck(settings: Settings) -> Result<(), Failure> {
    let config = Config::load(settings)?;
    let address =
        config.listen.first().copied().map(reachable).ok_or_else(|| Failure::failed("no address"))?;
    let authority = address.to_string().parse().map_err(Failure::failed)?;
    // It asks its own machine, which no proxy on the way could reach.
    let proxy = Upstream::new(Origin { scheme: Scheme::HTTP, authority }, None, Outbound::direct())?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
    let answer = runtime.block_on(async {
        let request = Request::new(body::empty());
        timeout(TIMEOUT, proxy.send(PathAndQuery::from_static("/readyz"), request)).await
    });
    match answer {
        Ok(Ok(response)) if response.status() == StatusCode::OK => Ok(()),
        Ok(Ok(response)) => Err(Failure::failed(format!("{address} is not ready: {}", response.status()))),
        Ok(Err(error)) => Err(Failure::failed(format!("{address} cannot be asked: {}", error.chain))),
        Err(_) => Err(Failure::failed(format!("{address} did not answer within {} s", TIMEOUT.as_secs()))),
    }
}

/// Turns an address to listen on into one to connect to.
fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}
