//! `serve`: the composition root. Everything is built and bound before the first task starts.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::Failure;
use crate::catalog::Catalog;
use crate::catalog::snapshot::Snapshots;
use crate::cli::Settings;
use crate::config::{Admin, Config};
use crate::metrics::Metrics;
use crate::proxy::Proxy;
use crate::proxy::respond::Caching;
use crate::upstream::Upstream;
use crate::upstream::outbound::Outbound;
use crate::whitelist::watch::{Watch, WatchedWhitelist};
use crate::{admin, logging, server};

/// The proxy with its sockets, ready to run.
#[derive(Debug)]
pub struct Service {
    proxy: Proxy,
    listeners: Vec<TcpListener>,
    admin: Option<TcpListener>,
    watch: Watch,
}

/// Runs the proxy until a signal ends it.
///
/// # Errors
/// If it cannot start.
pub fn serve(settings: Settings) -> Result<(), Failure> {
    let config = Config::load(settings)?;
    let outbound = Outbound::from_env(&config.upstream)?;
    logging::start(config.log_format);
    tokio::runtime::Runtime::new().map_err(Failure::failed)?.block_on(async {
        let service = Service::bind(&config, outbound).await?;
        service.run(shutdown_signal().map_err(Failure::failed)?).await
    })
}

impl Service {
    /// Loads and binds everything that `config` names; the upstream is reached the way `outbound` says.
    ///
    /// # Errors
    /// The first thing that cannot be had.
    pub async fn bind(config: &Config, outbound: Outbound) -> Result<Self, Failure> {
        let whitelist = WatchedWhitelist::load(&config.whitelist)?;
        let upstream = Upstream::new(config.upstream.clone(), config.upstream_ca.as_deref(), outbound)?;
        let mut listeners = Vec::with_capacity(config.listen.len());
        for address in &config.listen {
            listeners.push(bind(*address).await?);
        }
        let admin = match config.admin {
            Admin::Off => None,
            Admin::Required(address) => Some(bind(address).await?),
            Admin::IfFree(address) => {
                bind(address).await.inspect_err(|failure| warn!("no admin port: {}", failure.message)).ok()
            }
        };
        let watch = whitelist.watch().map_err(Failure::failed)?;
        // A disk that cannot be used costs a warm start, nothing else.
        let snapshots = config.cache_dir.as_deref().and_then(|directory| {
            Snapshots::open(directory, config.cache.size)
                .inspect_err(|error| warn!(directory = %directory.display(), %error, "no cache directory"))
                .ok()
        });
        let metrics = Metrics::default();
        let catalog = Catalog::new(upstream.clone(), &config.cache, snapshots, metrics.clone());
        let caching = Caching { max_age: config.client_max_age };
        let proxy = Proxy { catalog, upstream, whitelist, caching, metrics };
        Ok(Self { proxy, listeners, admin, watch })
    }

    /// Returns the real addresses of the service port.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Returns the real address of the admin port.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref()?.local_addr().ok()
    }

    /// Serves until `shutdown` completes and running answers have ended.
    ///
    /// # Errors
    /// If signals cannot be handled.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), Failure> {
        let origin = self.proxy.upstream.origin();
        let list = self.proxy.whitelist.current();
        info!(
            version = env!("CARGO_PKG_VERSION"), listen = ?self.addresses(), admin = ?self.admin_address(),
            upstream = %format_args!("{}://{}", origin.scheme, origin.authority),
            outbound = %self.proxy.upstream.outbound(), extensions = list.len(), "serving"
        );
        let mut hangups = signal(SignalKind::hangup()).map_err(Failure::failed)?;
        let (stop, stopped) = watch::channel(false);
        let mut servers = JoinSet::new();
        let proxy = Arc::new(self.proxy.clone());
        for listener in self.listeners {
            let proxy = Arc::clone(&proxy);
            let handler = move |request, peer| {
                let proxy = Arc::clone(&proxy);
                async move { proxy.answer(request, peer).await }
            };
            servers.spawn(server::serve(listener, handler, stopped.clone()));
        }
        if let Some(listener) = self.admin {
            let proxy = self.proxy.clone();
            let handler = move |request, _| std::future::ready(admin::answer(&proxy, &request));
            servers.spawn(server::serve(listener, handler, stopped.clone()));
        }
        servers.spawn(self.proxy.catalog.clone().keep_fresh(stopped));
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(()) = hangups.recv() => self.watch.reload(),
            }
        }
        info!("stopping: no new connections, running answers may finish");
        // It fails only if no server is left to stop.
        let _ = stop.send(true);
        while servers.join_next().await.is_some() {}
        self.proxy.catalog.close().await;
        info!("stopped");
        Ok(())
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .await
        .map_err(|error| Failure::failed(format!("cannot listen on {address}: {error}")))
}

/// Completes at the first SIGTERM or SIGINT; a second one ends the process at once.
///
/// # Errors
/// If the handlers cannot be set.
pub fn shutdown_signal() -> io::Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        either(&mut terminate, &mut interrupt).await;
        tokio::spawn(async move {
            either(&mut terminate, &mut interrupt).await;
            std::process::exit(i32::from(super::FAILED));
        });
    })
}

async fn either(a: &mut Signal, b: &mut Signal) {
    tokio::select! {
        _ = a.recv() => {}
        _ = b.recv() => {}
    }
}
