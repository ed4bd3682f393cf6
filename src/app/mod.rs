//! The proxy as a whole: builds and binds everything before the first task starts, runs, and drains.

mod descriptors;
mod listeners;
mod tasks;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::{error, info, warn};

use crate::admin::tokens::{TokensError, WatchedTokens};
use crate::admin::{AdminParts, AdminPort};
use crate::cache::Cache;
use crate::cache::disk::Disk;
use crate::cache_directory::CacheDirectory;
use crate::certificate::{Certificate, TlsError};
use crate::config::{
    AdminAccess, ChangedFile, Config, EXPOSED_TOKENS, Limits, Objection, ProxyVariables, RestartCheck,
    Webhook,
};
use crate::edit_log::EditLog;
use crate::metrics::Metrics;
use crate::news::News;
use crate::news::notify::{self, NotificationTarget, Notifier};
use crate::printable::joined;
use crate::proxy::Proxy;
use crate::proxy::access_log::AccessLog;
use crate::proxy::respond::Caching;
use crate::proxy::trust::Trusted;
use crate::server::inherited::InheritedSockets;
use crate::server::{self, Connections, Quotas};
use crate::servers::Servers;
use crate::shops::{self, ShopFiles, ShopsError};
use crate::systemd::{self, Manager};
use crate::upstream::outbound::{Outbound, OutboundError};
use crate::upstream::{RootsError, Upstream};
use crate::version::VERSION;
use crate::watch::Watch;
use listeners::Listeners;
use tasks::{EndedEarly, Tasks};

/// Some scrapers, probes and people. They are counted apart, so that they get through whatever clients do; many more than
/// wrong tokens are held, so that these lock nobody out.
const ADMIN_CONNECTIONS: usize = 256;

/// How long running responses of the admin port may take after all others have ended. A scraper that hangs must not
/// hold up the end.
const ADMIN_DRAIN_TIMEOUT: Duration = Duration::from_secs(1);

/// Why the proxy cannot start, or ended without having been asked to.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// There are no whitelists to serve with.
    #[error(transparent)]
    Shops(#[from] ShopsError),
    /// The certificate of the service port cannot be used.
    #[error(transparent)]
    Certificate(#[from] TlsError),
    /// The file of `--admin-tokens` cannot be used.
    #[error(transparent)]
    Tokens(#[from] TokensError),
    /// The upstream's roots of trust cannot be used.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// A variable that names an outbound proxy is wrong.
    #[error("{}: {}", .0.variable, .0.message())]
    Outbound(OutboundError),
    /// A socket cannot be bound.
    #[error("cannot listen on {address}: {error}{}", hint(error, flag))]
    Listen {
        /// The address that was asked for.
        address: SocketAddr,
        /// The flag that gives it.
        flag: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// The system gives no thread or signal handler.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A task that nothing works without has ended.
    #[error("the task {0:?} has ended, which is a bug; the log tells more")]
    Task(&'static str),
}

/// Says what to do if an address cannot be listened on.
fn hint(error: &io::Error, flag: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!("; another program listens there: choose another with {flag}"),
        io::ErrorKind::AddrNotAvailable => {
            format!("; this machine has no such address: choose another with {flag}")
        }
        io::ErrorKind::PermissionDenied => {
            format!(
                "; ports below 1024 need a permission: choose another with {flag}, or give CAP_NET_BIND_SERVICE"
            )
        }
        _ => String::new(),
    }
}

impl From<OutboundError> for AppError {
    fn from(error: OutboundError) -> Self {
        Self::Outbound(error)
    }
}

/// The proxy with its sockets, ready to run.
#[derive(Debug)]
pub struct App {
    proxy: Proxy,
    listeners: Vec<TcpListener>,
    admin: Option<TcpListener>,
    notifier: Option<Notifier>,
    disk: Option<Arc<Disk>>,
    limits: Limits,
    quotas: Quotas,
    certificate: Option<Arc<Certificate>>,
    access: AdminAccess,
    tokens: Option<Arc<WatchedTokens>>,
    edit_log: Arc<EditLog>,
    /// Of all files that are reloaded.
    watches: Vec<Watch>,
    /// What the configuration file is held against at a hang-up.
    restart: Option<Arc<RestartCheck>>,
    start: Start,
}

/// What is in the cache before the first request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// Nothing: each key is read or fetched when it is first asked for.
    Cold,
    /// The copies on disk, or the usual feeds.
    Warm,
}

impl App {
    /// Loads and binds everything that `config` names.
    ///
    /// # Errors
    /// The first thing that cannot be had.
    pub async fn bind(config: &Config) -> Result<Self, AppError> {
        Self::bind_over(config, InheritedSockets::default()).await
    }

    /// As [`App::bind`], with sockets that are open already in the place of the addresses in `config`.
    ///
    /// # Errors
    /// The first thing that cannot be had.
    pub async fn bind_over(config: &Config, inherited: InheritedSockets) -> Result<Self, AppError> {
        for Objection { at, message } in config.objections() {
            warn!("{at}: {message}");
        }
        let metrics = Arc::new(Metrics::default());
        let outbound = Outbound::new(&config.upstream, &config.outbound)?;
        let files = ShopFiles {
            default: config.whitelist.as_ref().map(|given| given.value.clone()),
            directory: config.shops.as_ref().map(|given| given.value.clone()),
        };
        let shops = shops::load(files)?;
        let upstream = Upstream::new(config.upstream.value.clone(), config.upstream_ca.as_ref(), outbound)?;
        let Listeners { service: listeners, admin } = Listeners::bind(config, inherited)?;
        let certificate = config.tls.as_ref().map(Certificate::load).transpose()?;
        let access = config.access.clone();
        let tokens =
            access.tokens.as_ref().map(|path| WatchedTokens::load(path.value.clone())).transpose()?;
        let mut watches = vec![upstream.watch_roots(&metrics)?];
        if let Some(certificate) = &certificate {
            watches.push(certificate.watch(metrics.panics("certificate"))?);
        }
        if let Some(tokens) = &tokens {
            watches.push(tokens.watch(metrics.panics("admin tokens"))?);
        }
        let directory = config.cache_dir.as_ref().map(|path| CacheDirectory::new(path, &metrics));
        // A disk that cannot be used costs a warm start, nothing else.
        let disk = match &directory {
            None => None,
            Some(directory) => {
                let disk = Disk::open(Arc::clone(directory), *config.cache.size, &metrics).await;
                Some(Arc::new(disk?))
            }
        };
        let hook = config.notify.as_ref().map(|hook| hook.value.clone());
        let client = hook.as_ref().map(|hook| hook_client(hook, &config.outbound)).transpose()?;
        if let Some(client) = &client {
            watches.push(client.watch_roots(&metrics)?);
        }
        let target = hook.zip(client);
        let target =
            target.map(|(hook, client)| NotificationTarget::new(hook, client, config.outbound.clone()));
        let (outbox, notifier) = target.map(|target| notify::notifier(target, *config.notify_format)).unzip();
        let edit_log = Arc::new(EditLog::new(directory.clone(), &shops.current()));
        edit_log.watch(&shops, metrics.panics("edit log"))?;
        let news = News::start(directory, Arc::clone(&shops), Arc::clone(&metrics), outbox)?;
        // Whatever clients do to the connections of pass-through, feeds have their own.
        let cache =
            Cache::new(upstream.apart(), &config.cache, disk.clone(), Some(news), Arc::clone(&metrics));
        let judge = cache.clone();
        let servers = Servers::start(&shops, move |before, now| judge.shop_view_changes(before, now));
        // INVARIANT: not before all who observe the shops do, or they miss a reload.
        watches.push(shops.watch(metrics.panics("whitelist"))?);
        let caching = Caching { max_age: config.client_max_age.as_ref().map(|given| given.value) };
        let limits = config.limits.clone();
        let proxy = Proxy {
            cache,
            upstream,
            shops,
            servers,
            caching,
            trusted: Trusted::new(config.trusted.value.clone()),
            secure: certificate.is_some(),
            access_log: AccessLog { format: *config.access_log, secure: certificate.is_some() },
            max_request_body: *limits.request_body,
            metrics,
        };
        let quotas = Quotas {
            total: *limits.connections,
            per_address: *limits.connections_per_address,
            exempt: config.trusted.value.clone(),
        };
        Ok(Self {
            proxy,
            listeners,
            admin,
            notifier,
            disk,
            limits,
            quotas,
            certificate,
            access,
            tokens,
            edit_log,
            watches,
            restart: None,
            start: Start::Cold,
        })
    }

    /// Has copies loaded from disk, and usual feeds fetched, before anybody asks for them.
    #[must_use]
    pub fn with_warm_start(self) -> Self {
        Self { start: Start::Warm, ..self }
    }

    /// Has a hang-up tell which settings have changed since the start.
    #[must_use]
    pub fn with_restart_check(self, check: RestartCheck) -> Self {
        Self { restart: Some(Arc::new(check)), ..self }
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
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<(), AppError> {
        descriptors::ensure(*self.limits.connections);
        // Before anybody is told that it serves: until then a hang-up would end the process.
        let mut hangups = signal(SignalKind::hangup())?;
        let origin = self.proxy.upstream.origin();
        let shops = self.proxy.shops.current();
        let names: Vec<_> = shops.all().map(|shop| shop.name.as_str()).collect();
        let addresses = self.addresses();
        info!(
            version = VERSION, listen = %joined(&addresses),
            admin = self.admin_address().map(tracing::field::display),
            upstream = %format_args!("{}://{}", origin.scheme, origin.authority),
            outbound = %self.proxy.upstream.outbound(), shops = %joined(&names), "serving"
        );
        let manager = Manager::from_env(self.proxy.metrics.panics("systemd"))?;
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
            let handler = move |request, peer| Arc::clone(&proxy).respond(request, peer);
            let connections = Arc::clone(&connections);
            tasks
                .spawn("accept", server::serve(listener, connections, certificate, handler, stopped.clone()));
        }
        if let Some(listener) = self.admin {
            let port = Arc::new(AdminPort::new(AdminParts {
                proxy: self.proxy.clone(),
                certificate: self.certificate.clone(),
                exposure: exposure(&self.access, listener.local_addr().ok()),
                access: self.access.clone(),
                tokens: self.tokens,
                edit_log: self.edit_log,
            }));
            let quotas =
                Quotas { total: ADMIN_CONNECTIONS, per_address: ADMIN_CONNECTIONS, exempt: Vec::new() };
            let connections = Connections::new(quotas, metrics.connections.port("admin"), panics);
            let certificate = self.certificate.clone().filter(|_| self.access.tls);
            let stopped = stopped.clone();
            let handler = move |request, peer| {
                let is_draining = *stopped.borrow();
                Arc::clone(&port).respond(request, peer, is_draining)
            };
            admin_tasks
                .spawn("admin", server::serve(listener, connections, certificate, handler, admin_stopped));
        }
        if let Some(notifier) = self.notifier {
            tasks.spawn("notifier", notifier.run(Arc::clone(&metrics), stopped.clone()));
        }
        if let Some(disk) = self.disk {
            let stopped = stopped.clone();
            tasks.spawn_restarting("keep_claimed", move || Arc::clone(&disk).keep_claimed(stopped.clone()));
        }
        let (cache, shops) = (self.proxy.cache.clone(), Arc::clone(&self.proxy.shops));
        let stop_coverage = stopped.clone();
        tasks.spawn_restarting("coverage", move || {
            cache.clone().watch_coverage(Arc::clone(&shops), stop_coverage.clone())
        });
        if self.start == Start::Warm {
            tasks.spawn_brief("warm start", self.proxy.cache.clone().warm_up(stopped.clone()));
        }
        let cache = self.proxy.cache.clone();
        tasks.spawn_restarting("keep_fresh", move || cache.clone().keep_fresh(stopped.clone()));
        let status = {
            let (shops, addresses) = (Arc::clone(&self.proxy.shops), joined(&addresses).to_string());
            move || format!("serving {} shop(s) on {addresses}", shops.current().all().count())
        };
        if let Some(interval) = systemd::watchdog_interval() {
            // On the runtime, so that one that is stuck is noticed.
            tasks.spawn_brief("watchdog", watchdog(Arc::clone(&manager), interval));
        }
        // Not before hang-ups are handled: the manager may ask for a reload at once.
        manager.ready(&status());
        let mut shutdown = std::pin::pin!(shutdown);
        let ended = loop {
            tokio::select! {
                () = &mut shutdown => break Ok(()),
                Some(()) = hangups.recv() => {
                    tasks.spawn_brief("reload", reload(&self.watches, self.restart.clone(), Arc::clone(&manager), status.clone()));
                }
                EndedEarly(task) = tasks.ended_early() => break Err(task),
                EndedEarly(task) = admin_tasks.ended_early() => break Err(task),
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
        tokio::join!(self.proxy.cache.close(), tasks.finish());
        let _ = stop_admin.send(true);
        let _ = timeout(ADMIN_DRAIN_TIMEOUT, admin_tasks.finish()).await;
        // A panic in there is told by the hook, and is no reason not to end.
        drop(spawn_blocking(move || manager.close()).await);
        info!("stopped");
        ended.map_err(AppError::Task)
    }
}

/// Returns a warning if people may edit over a port that others on the network can listen to.
fn exposure(access: &AdminAccess, address: Option<SocketAddr>) -> Option<&'static str> {
    let is_exposed = address.is_none_or(|address| !address.ip().is_loopback());
    (is_exposed && access.tokens.is_some() && !access.tls).then(|| {
        warn!("{EXPOSED_TOKENS}");
        EXPOSED_TOKENS
    })
}

/// Makes the client that posts the news to `hook`; the same rules as for the upstream say which way it takes.
fn hook_client(hook: &Webhook, outbound: &ProxyVariables) -> Result<Upstream, AppError> {
    let outbound = Outbound::new(&hook.origin, outbound)?;
    Ok(Upstream::new(hook.origin.clone(), None, outbound)?)
}

/// Has all files read again; what it returns tells the manager when that is done. Nothing should wait for it, for
/// file systems may hang.
fn reload<F: Fn() -> String>(
    watches: &[Watch],
    restart: Option<Arc<RestartCheck>>,
    manager: Arc<Manager>,
    status: F,
) -> impl Future<Output = ()> + use<F> {
    manager.reloading();
    let reloads = join_all(watches.iter().map(Watch::reload));
    let files = joined(watches).to_string();
    async move {
        reloads.await;
        info!(%files, "files read again");
        if let Some(restart) = restart {
            // A panic in there is told by the hook.
            let changed = spawn_blocking(move || restart.changed()).await;
            changed.ok().flatten().inspect(tell_of_restart);
        }
        manager.ready(&status());
    }
}

/// Tells the manager again and again that the runtime runs tasks.
async fn watchdog(manager: Arc<Manager>, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        manager.alive();
    }
}

/// Tells what of a changed configuration file is not in force.
fn tell_of_restart(changed: &ChangedFile) {
    let path = changed.path.display();
    match &changed.settings {
        Ok(settings) => {
            let settings = joined(settings);
            warn!(%path, %settings, "these settings have changed since the start: restart to put them in force");
        }
        Err(error) => {
            warn!(%path, %error, "the configuration file is broken: mend it before a restart, which would fail");
        }
    }
}
