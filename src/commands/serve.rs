//! `serve`: the composition root. Everything is built and bound before the first task starts.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use rustix::process::Signal;
use tokio::net::TcpListener;
use tokio::signal::unix::{self, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::tasks::{Ended, Tasks};
use super::{Failure, runtime};
use crate::cache_directory::CacheDirectory;
use crate::catalog::Catalog;
use crate::catalog::disk::Disk;
use crate::cli::Settings;
use crate::config::{Admin, Config, Limits, ProxyVariables, Webhook};
use crate::metrics::Metrics;
use crate::news::News;
use crate::news::notify::{self, Notifier};
use crate::printable::joined;
use crate::proxy::Proxy;
use crate::proxy::respond::Caching;
use crate::proxy::trust::Trusted;
use crate::server::tls::Certificate;
use crate::server::{self, Connections, Quotas, descriptors, listener};
use crate::systemd::Manager;
use crate::upstream::Upstream;
use crate::upstream::outbound::Outbound;
use crate::watch::Watch;
use crate::{admin, logging, stderr, whitelist};

/// Some scrapers and probes. They are counted apart, so that they get through whatever clients do.
const ADMIN_CONNECTIONS: usize = 64;

/// How long running responses of the admin port may take after all others have ended. A scraper that hangs must not
/// hold up the end.
const ADMIN_DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// The proxy with its sockets, ready to run.
#[derive(Debug)]
pub struct Service {
    proxy: Proxy,
    listeners: Vec<TcpListener>,
    admin: Option<TcpListener>,
    notifier: Option<Notifier>,
    disk: Option<Arc<Disk>>,
    limits: Limits,
    quotas: Quotas,
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
    logging::start(*config.log_format, config.log_level.as_ref())?;
    runtime::run(async {
        let service = Service::bind(&config).await?;
        service.run(shutdown_signal().map_err(Failure::failed)?).await
    })
}

impl Service {
    /// Loads and binds everything that `config` names.
    ///
    /// # Errors
    /// The first thing that cannot be had.
    pub async fn bind(config: &Config) -> Result<Self, Failure> {
        if let Some(objection) = config.cache.objection() {
            warn!("{}: {objection}", config.cache.size.source);
        }
        let metrics = Arc::new(Metrics::default());
        let outbound = Outbound::new(&config.upstream, &config.outbound)?;
        let whitelist = whitelist::watch::load(&config.whitelist)?;
        let upstream = Upstream::new(config.upstream.value.clone(), config.upstream_ca.as_ref(), outbound)?;
        let listen = |address: &SocketAddr| bind(*address, &config.listen);
        let listeners = config.listen.iter().map(listen).collect::<Result<Vec<_>, _>>()?;
        let admin = match &*config.admin {
            Admin::Off => None,
            Admin::Required(address) => Some(listen(address)?),
            Admin::IfFree(address) => {
                listen(address).inspect_err(|failure| warn!("no admin port: {failure}")).ok()
            }
        };
        let certificate = config.tls.as_ref().map(Certificate::load).transpose()?;
        let mut watches = vec![
            whitelist.watch(metrics.panics("whitelist")).map_err(Failure::failed)?,
            upstream.watch_roots(&metrics).map_err(Failure::failed)?,
        ];
        if let Some(certificate) = &certificate {
            watches.push(certificate.watch(metrics.panics("certificate")).map_err(Failure::failed)?);
        }
        let directory = config.cache_dir.as_ref().map(|path| CacheDirectory::new(path, &metrics));
        // A disk that cannot be used costs a warm start, nothing else.
        let disk = match &directory {
            None => None,
            Some(directory) => {
                let disk = Disk::open(Arc::clone(directory), *config.cache.size, &metrics).await;
                Some(Arc::new(disk.map_err(Failure::failed)?))
            }
        };
        let hook = config.notify.as_ref();
        let hook = hook.map(|hook| hook_client(hook.value.clone(), &config.outbound)).transpose()?;
        if let Some((_, client)) = &hook {
            watches.push(client.watch_roots(&metrics).map_err(Failure::failed)?);
        }
        let (outbox, notifier) = hook.map(|(hook, client)| notify::notifier(hook, client)).unzip();
        let news = News::start(directory, Arc::clone(&whitelist), Arc::clone(&metrics), outbox)
            .map_err(Failure::failed)?;
        // Whatever clients do to the connections of pass-through, feeds have their own.
        let catalog =
            Catalog::new(upstream.apart(), &config.cache, disk.clone(), Some(news), Arc::clone(&metrics));
        let caching = Caching { max_age: config.client_max_age.as_ref().map(|given| given.value) };
        let limits = config.limits.clone();
        let proxy = Proxy {
            catalog,
            upstream,
            whitelist,
            caching,
            trusted: Trusted::new(config.trusted.value.clone()),
            secure: certificate.is_some(),
            max_request_body: *limits.request_body,
            metrics,
        };
        let quotas = Quotas {
            total: *limits.connections,
            per_address: *limits.connections_per_address,
            exempt: config.trusted.value.clone(),
        };
        Ok(Self { proxy, listeners, admin, notifier, disk, limits, quotas, certificate, watches })
    }

    /// Returns the real addresses of the service port.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// Returns the real address of the admin port.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref()?.local_addr().ok()
    }

    /// Serves until `shutdown` completes and running responses have ended, or until a server fails.
    ///
    /// # Errors
    /// If signals cannot be handled, or a task that nothing works without has ended.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), Failure> {
        descriptors::ensure(*self.limits.connections);
        let origin = self.proxy.upstream.origin();
        let list = self.proxy.whitelist.current();
        info!(
            version = env!("CARGO_PKG_VERSION"), listen = %joined(&self.addresses()),
            admin = self.admin_address().map(tracing::field::display),
            upstream = %format_args!("{}://{}", origin.scheme, origin.authority),
            outbound = %self.proxy.upstream.outbound(), extensions = list.len(), "serving"
        );
        let mut hangups = signal(SignalKind::hangup()).map_err(Failure::failed)?;
        let manager = Manager::from_env(self.proxy.metrics.panics("systemd")).map_err(Failure::failed)?;
        let manager = Arc::new(manager);
        let (stop, stopped) = watch::channel(false);
        let metrics = Arc::clone(&self.proxy.metrics);
        let panics = metrics.panics("connection");
        let connections = Connections::new(self.quotas, metrics.connections.port("service"), panics.clone());
        let mut tasks = Tasks::new(Arc::clone(&metrics));
        // The admin port tells that the service port drains, so it ends last.
        let mut admin_tasks = Tasks::new(Arc::clone(&metrics));
        let (stop_admin, admin_stopped) = watch::channel(false);
        let proxy = Arc::new(self.proxy.clone());
        for listener in self.listeners {
            let (proxy, certificate) = (Arc::clone(&proxy), self.certificate.clone());
            let handler = move |request, peer| Arc::clone(&proxy).answer(request, peer);
            let connections = Arc::clone(&connections);
            tasks
                .spawn("accept", server::serve(listener, connections, certificate, handler, stopped.clone()));
        }
        if let Some(listener) = self.admin {
            let proxy = Arc::clone(&proxy);
            let quotas =
                Quotas { total: ADMIN_CONNECTIONS, per_address: ADMIN_CONNECTIONS, exempt: Vec::new() };
            let connections = Connections::new(quotas, metrics.connections.port("admin"), panics);
            let certificate = self.certificate.clone();
            let stopped = stopped.clone();
            let handler = move |request, _| {
                let is_draining = *stopped.borrow();
                let certificate = certificate.as_ref().map(|certificate| certificate.state());
                std::future::ready(admin::answer(&proxy, certificate, &request, is_draining))
            };
            admin_tasks.spawn("admin", server::serve(listener, connections, None, handler, admin_stopped));
        }
        if let Some(notifier) = self.notifier {
            tasks.spawn("notifier", notifier.run(Arc::clone(&metrics), stopped.clone()));
        }
        if let Some(disk) = self.disk {
            let stopped = stopped.clone();
            tasks.spawn_restarting("keep_claimed", move || Arc::clone(&disk).keep_claimed(stopped.clone()));
        }
        let catalog = self.proxy.catalog.clone();
        tasks.spawn_restarting("keep_fresh", move || catalog.clone().keep_fresh(stopped.clone()));
        // Not before hang-ups are handled: the manager may ask for a reload at once.
        manager.ready();
        let mut shutdown = std::pin::pin!(shutdown);
        let ended = loop {
            tokio::select! {
                () = &mut shutdown => break Ok(()),
                Some(()) = hangups.recv() => tasks.spawn_brief("reload", reload(&self.watches, Arc::clone(&manager))),
                Ended(task) = tasks.ended_early() => break Err(task),
                Ended(task) = admin_tasks.ended_early() => break Err(task),
            }
        };
        manager.stopping();
        match ended {
            Ok(()) => info!("stopping: no new connections, running responses may finish"),
            Err(task) => error!(task, "stopping: a task has ended that nothing works without"),
        }
        // It fails only if no server is left to stop.
        let _ = stop.send(true);
        // A process that takes over needs the cache directory now, not when the last response has ended.
        tokio::join!(self.proxy.catalog.close(), tasks.finish());
        let _ = stop_admin.send(true);
        let _ = timeout(ADMIN_DRAIN_TIMEOUT, admin_tasks.finish()).await;
        // A panic in there is told by the hook, and is no reason not to end.
        drop(spawn_blocking(move || manager.close()).await);
        info!("stopped");
        ended.map_err(|task| {
            Failure::failed(format!("the task {task:?} has ended, which is a bug; the log tells more"))
        })
    }
}

/// Makes the client that posts the news to `hook`; the same rules as for the upstream say which way it takes.
fn hook_client(hook: Webhook, outbound: &ProxyVariables) -> Result<(Webhook, Upstream), Failure> {
    let outbound = Outbound::new(&hook.origin, outbound)?;
    let client = Upstream::new(hook.origin.clone(), None, outbound)?;
    Ok((hook, client))
}

/// Has all files read again; what it returns tells the manager when that is done. Nothing should wait for it, for
/// file systems may hang.
fn reload(watches: &[Watch], manager: Arc<Manager>) -> impl Future<Output = ()> + use<> {
    manager.reloading();
    let reloads = join_all(watches.iter().map(Watch::reload));
    async move {
        reloads.await;
        manager.ready();
    }
}

fn bind(address: SocketAddr, all: &[SocketAddr]) -> Result<TcpListener, Failure> {
    listener::bind(address, all)
        .map_err(|error| Failure::failed(format!("cannot listen on {address}: {error}")))
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
