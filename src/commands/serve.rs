//! `serve`: the composition root. Everything is built and bound before the first task starts.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::Failure;
use crate::catalog::Catalog;
use crate::catalog::snapshot::Snapshots;
use crate::cli::{self, Settings};
use crate::config::{Admin, Config, Limits, Webhook};
use crate::metrics::Metrics;
use crate::news::News;
use crate::news::notify::{self, Notifier, Outbox};
use crate::printable::joined;
use crate::proxy::Proxy;
use crate::proxy::respond::Caching;
use crate::proxy::trust::Trusted;
use crate::server::tls::Certificate;
use crate::server::{self, Connections, descriptors};
use crate::upstream::Upstream;
use crate::upstream::outbound::Outbound;
use crate::watch::Watch;
use crate::whitelist::watch::WatchedWhitelist;
use crate::{admin, logging, systemd};

/// Some scrapers and probes. They are counted apart, so that they get through whatever clients do.
const ADMIN_CONNECTIONS: usize = 64;

/// How many connections are served in turn before sockets are looked at again: as many as a worker's own queue
/// has room for (256), so that none waits in the one that is shared and rarely looked at. With a thousand busy
/// connections it would for tenths of a second, while others are answered a hundred times.
const TURN: u16 = 240;

/// The proxy with its sockets, ready to run.
#[derive(Debug)]
pub struct Service {
    proxy: Proxy,
    listeners: Vec<TcpListener>,
    admin: Option<TcpListener>,
    notifier: Option<Notifier>,
    limits: Limits,
    certificate: Option<Arc<Certificate>>,
    /// Of all files that are reloaded.
    watches: Vec<Watch>,
}

/// Runs the proxy until a signal ends it.
///
/// # Errors
/// If it cannot start.
pub fn serve(settings: Settings) -> Result<(), Failure> {
    let config = Config::load(settings)?;
    let outbound = Outbound::from_env(&config.upstream)?;
    logging::start(config.log_format, config.log_level.as_ref())?;
    block_on(async {
        let service = Service::bind(&config, outbound).await?;
        service.run(shutdown_signal().map_err(Failure::failed)?).await
    })
}

/// Runs a service on a runtime of its own, and ends that with it.
///
/// # Errors
/// Those of the service, or if the system gives no threads.
pub(super) fn block_on(service: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = runtime::Builder::new_multi_thread()
        .enable_all()
        .max_io_events_per_tick(TURN.into())
        .event_interval(TURN.into())
        .build()
        .map_err(Failure::failed)?;
    let result = runtime.block_on(service);
    // Dropping it would wait for its blocking threads, and one that reads from a disk that hangs never ends.
    runtime.shutdown_background();
    result
}

impl Service {
    /// Loads and binds everything that `config` names; the upstream is reached the way `outbound` says.
    ///
    /// # Errors
    /// The first thing that cannot be had.
    pub async fn bind(config: &Config, outbound: Outbound) -> Result<Self, Failure> {
        if let Some(objection) = config.cache.objection() {
            warn!("{}: {objection}", cli::source("--cache-size"));
        }
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
        let certificate = config.tls.as_ref().map(Certificate::load).transpose()?;
        let mut watches = vec![whitelist.watch().map_err(Failure::failed)?];
        if let Some(certificate) = &certificate {
            watches.push(certificate.watch().map_err(Failure::failed)?);
        }
        // A disk that cannot be used costs a warm start, nothing else.
        let snapshots = config.cache_dir.as_deref().and_then(|directory| {
            Snapshots::open(directory, config.cache.size)
                .inspect_err(|error| warn!(directory = %directory.display(), %error, "no cache directory"))
                .ok()
        });
        let metrics = Arc::new(Metrics::default());
        let (outbox, notifier) = config.notify.clone().map(notifier).transpose()?.unzip();
        let directory = config.cache_dir.as_deref().filter(|_| snapshots.is_some());
        let news = News::start(directory, Arc::clone(&whitelist), Arc::clone(&metrics), outbox)
            .map_err(Failure::failed)?;
        // Whatever clients do to the connections of pass-through, feeds have their own.
        let catalog =
            Catalog::new(upstream.apart(), &config.cache, snapshots, Some(news), Arc::clone(&metrics));
        let caching = Caching { max_age: config.client_max_age };
        let limits = config.limits;
        let proxy = Proxy {
            catalog,
            upstream,
            whitelist,
            caching,
            trusted: Trusted::new(config.trusted.clone()),
            secure: certificate.is_some(),
            max_request_body: limits.request_body,
            metrics,
        };
        Ok(Self { proxy, listeners, admin, notifier, limits, certificate, watches })
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
        descriptors::ensure(self.limits.connections);
        let origin = self.proxy.upstream.origin();
        let list = self.proxy.whitelist.current();
        info!(
            version = env!("CARGO_PKG_VERSION"), listen = %joined(&self.addresses()),
            admin = self.admin_address().map(tracing::field::display),
            upstream = %format_args!("{}://{}", origin.scheme, origin.authority),
            outbound = %self.proxy.upstream.outbound(), extensions = list.len(), "serving"
        );
        let mut hangups = signal(SignalKind::hangup()).map_err(Failure::failed)?;
        let (stop, stopped) = watch::channel(false);
        let connections = Connections::new(
            self.limits.connections,
            self.limits.connections_per_address,
            self.proxy.trusted.clone(),
            self.proxy.metrics.connections.port("service"),
        );
        let mut servers = JoinSet::new();
        let proxy = Arc::new(self.proxy.clone());
        for listener in self.listeners {
            let (proxy, certificate) = (Arc::clone(&proxy), self.certificate.clone());
            let handler = move |request, peer| Arc::clone(&proxy).answer(request, peer);
            let connections = Arc::clone(&connections);
            servers.spawn(server::serve(listener, connections, certificate, handler, stopped.clone()));
        }
        if let Some(listener) = self.admin {
            let proxy = Arc::clone(&proxy);
            let port = self.proxy.metrics.connections.port("admin");
            let connections =
                Connections::new(ADMIN_CONNECTIONS, ADMIN_CONNECTIONS, Trusted::default(), port);
            let certificate = self.certificate.clone();
            let handler = move |request, _| {
                let certificate = certificate.as_ref().map(|certificate| certificate.state());
                std::future::ready(admin::answer(&proxy, certificate, &request))
            };
            servers.spawn(server::serve(listener, connections, None, handler, stopped.clone()));
        }
        if let Some(notifier) = self.notifier {
            servers.spawn(notifier.run(Arc::clone(&self.proxy.metrics), stopped.clone()));
        }
        servers.spawn(self.proxy.catalog.clone().keep_fresh(stopped));
        // Not before hang-ups are handled: the manager may ask for a reload at once.
        systemd::ready();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            tokio::select! {
                () = &mut shutdown => break,
                Some(()) = hangups.recv() => reload(&self.watches),
            }
        }
        systemd::stopping();
        info!("stopping: no new connections, running answers may finish");
        // It fails only if no server is left to stop.
        let _ = stop.send(true);
        while servers.join_next().await.is_some() {}
        self.proxy.catalog.close().await;
        info!("stopped");
        Ok(())
    }
}

/// Makes what tells `hook` the news; the same rules as for the upstream say which way they leave.
fn notifier(hook: Webhook) -> Result<(Outbox, Notifier), Failure> {
    let outbound = Outbound::from_env(&hook.origin)?;
    let client = Upstream::new(hook.origin.clone(), None, outbound)?;
    Ok(notify::notifier(hook, client))
}

/// Has all files read again, and says so when that is done. Nothing waits for it: file systems may hang.
fn reload(watches: &[Watch]) {
    systemd::reloading();
    let reloads = join_all(watches.iter().map(Watch::reload));
    tokio::spawn(async move {
        reloads.await;
        systemd::ready();
    });
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
    // What log rotation sends to other servers must not end this one; a signal once asked for does nothing else.
    for unused in [SignalKind::user_defined1(), SignalKind::user_defined2()] {
        drop(signal(unused)?);
    }
    Ok(async move {
        either(&mut terminate, &mut interrupt).await;
        tokio::spawn(async move {
            either(&mut terminate, &mut interrupt).await;
            warn!("a second signal: running answers are cut");
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
