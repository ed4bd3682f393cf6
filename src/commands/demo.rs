//! `demo`: the proxy against a built-in sample catalog, without a network, with something to see on its admin port.

mod past;
mod servers;
mod vendor;

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use http::Request;
use http::uri::Scheme;
use hyper::body::Incoming;
use prometheus_client::metrics::counter::Counter;
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::CommandError;
use super::runtime;
use super::serve::shutdown_signal;
use super::terminal::print;
use super::token;
use crate::app::App;
use crate::cli::LogFormat;
use crate::config::{AdminAccess, Config, Origin};
use crate::logging;
use crate::metrics::connections::Port;
use crate::server::{self, Connections, Quotas};

const WHITELIST: &str = concat!(
    include_str!("../../whitelist.toml"),
    "# Out of the shop; servers that have it still get its updates.\nretired = [\"xovi\"]\n",
    "# Not shown at all, though it is free.\nhidden = [\"ruby\"]\n",
);
/// Another brand, under `/gold/`.
const GOLD: &str = "extensions = [\n  \"wp-toolkit\",\n  \"imunify360\",\n  \"kolab\",\n]\n";

/// Runs the proxy on `listen` until a signal ends it.
///
/// # Errors
/// If it cannot start.
pub(crate) fn demo(listen: SocketAddr) -> Result<(), CommandError> {
    logging::start(LogFormat::Text, None)?;
    let directory =
        tempfile::Builder::new().prefix("catalog-proxy-demo-").tempdir().map_err(CommandError::failed)?;
    let whitelist = directory.path().join("whitelist.toml");
    let shops = directory.path().join("shops");
    let (tokens, cache) = (directory.path().join("tokens.toml"), directory.path().join("cache"));
    let token = token::new_token()?;
    let written = fs::create_dir(&shops)
        .and_then(|()| fs::write(shops.join("gold.toml"), GOLD))
        .and_then(|()| fs::write(&whitelist, WHITELIST))
        .and_then(|()| fs::write(&tokens, format!("[editors]\n{}\n", token::line("demo", &token))));
    written.map_err(CommandError::failed)?;
    past::write(&cache);
    runtime::run(async {
        let sample = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.map_err(CommandError::failed)?;
        let authority = sample
            .local_addr()
            .map_err(CommandError::failed)?
            .to_string()
            .parse()
            .map_err(CommandError::failed)?;
        let config = Config {
            listen: vec![listen].into(),
            upstream: Origin { scheme: Scheme::HTTP, authority }.into(),
            whitelist: Some(whitelist.clone().into()),
            shops: Some(shops.clone().into()),
            cache_dir: Some(cache.into()),
            access: AdminAccess { tokens: Some(tokens.into()), ..AdminAccess::default() },
            // The pretend servers say which they are.
            trusted: vec![IpAddr::from(Ipv4Addr::LOCALHOST).into(), IpAddr::from(Ipv6Addr::LOCALHOST).into()]
                .into(),
            ..Config::default()
        };
        let app = App::bind(&config).await?;
        let (_stop, stopped) = watch::channel(false);
        let total = *config.limits.connections;
        let quotas = Quotas { total, per_address: total, exempt: Vec::new() };
        let connections = Connections::new(quotas, Port::default(), Counter::default());
        let answer = |request: Request<Incoming>, _| std::future::ready(vendor::vendor(&request));
        tokio::spawn(server::serve(sample, connections, None, answer, stopped));
        for address in app.addresses() {
            print(&what_to_try(address, app.admin_address(), &config.upstream, [&whitelist, &shops]))?;
            tokio::spawn(servers::pretend(address));
        }
        if let Some(admin) = app.admin_address() {
            // Only here: the log may be kept, and the token is that of an editor.
            print(&format!("\nThe page, with editing on:  http://{admin}/#token={token}\n\n"))?;
        }
        Ok(app.run(shutdown_signal().map_err(CommandError::failed)?).await?)
    })
}

fn what_to_try(
    address: SocketAddr,
    admin: Option<SocketAddr>,
    sample: &Origin,
    [whitelist, shops]: [&Path; 2],
) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "catalog-proxy".to_owned());
    let (whitelist, shops) = (whitelist.display(), shops.display());
    let sources = format!("--upstream http://{} --whitelist {whitelist} --shops {shops}", sample.authority);
    let metrics = admin.map_or_else(String::new, |admin| format!("  curl -s http://{admin}/metrics\n"));
    format!(
        "The sample catalog has 42 packages, 16 of them sold by Plesk. The whitelist shows 2 of those, retires xovi, and\n\
         hides a free one; the shop `gold` shows 3 of Plesk's. Try:\n\
         \x20 curl -s http://{address}/api/v4/packages | grep -o '\"uuid\"' | wc -l   # 27 packages\n\
         \x20 curl -s http://{address}/gold/api/v4/packages | grep -o '\"uuid\"' | wc -l   # 29 packages\n\
         \x20 curl -s http://{address}/api/v4/packages | grep -c '\"xovi\"'   # 0: it is retired\n\
         \x20 curl -s 'http://{address}/api/v4/packages?platform=unix' | grep -c '\"xovi\"'   # 1: servers that have it get updates\n\
         \x20 curl -si http://{address}/api/v4/categories | head -20\n\
         \x20 {program} shops {sources}\n\
         \x20 {program} list --shop default,gold {sources}\n\
         \x20 {program} allow xovi {sources}   # then ask again: xovi is in the shop at once\n\
         {metrics}\
         Ctrl-C ends it.\n"
    )
}
