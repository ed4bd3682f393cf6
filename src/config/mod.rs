//! The checked configuration: a flag wins over a variable over the file over the default, and each value knows
//! where it was given.

mod admin_access;
mod effective;
mod environment;
mod file;
mod layers;
mod mistake;
mod objections;
mod origin;
mod restart;
mod secrets;
mod syntax;
mod webhook;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use ipnet::IpNet;

use crate::cli::{AccessLogFormat, AdminListen, LogFormat, NotifyFormat, Settings};
use crate::given::{Given, Source};
pub use admin_access::{AdminAccess, UserHeader};
pub use effective::EffectiveSetting;
pub use environment::{NO_PROXY, PROXY, ProxyVariables};
use layers::Layers;
pub use mistake::{ConfigError, ConfigMistake};
pub use objections::{EXPOSED_TOKENS, Objection};
pub use origin::Origin;
pub use restart::{ChangedFile, RestartCheck};
pub use secrets::hidden_values;
pub use webhook::{RedirectError, Webhook};

/// Where a container is expected to serve.
const LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080);
/// Only this machine sees the admin port unless told otherwise: it names cached feeds.
pub const ADMIN_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);
/// The vendor's catalog.
const UPSTREAM: &str = "https://ext.plesk.com";
/// In the working directory.
pub const WHITELIST: &str = "whitelist.toml";
/// Instead of a path: no shop at `/`.
const OFF: &str = "off";
/// Some hundred variants of the feed of today (2.5 MB).
const CACHE_SIZE_BYTES: u64 = 256 << 20;
/// The catalog changes a few times a day, and Plesk keeps its own copy for about three days.
const FRESH_FOR: Duration = Duration::from_mins(10);
/// An edge of a content delivery network keeps a response for about as long, so asking more often brings the same.
const MIN_FRESH_FOR: Duration = Duration::from_secs(30);
/// Outlasts a long weekend with nobody watching.
const STALE_FOR: Duration = Duration::from_hours(7 * 24);
/// Twenty-five times the feed of today.
const MAX_FEED_SIZE_BYTES: u64 = 64 << 20;
/// Some fifty thousand servers may ask within a minute, each for less than a second.
const MAX_CONNECTIONS: usize = 4096;
/// A network of servers behind one address, or a load balancer, has more than enough with a quarter; the rest
/// stays for others whatever one client does.
const SHARE_OF_ADDRESS: usize = 4;
/// Plesk uploads nothing; the largest extensions have some 100 MB. Bodies are streamed, so this is no memory.
const MAX_REQUEST_BODY_BYTES: u64 = 256 << 20;

/// All settings of the proxy, checked. [`Config::default`] has the documented defaults.
#[derive(Debug, Clone)]
pub struct Config {
    /// Addresses of the service port.
    pub listen: Given<Vec<SocketAddr>>,
    /// The admin port.
    pub admin: Given<Admin>,
    /// Who may do what on the admin port, and from where.
    pub access: AdminAccess,
    /// Certificate of the service port; without one it speaks plain HTTP.
    pub tls: Option<Tls>,
    /// Proxies in front whose `X-Forwarded-*` is believed.
    pub trusted: Given<Vec<IpNet>>,
    /// Origin of the catalog.
    pub upstream: Given<Origin>,
    /// PEM file with the only roots to trust for the upstream; without one the system's.
    pub upstream_ca: Option<Given<PathBuf>>,
    /// Variables that name a proxy on the way to the upstream.
    pub outbound: ProxyVariables,
    /// Whitelist of the shop at `/`, if there is one.
    pub whitelist: Option<Given<PathBuf>>,
    /// Directory of the other shops' whitelists, if there are any.
    pub shops: Option<Given<PathBuf>>,
    /// Bounds and lifetimes of the cache.
    pub cache: CacheConfig,
    /// Directory in which feeds outlive the process.
    pub cache_dir: Option<Given<PathBuf>>,
    /// How long clients may keep a feed without asking again.
    pub client_max_age: Option<Given<Duration>>,
    /// Bounds for clients.
    pub limits: Limits,
    /// Receiver of notifications about changes of the catalog.
    pub notify: Option<Given<Webhook>>,
    /// Shape of notifications.
    pub notify_format: Given<NotifyFormat>,
    /// Format of log lines.
    pub log_format: Given<LogFormat>,
    /// Format of the access log, if there is one. A busy night has millions of lines, and journals drop what comes too
    /// fast, warnings too; so nobody has it who did not ask for it. The metrics count all requests anyway.
    pub access_log: Given<AccessLogFormat>,
    /// Directives that say which lines are logged; without them `RUST_LOG` or `info`.
    pub log_level: Option<Given<String>>,
}

/// The admin port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admin {
    /// Asked for on this address: it must be had.
    Required(SocketAddr),
    /// On the default address, if it is free: a second proxy on a machine must not fail for it.
    IfFree(SocketAddr),
    /// Not wanted.
    Off,
}

/// Bounds and lifetimes of the cache.
#[derive(Debug, Clone)]
pub struct CacheConfig {
    /// Most memory, in bytes.
    pub size: Given<u64>,
    /// Lower bound of any freshness lifetime; [`CacheConfig::max_fresh_for`] wins over it.
    pub min_fresh_for: Given<Duration>,
    /// Freshness lifetime if the upstream does not tell one.
    pub fresh_for: Given<Duration>,
    /// Upper bound of any freshness lifetime.
    pub max_fresh_for: Option<Duration>,
    /// How long a feed may be served after that.
    pub stale_for: Given<Duration>,
    /// Most bytes of one feed, decoded.
    pub max_feed_size: Given<u64>,
}

/// The files of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The chain, the server's own certificate first.
    pub cert: Given<PathBuf>,
    /// Its private key.
    pub key: Given<PathBuf>,
}

/// Bounds for clients.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most connections.
    pub connections: Given<usize>,
    /// Most connections of one address.
    pub connections_per_address: Given<usize>,
    /// Most bytes of one request's body.
    pub request_body: Given<u64>,
}

impl Config {
    /// Checks what was typed, with the environment and the configuration file it names.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn load(typed: Settings) -> Result<Self, ConfigError> {
        let (layers, mut mistakes) = Layers::read(typed)?;
        Self::of(&layers, &mut mistakes, ProxyVariables::from_env())
    }

    /// Returns the checked configuration, and each setting as it can be written into a file.
    ///
    /// # Errors
    /// All that is wrong.
    pub fn load_effective(typed: Settings) -> Result<(Self, Vec<EffectiveSetting>), ConfigError> {
        let (layers, mut mistakes) = Layers::read(typed)?;
        let config = Self::of(&layers, &mut mistakes, ProxyVariables::from_env())?;
        let settings = effective::settings(&config, &layers);
        Ok((config, settings))
    }

    fn of(
        layers: &Layers,
        mistakes: &mut Vec<ConfigMistake>,
        outbound: ProxyVariables,
    ) -> Result<Self, ConfigError> {
        let defaults = Self::default();
        let fresh_for = layers.duration("--fresh-for", |settings| settings.fresh_for);
        let connections = layers
            .pick("--max-connections", |settings| settings.max_connections)
            .map_or(defaults.limits.connections, |given| given.map(usize::from));
        let per_address =
            layers.pick("--max-connections-per-address", |settings| settings.max_connections_per_address);
        let tls = taken(layers.tls(), mistakes);
        let upstream = taken(layers.parse("--upstream", |settings| settings.upstream.as_deref()), mistakes);
        let notify = taken(layers.parse("--notify-url", |settings| settings.notify_url.as_deref()), mistakes);
        let has_certificate = tls.is_some() || layers.is_given("--tls-cert");
        let config = Self {
            access: AdminAccess::load(layers, has_certificate, mistakes),
            listen: layers.list("--listen", |settings| &settings.listen).unwrap_or(defaults.listen),
            admin: layers
                .pick("--admin-listen", |settings| settings.admin_listen)
                .map_or(defaults.admin, |given| given.map(Admin::from)),
            tls,
            trusted: layers
                .list("--trusted-proxy", |settings| &settings.trusted_proxy)
                .unwrap_or(defaults.trusted),
            upstream: upstream.unwrap_or(defaults.upstream),
            upstream_ca: layers.path("--upstream-ca", |settings| settings.upstream_ca.as_ref()),
            outbound,
            whitelist: layers.whitelist(),
            shops: layers.path("--shops", |settings| settings.shops.as_ref()),
            cache: CacheConfig {
                size: layers
                    .bytes("--cache-size", |settings| settings.cache_size)
                    .unwrap_or(defaults.cache.size),
                min_fresh_for: layers
                    .duration("--min-fresh-for", |settings| settings.min_fresh_for)
                    .unwrap_or(defaults.cache.min_fresh_for),
                // The default written out must do what it does when it is not: bound nothing.
                max_fresh_for: fresh_for
                    .as_ref()
                    .map(|given| given.value)
                    .filter(|given| *given != FRESH_FOR),
                fresh_for: fresh_for.unwrap_or(defaults.cache.fresh_for),
                stale_for: layers
                    .duration("--stale-for", |settings| settings.stale_for)
                    .unwrap_or(defaults.cache.stale_for),
                max_feed_size: layers
                    .bytes("--max-feed-size", |settings| settings.max_feed_size)
                    .unwrap_or(defaults.cache.max_feed_size),
            },
            cache_dir: layers.path("--cache-dir", |settings| settings.cache_dir.as_ref()),
            client_max_age: layers.duration("--client-max-age", |settings| settings.client_max_age),
            limits: Limits {
                connections_per_address: per_address
                    .map_or_else(|| share_of_address(*connections).into(), |given| given.map(usize::from)),
                connections,
                request_body: layers
                    .bytes("--max-request-body", |settings| settings.max_request_body)
                    .unwrap_or(defaults.limits.request_body),
            },
            notify,
            notify_format: layers
                .pick("--notify-format", |settings| settings.notify_format)
                .unwrap_or(defaults.notify_format),
            log_format: layers
                .pick("--log-format", |settings| settings.log_format)
                .unwrap_or(defaults.log_format),
            access_log: layers
                .pick("--access-log", |settings| settings.access_log)
                .unwrap_or(defaults.access_log),
            log_level: layers.pick("--log-level", |settings| settings.log_level.clone()),
        };
        if *config.cache.max_feed_size == 0 {
            let at = config.cache.max_feed_size.source.clone();
            mistakes.push(ConfigMistake::new(at, "must be more than 0"));
        }
        if mistakes.is_empty() {
            return Ok(config);
        }
        layers.show(mistakes);
        mistakes.sort_by_key(|mistake| match &mistake.at {
            Source::File { place, .. } => Some(*place),
            _ => None,
        });
        Err(ConfigError::Wrong(std::mem::take(mistakes)))
    }
}

/// Returns the value, or adds what is wrong with it to the mistakes.
fn taken<T>(value: Result<Option<T>, ConfigMistake>, mistakes: &mut Vec<ConfigMistake>) -> Option<T> {
    value.unwrap_or_else(|mistake| {
        mistakes.push(mistake);
        None
    })
}

impl From<AdminListen> for Admin {
    fn from(typed: AdminListen) -> Self {
        match typed {
            // The default written out must do what it does when it is not.
            AdminListen::On(ADMIN_LISTEN) => Self::IfFree(ADMIN_LISTEN),
            AdminListen::On(address) => Self::Required(address),
            AdminListen::Off => Self::Off,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![LISTEN].into(),
            admin: Admin::IfFree(ADMIN_LISTEN).into(),
            access: AdminAccess::default(),
            tls: None,
            trusted: Vec::new().into(),
            upstream: UPSTREAM.parse::<Origin>().expect("the default is an origin").into(),
            upstream_ca: None,
            outbound: ProxyVariables::default(),
            whitelist: Some(PathBuf::from(WHITELIST).into()),
            shops: None,
            cache: CacheConfig::default(),
            cache_dir: None,
            client_max_age: None,
            limits: Limits::default(),
            notify: None,
            notify_format: NotifyFormat::Generic.into(),
            log_format: LogFormat::Text.into(),
            access_log: AccessLogFormat::Off.into(),
            log_level: None,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: MAX_CONNECTIONS.into(),
            connections_per_address: share_of_address(MAX_CONNECTIONS).into(),
            request_body: MAX_REQUEST_BODY_BYTES.into(),
        }
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            size: CACHE_SIZE_BYTES.into(),
            min_fresh_for: MIN_FRESH_FOR.into(),
            fresh_for: FRESH_FOR.into(),
            max_fresh_for: None,
            stale_for: STALE_FOR.into(),
            max_feed_size: MAX_FEED_SIZE_BYTES.into(),
        }
    }
}

fn share_of_address(connections: usize) -> usize {
    connections.div_ceil(SHARE_OF_ADDRESS)
}

#[cfg(test)]
mod tests;
