//! Settings, checked: a flag wins over a variable over the file over the default.

mod file;
mod origin;
mod webhook;

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

use ipnet::IpNet;

use crate::cli::{self, AdminListen, LogFormat, Settings};
use crate::place::Place;
use file::File;
pub use origin::Origin;
pub use webhook::Webhook;

/// Where a container is expected to serve.
const LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080);
/// Only this machine sees the admin port unless told otherwise: it names cached feeds.
pub const ADMIN_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 8081);
/// The vendor's catalog.
const UPSTREAM: &str = "https://ext.plesk.com";
/// In the working directory.
pub const WHITELIST: &str = "whitelist.toml";
/// Some hundred variants of the feed of today (2.5 MB).
const CACHE_SIZE: u64 = 256 << 20;
/// The catalog changes a few times a day, and Plesk keeps its own copy for about three days.
const FRESH_FOR: Duration = Duration::from_secs(10 * 60);
/// Outlasts a long weekend with nobody watching.
const STALE_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Twenty-five times the feed of today.
const MAX_FEED_SIZE: u64 = 64 << 20;
/// Part of a feed that its index, its key and what is known about it take at most, if it is the vendor's.
const ROOM_BESIDE: u64 = 8;
/// Some fifty thousand servers may ask within a minute, each for less than a second.
const MAX_CONNECTIONS: usize = 4096;
/// A network of servers behind one address, or a load balancer, has more than enough with a quarter; the rest
/// stays for others whatever one client does.
const SHARE_OF_ADDRESS: usize = 4;
/// Plesk uploads nothing; the largest extensions have some 100 MB. Bodies are streamed, so this is no memory.
const MAX_REQUEST_BODY: u64 = 256 << 20;

/// Everything that `serve` needs to know.
#[derive(Debug, Clone)]
pub struct Config {
    /// Addresses of the service port.
    pub listen: Vec<SocketAddr>,
    /// The admin port.
    pub admin: Admin,
    /// What the service port shows, if it is to speak TLS.
    pub tls: Option<Tls>,
    /// Proxies in front that say for whom they ask.
    pub trusted: Vec<IpNet>,
    /// Where the catalog comes from.
    pub upstream: Origin,
    /// PEM file with the only roots to trust.
    pub upstream_ca: Option<PathBuf>,
    /// The whitelist's file.
    pub whitelist: PathBuf,
    /// Bounds of the cache.
    pub cache: Cache,
    /// Where copies outlive the process.
    pub cache_dir: Option<PathBuf>,
    /// How long clients may keep a feed without asking.
    pub client_max_age: Option<Duration>,
    /// Bounds for clients.
    pub limits: Limits,
    /// Who is told what is new.
    pub notify: Option<Webhook>,
    /// How log lines look.
    pub log_format: LogFormat,
    /// Which there are.
    pub log_level: Option<LogLevel>,
}

/// Which lines are logged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLevel {
    /// As given.
    pub directives: String,
    /// Where.
    pub source: Source,
}

/// Where a value is from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A flag, or a variable.
    Named(String),
    /// The configuration file.
    File {
        /// Its name.
        path: PathBuf,
        /// Where in it the value stands.
        place: Place,
    },
}

/// The admin port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admin {
    /// Asked for on this address: it must be had.
    Required(SocketAddr),
    /// On the default address, if it is free: a second proxy on a machine must not fail for it.
    IfFree(SocketAddr),
    /// None.
    Off,
}

/// How long copies live and how large they get.
#[derive(Debug, Clone, Copy)]
pub struct Cache {
    /// Most bytes in memory.
    pub size: u64,
    /// Freshness lifetime if the upstream does not tell one.
    pub fresh_for: Duration,
    /// Upper bound of any freshness lifetime.
    pub max_fresh_for: Option<Duration>,
    /// How long a copy may be served after that.
    pub stale_for: Duration,
    /// Most bytes of one feed, decoded.
    pub max_feed_size: u64,
}

/// The files of a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The chain, the server's own first.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What clients may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Most connections.
    pub connections: usize,
    /// Most connections of one address.
    pub connections_per_address: usize,
    /// Most bytes of one request's body.
    pub request_body: u64,
}

impl Cache {
    /// Says what is wrong with the bounds, if they can hardly be meant so.
    pub fn objection(&self) -> Option<String> {
        // What the cache keeps beside the feed itself is its own business: this is about orders of magnitude.
        (self.size < self.max_feed_size.saturating_add(self.max_feed_size / ROOM_BESIDE)).then(|| {
            let (size, feed) = (cli::Size::from(self.size), cli::Size::from(self.max_feed_size));
            format!(
                "{size} cannot hold one feed of --max-feed-size ({feed}) with its index, so a feed of that size is \
                 fetched for each request: raise --cache-size or lower --max-feed-size"
            )
        })
    }
}

/// What is wrong with the settings, and where.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// A value makes no sense, or the file is not a configuration.
    #[error("{at}: {message}")]
    Value {
        /// Where it stands.
        at: Source,
        /// What is wrong, with the value.
        message: String,
    },
}

impl Config {
    /// Checks what was typed, with the configuration file it names.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn load(typed: Settings) -> Result<Self, ConfigError> {
        let file_text = File::open(typed.config.as_deref())?;
        let file = file_text.settings()?;
        let source = |flag, typed| if typed { Source::Named(cli::source(flag)) } else { file_text.of(flag) };
        let wrong = |flag, typed, message| ConfigError::Value { at: source(flag, typed), message };
        let bytes = |typed: Option<cli::Size>, file: Option<_>, default| {
            typed.or(file).map_or(default, cli::Size::bytes)
        };
        let max_fresh_for = typed.fresh_for.or(file.fresh_for).map(Duration::from);
        let stale_for = typed.stale_for.or(file.stale_for).map(Duration::from);
        let upstream_typed = typed.upstream.is_some();
        let upstream = typed.upstream.or(file.upstream).unwrap_or_else(|| UPSTREAM.to_owned());
        let notify_typed = typed.notify_url.is_some();
        let notify = typed.notify_url.or(file.notify_url).map(|url| url.parse()).transpose();
        let tls_typed = typed.tls_cert.is_some() || typed.tls_key.is_some();
        let log_source = source("--log-level", typed.log_level.is_some());
        let log_level = typed.log_level.or(file.log_level);
        let max_feed_size_typed = typed.max_feed_size.is_some();
        let connections =
            typed.max_connections.or(file.max_connections).map_or(MAX_CONNECTIONS, NonZeroUsize::get);
        let config = Self {
            listen: [typed.listen, file.listen]
                .into_iter()
                .find(|addresses| !addresses.is_empty())
                .unwrap_or_else(|| vec![LISTEN]),
            admin: match typed.admin_listen.or(file.admin_listen) {
                Some(AdminListen::On(address)) => Admin::Required(address),
                Some(AdminListen::Off) => Admin::Off,
                None => Admin::IfFree(ADMIN_LISTEN),
            },
            tls: match (typed.tls_cert.or(file.tls_cert), typed.tls_key.or(file.tls_key)) {
                (Some(cert), Some(key)) => Some(Tls { cert, key }),
                (None, None) => None,
                (cert, _) => {
                    let flag = if cert.is_some() { "--tls-cert" } else { "--tls-key" };
                    let message = "--tls-cert and --tls-key belong together".to_owned();
                    return Err(wrong(flag, tls_typed, message));
                }
            },
            trusted: if typed.trusted_proxy.is_empty() { file.trusted_proxy } else { typed.trusted_proxy },
            upstream: upstream.parse().map_err(|message| wrong("--upstream", upstream_typed, message))?,
            upstream_ca: typed.upstream_ca.or(file.upstream_ca),
            whitelist: typed.whitelist.or(file.whitelist).unwrap_or_else(|| WHITELIST.into()),
            cache: Cache {
                size: bytes(typed.cache_size, file.cache_size, CACHE_SIZE),
                fresh_for: max_fresh_for.unwrap_or(FRESH_FOR),
                max_fresh_for,
                stale_for: stale_for.unwrap_or(STALE_FOR),
                max_feed_size: bytes(typed.max_feed_size, file.max_feed_size, MAX_FEED_SIZE),
            },
            cache_dir: typed.cache_dir.or(file.cache_dir),
            client_max_age: typed.client_max_age.or(file.client_max_age).map(Duration::from),
            limits: Limits {
                connections,
                connections_per_address: typed
                    .max_connections_per_address
                    .or(file.max_connections_per_address)
                    .map_or_else(|| share_of_address(connections), NonZeroUsize::get),
                request_body: bytes(typed.max_request_body, file.max_request_body, MAX_REQUEST_BODY),
            },
            notify: notify.map_err(|message| wrong("--notify-url", notify_typed, message))?,
            log_format: typed.log_format.or(file.log_format).unwrap_or(LogFormat::Text),
            log_level: log_level.map(|directives| LogLevel { directives, source: log_source }),
        };
        if config.cache.max_feed_size == 0 {
            let message = "must be more than 0".to_owned();
            return Err(wrong("--max-feed-size", max_feed_size_typed, message));
        }
        Ok(config)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(name) => f.write_str(name),
            Self::File { path, place } => write!(f, "{}:{place}", path.display()),
        }
    }
}

fn share_of_address(connections: usize) -> usize {
    connections.div_ceil(SHARE_OF_ADDRESS)
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: MAX_CONNECTIONS,
            connections_per_address: share_of_address(MAX_CONNECTIONS),
            request_body: MAX_REQUEST_BODY,
        }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            size: CACHE_SIZE,
            fresh_for: FRESH_FOR,
            max_fresh_for: None,
            stale_for: STALE_FOR,
            max_feed_size: MAX_FEED_SIZE,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use clap::Parser;

    use super::*;
    use crate::cli::{Action, Cli};

    fn load(arguments: &[&str]) -> Result<Config, String> {
        let cli = Cli::try_parse_from(["catalog-proxy", "serve"].iter().chain(arguments))
            .map_err(|error| error.to_string())?;
        let Action::Serve(settings) = cli.command else { panic!("not serve") };
        Config::load(settings).map_err(|error| error.to_string())
    }

    #[test]
    fn has_the_documented_defaults() {
        let config = load(&[]).expect("defaults");
        assert_eq!(config.listen, ["0.0.0.0:8080".parse().expect("an address")]);
        assert_eq!(config.admin, Admin::IfFree("127.0.0.1:8081".parse().expect("an address")));
        assert_eq!(config.upstream, "https://ext.plesk.com".parse().expect("an origin"));
        assert_eq!(config.whitelist, Path::new("whitelist.toml"));
        assert_eq!(config.cache.size, 256 << 20);
        assert_eq!(config.cache.fresh_for, Duration::from_secs(600));
        assert_eq!(config.cache.max_fresh_for, None);
        assert_eq!(config.cache.stale_for, Duration::from_secs(7 * 86_400));
        assert_eq!(config.cache.max_feed_size, 64 << 20);
        let Limits { connections, connections_per_address, request_body } = config.limits;
        assert_eq!((connections, connections_per_address, request_body), (4096, 1024, 256 << 20));
    }

    #[test]
    fn flags_win_over_the_file() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("proxy.toml");
        let text = "listen = [\"127.0.0.1:1\", \"[::1]:2\"]\nadmin-listen = \"off\"\nupstream = \"http://a\"\n\
                    whitelist = \"lists/a.toml\"\nfresh-for = \"1m\"\ncache-size = \"1MiB\"\nlog-format = \"json\"\n\
                    max-connections = 10\nmax-request-body = \"1MiB\"\n\
                    tls-cert = \"cert.pem\"\ntls-key = \"/key.pem\"\ntrusted-proxy = [\"10.0.0.0/8\", \"::1\"]";
        fs::write(&path, text).expect("a file");
        let path = path.to_str().expect("a path");
        let config =
            load(&["--config", path, "--upstream", "http://b/", "--fresh-for", "2h"]).expect("settings");
        assert_eq!(config.listen.len(), 2);
        assert_eq!(config.admin, Admin::Off);
        assert_eq!(config.upstream.authority, "b");
        assert_eq!(config.whitelist, directory.path().join("lists/a.toml"));
        assert_eq!(config.cache.max_fresh_for, Some(Duration::from_secs(7200)));
        assert_eq!(config.cache.size, 1 << 20);
        assert_eq!(config.log_format, LogFormat::Json);
        let Limits { connections, connections_per_address, request_body } = config.limits;
        assert_eq!((connections, connections_per_address, request_body), (10, 3, 1 << 20));
        let Tls { cert, key } = config.tls.expect("both files");
        assert_eq!((cert, key), (directory.path().join("cert.pem"), "/key.pem".into()));
        let trusted = config.trusted.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(trusted, ["10.0.0.0/8", "::1/128"]);
    }

    #[test]
    fn addresses_are_read_as_in_other_servers_settings() {
        let check = |text: &str, expected: &str| {
            let config = load(&["--listen", text, "--admin-listen", text]).expect(text);
            assert_eq!(config.listen, [expected.parse().expect("an address")]);
            assert_eq!(config.admin, Admin::Required(config.listen[0]));
        };
        check("127.0.0.1:1", "127.0.0.1:1");
        check("[::]:8080", "[::]:8080");
        check(":8080", "0.0.0.0:8080");
        check("*:8080", "0.0.0.0:8080");
        check("localhost:8080", "127.0.0.1:8080");
        for text in [":", ":x", ":65536", "::8080", "8080", "localhost", "proxy:8080", "[::]8080"] {
            load(&["--listen", text]).expect_err(text);
        }
    }

    #[test]
    fn names_what_is_wrong() {
        let check = |arguments: &[&str], part: &str| {
            let error = load(arguments).expect_err("wrong settings");
            assert!(error.contains(part), "{error}");
        };
        check(&["--listen", "x"], "--listen");
        check(&["--fresh-for", "10"], "--fresh-for");
        check(&["--cache-size", "lots"], "--cache-size");
        check(&["--cache-size", "256"], "needs a unit");
        check(&["--max-feed-size", "0"], "--max-feed-size: must be more than 0");
        check(&["--tls-cert", "a.pem"], "--tls-cert: --tls-cert and --tls-key belong together");
        check(&["--tls-key", "a.pem"], "--tls-key: ");
        check(&["--trusted-proxy", "10.0.0.0/33"], "expected a network like 10.0.0.0/8");
        check(&["--max-connections", "0"], "--max-connections");
        check(&["--upstream", "ext.plesk.com"], "--upstream: \"ext.plesk.com\" has no scheme or host");
        check(&["--upstream", "ftp://ext.plesk.com"], "neither http nor https");
        check(&["--upstream", "https://a:b@ext.plesk.com"], "must be a plain host");
        check(&["--upstream", "https://ext.plesk.com:99999"], "has a bad port");
        check(&["--upstream", "http://[::1]:0"], "has a bad port");
        check(&["--upstream", "https://ext.plesk.com/api"], "must have no path");
        check(&["--admin-listen", "on"], "--admin-listen");
        check(&["--notify-url", "hooks.example/x"], "--notify-url: not an http or https URL");
        check(&["--frsh-for", "1m"], "--fresh-for");
        check(&["--config", "/no/such.toml"], "cannot read configuration /no/such.toml");
    }

    #[test]
    fn names_the_place_in_the_file() {
        let check = |text: &str, place: &str, part: &str| {
            let file = tempfile::NamedTempFile::new().expect("a file");
            fs::write(file.path(), text).expect("a write");
            let path = file.path().to_str().expect("a path");
            let error = load(&["--config", path]).expect_err("a wrong file");
            assert!(error.starts_with(&format!("{path}:{place}: ")) && error.contains(part), "{error}");
        };
        check("fresh-for = \"1m\"\nstale = \"1d\"", "2:1", "unknown field `stale`");
        check("fresh-for = 10", "1:13", "expected a string");
        check("fresh-for = \"10\"", "1:13", "invalid value \"10\"");
        check("listen = \"nowhere\"", "1:10", "expected an address");
        check("listen = [", "1:11", "unclosed array");
        check("fresh-for = \"1m\"\nupstream = \"nowhere\"", "2:12", "\"nowhere\" has no scheme or host");
        check("notify-url = 'x'", "1:14", "not an http or https URL");
        check("max-feed-size = \"0\"", "1:17", "must be more than 0");
        check("tls-key = \"key.pem\"", "1:11", "belong together");
        check("\"a\\u001b\" = 1", "1:1", "unknown field `a\\u{1b}`");
    }
}
