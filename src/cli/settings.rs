//! Settings of `serve` on the command line.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use clap::builder::BoolishValueParser;
use clap::{Args, ValueEnum};
use ipnet::IpNet;
use serde::{Deserialize, Deserializer, de};

use super::Variables;
use super::size::Size;

// Headings of the groups of settings in the help, in its order.
pub(super) const LISTENING: &str = "Listening";
pub(super) const CATALOG: &str = "Catalog";
pub(super) const CACHE: &str = "Cache";
pub(super) const LIMITS: &str = "Limits";
pub(super) const ADMIN_PORT: &str = "Admin port";
pub(super) const NOTIFICATIONS: &str = "Notifications";
pub(super) const LOGGING: &str = "Logging";

/// The settings of `serve`, each a flag, a variable and a key of the configuration file.
#[allow(rustdoc::bare_urls, reason = "these texts are the help as well")]
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Configuration file (TOML) with these flags' names as keys
    #[arg(long, value_name = "FILE", env = "CATALOG_PROXY_CONFIG")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Settings that come from the environment.
    #[arg(skip)]
    #[serde(skip)]
    pub variables: Variables,
    /// Address to serve on; may be repeated [default: 0.0.0.0:8080]
    #[arg(long, help_heading = LISTENING, value_name = "ADDR", env = "CATALOG_PROXY_LISTEN", value_delimiter = ',', value_parser = address)]
    #[serde(default, deserialize_with = "addresses")]
    pub listen: Vec<SocketAddr>,
    /// Address of the admin port, or `off` [default: 127.0.0.1:8081]
    #[arg(long, help_heading = ADMIN_PORT, value_name = "ADDR", env = "CATALOG_PROXY_ADMIN_LISTEN")]
    #[serde(default, deserialize_with = "from_text")]
    pub admin_listen: Option<AdminListen>,
    /// Where the catalog comes from [default: https://ext.plesk.com]
    #[arg(long, help_heading = CATALOG, value_name = "URL", env = "CATALOG_PROXY_UPSTREAM")]
    pub upstream: Option<String>,
    /// PEM file with root certificates to trust for the upstream, instead of the system's
    #[arg(long, help_heading = CATALOG, hide_short_help = true, value_name = "FILE", env = "CATALOG_PROXY_UPSTREAM_CA")]
    pub upstream_ca: Option<PathBuf>,
    /// Whitelist file of the shop at /, or `off` [default: whitelist.toml, or `off` with --shops]
    #[arg(long, help_heading = CATALOG, value_name = "FILE", env = "CATALOG_PROXY_WHITELIST")]
    pub whitelist: Option<PathBuf>,
    /// Directory with a whitelist NAME.toml for each shop at /NAME/ [default: none]
    #[arg(long, help_heading = CATALOG, value_name = "DIR", env = "CATALOG_PROXY_SHOPS")]
    pub shops: Option<PathBuf>,
    /// Directory that keeps the last good copies over restarts [default: none]
    #[arg(long, help_heading = CACHE, value_name = "DIR", env = "CATALOG_PROXY_CACHE_DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Most memory for cached feeds, and as much of the cache directory [default: 256MiB]
    #[arg(long, help_heading = CACHE, value_name = "SIZE", env = "CATALOG_PROXY_CACHE_SIZE")]
    #[serde(default, deserialize_with = "from_text")]
    pub cache_size: Option<Size>,
    /// How long a copy is fresh at least, whatever the upstream says; --fresh-for wins [default: 30s]
    #[arg(long, help_heading = CACHE, hide_short_help = true, value_name = "DURATION", env = "CATALOG_PROXY_MIN_FRESH_FOR", value_parser = duration)]
    #[serde(default, deserialize_with = "durations")]
    pub min_fresh_for: Option<humantime::Duration>,
    /// How long a copy is fresh if the upstream does not say, and at most if it is not the default [default: 10m, which bounds nothing]
    #[arg(long, help_heading = CACHE, value_name = "DURATION", env = "CATALOG_PROXY_FRESH_FOR", value_parser = duration)]
    #[serde(default, deserialize_with = "durations")]
    pub fresh_for: Option<humantime::Duration>,
    /// How long a copy stays in service after that while the upstream fails [default: 7d]
    #[arg(long, help_heading = CACHE, hide_short_help = true, value_name = "DURATION", env = "CATALOG_PROXY_STALE_FOR", value_parser = duration)]
    #[serde(default, deserialize_with = "durations")]
    pub stale_for: Option<humantime::Duration>,
    /// Largest feed accepted, decoded [default: 64MiB]
    #[arg(long, help_heading = LIMITS, hide_short_help = true, value_name = "SIZE", env = "CATALOG_PROXY_MAX_FEED_SIZE")]
    #[serde(default, deserialize_with = "from_text")]
    pub max_feed_size: Option<Size>,
    /// How long clients and CDNs may keep a feed without asking [default: they must ask each time]
    #[arg(long, help_heading = CACHE, hide_short_help = true, value_name = "DURATION", env = "CATALOG_PROXY_CLIENT_MAX_AGE", value_parser = duration)]
    #[serde(default, deserialize_with = "durations")]
    pub client_max_age: Option<humantime::Duration>,
    /// Most client connections; beyond, the one that is idle for longest goes [default: 4096]
    #[arg(long, help_heading = LIMITS, hide_short_help = true, value_name = "N", env = "CATALOG_PROXY_MAX_CONNECTIONS", value_parser = count)]
    pub max_connections: Option<NonZeroUsize>,
    /// Most of them from one address, or IPv6 /64 [default: a quarter]
    #[arg(long, help_heading = LIMITS, hide_short_help = true, value_name = "N", env = "CATALOG_PROXY_MAX_CONNECTIONS_PER_ADDRESS", value_parser = count)]
    pub max_connections_per_address: Option<NonZeroUsize>,
    /// Certificate chain (PEM) to serve HTTPS with; read again when it changes [default: plain HTTP]
    #[arg(long, help_heading = LISTENING, value_name = "FILE", env = "CATALOG_PROXY_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// Private key (PEM) of that certificate
    #[arg(long, help_heading = LISTENING, value_name = "FILE", env = "CATALOG_PROXY_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// Address or network of a proxy in front, whose X-Forwarded-* is believed; may be repeated [default: none]
    #[arg(long, help_heading = LISTENING, hide_short_help = true, value_name = "CIDR", env = "CATALOG_PROXY_TRUSTED_PROXY", value_delimiter = ',', value_parser = network)]
    #[serde(default, deserialize_with = "networks")]
    pub trusted_proxy: Vec<IpNet>,
    /// File with the tokens of those who may edit over the admin port; `catalog-proxy token` makes one [default: nobody may]
    #[arg(long, help_heading = ADMIN_PORT, value_name = "FILE", env = "CATALOG_PROXY_ADMIN_TOKENS")]
    pub admin_tokens: Option<PathBuf>,
    /// Serve the admin port over TLS as well, with the certificate of --tls-cert
    #[arg(long, help_heading = ADMIN_PORT, hide_short_help = true, value_name = "BOOL", env = "CATALOG_PROXY_ADMIN_TLS", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_parser = BoolishValueParser::new())]
    pub admin_tls: Option<bool>,
    /// Host name under which people open the admin port, if it is no address and not localhost; may be repeated [default: none]
    #[arg(long, help_heading = ADMIN_PORT, hide_short_help = true, value_name = "NAME", env = "CATALOG_PROXY_ADMIN_HOST", value_delimiter = ',', value_parser = host_name)]
    #[serde(default, deserialize_with = "host_names")]
    pub admin_host: Vec<String>,
    /// Header field in which a proxy in front of the admin port names the user it has signed in [default: none]
    #[arg(long, help_heading = ADMIN_PORT, hide_short_help = true, value_name = "NAME", env = "CATALOG_PROXY_ADMIN_USER_HEADER")]
    pub admin_user_header: Option<String>,
    /// Address or network of that proxy; may be repeated [default: none]
    #[arg(long, help_heading = ADMIN_PORT, hide_short_help = true, value_name = "CIDR", env = "CATALOG_PROXY_ADMIN_TRUSTED_PROXY", value_delimiter = ',', value_parser = network)]
    #[serde(default, deserialize_with = "networks")]
    pub admin_trusted_proxy: Vec<IpNet>,
    /// Largest body of a request that is passed on [default: 256MiB]
    #[arg(long, help_heading = LIMITS, hide_short_help = true, value_name = "SIZE", env = "CATALOG_PROXY_MAX_REQUEST_BODY")]
    #[serde(default, deserialize_with = "from_text")]
    pub max_request_body: Option<Size>,
    /// URL to POST to when the catalog changed [default: none]
    #[arg(long, help_heading = NOTIFICATIONS, value_name = "URL", env = "CATALOG_PROXY_NOTIFY_URL", hide_env_values = true)]
    pub notify_url: Option<String>,
    /// What is sent there [default: generic]
    #[arg(long, help_heading = NOTIFICATIONS, value_name = "FORMAT", env = "CATALOG_PROXY_NOTIFY_FORMAT", value_enum)]
    pub notify_format: Option<NotifyFormat>,
    /// How to log to standard error [default: text]
    #[arg(long, help_heading = LOGGING, value_name = "FORMAT", env = "CATALOG_PROXY_LOG_FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
    /// Line for each request on standard error, whatever the log level; `json` for programs [default: off]
    #[arg(long, help_heading = LOGGING, value_name = "FORMAT", env = "CATALOG_PROXY_ACCESS_LOG", value_enum)]
    pub access_log: Option<AccessLogFormat>,
    /// What to log: error, warn, info, debug (a line for each request), trace, off [default: RUST_LOG, or info]
    #[arg(long, help_heading = LOGGING, value_name = "LEVEL", env = "CATALOG_PROXY_LOG_LEVEL")]
    pub log_level: Option<String>,
}

/// Address of the admin port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminListen {
    /// The port listens on this address.
    On(SocketAddr),
    /// There is no admin port.
    Off,
}

impl FromStr for AdminListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            _ => address(text).map(Self::On).map_err(|error| format!("{error}, or `off`")),
        }
    }
}

/// Format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Shape of notifications.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NotifyFormat {
    /// JSON with every change, for programs.
    Generic,
    /// {"text": …}, for Slack, Mattermost and Google Chat.
    Text,
    /// A message of a Discord webhook.
    Discord,
    /// A card for a workflow of Microsoft Teams.
    Teams,
}

/// Format of the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessLogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
    /// There is no access log.
    Off,
}

fn from_text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: std::fmt::Display>,
{
    String::deserialize(deserializer)?.parse().map(Some).map_err(de::Error::custom)
}

fn durations<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<humantime::Duration>, D::Error> {
    duration(&String::deserialize(deserializer)?).map(Some).map_err(de::Error::custom)
}

/// Parses a duration. A number without a unit is refused, because nobody can tell seconds from minutes; zero needs none.
fn duration(text: &str) -> Result<humantime::Duration, String> {
    let text = text.trim();
    match text.parse() {
        Ok(duration) => Ok(duration),
        Err(_) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(format!("a duration needs a unit, such as \"{text}m\""))
        }
        Err(_) => Err(format!("expected a duration such as \"10m\", \"1h 30m\" or \"7d\", not {text:?}")),
    }
}

/// Parses a number of things of which there must be one.
fn count(text: &str) -> Result<NonZeroUsize, String> {
    text.trim().parse().map_err(|_| "expected a whole number, at least 1".to_owned())
}

/// Parses an address to listen on; blanks around it come from lists. Host names are not resolved, but the shorthands of
/// other servers (`:8080`, `*:8080`, `localhost:8080`) are understood.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let text = text.trim();
    let on = |address: Ipv4Addr, port: &str| Some(SocketAddr::from((address, port.parse::<u16>().ok()?)));
    let address = match text.rsplit_once(':') {
        Some(("" | "*", port)) => on(Ipv4Addr::UNSPECIFIED, port),
        Some(("localhost", port)) => on(Ipv4Addr::LOCALHOST, port),
        _ => text.parse().ok(),
    };
    address.ok_or_else(|| match (text.parse::<u16>(), text.parse::<IpAddr>()) {
        (Ok(port), _) => {
            format!(
                "{port} is a port alone: expected an address like 0.0.0.0:{port} (everybody can connect) or \
                 127.0.0.1:{port} (this machine alone can)"
            )
        }
        (_, Ok(address)) => {
            format!("{address} has no port: expected an address like {}", SocketAddr::new(address, 8080))
        }
        // The port of a name in the hosts file would be right, but names move and listeners do not.
        _ => "expected an address like 0.0.0.0:8080, [::]:8080 or :8080; names other than localhost are not looked up"
            .to_owned(),
    })
}

/// Parses a network, or an address as a network of one; blanks around it come from lists.
fn network(text: &str) -> Result<IpNet, String> {
    let text = text.trim();
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address
        .or_else(|_| text.parse())
        .map_err(|_| "expected a network like 10.0.0.0/8, or an address".to_owned())
}

/// Parses a host name without a port; blanks around it come from lists.
fn host_name(text: &str) -> Result<String, String> {
    let name = text.trim().trim_end_matches('.').to_ascii_lowercase();
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    match name.len() <= 253 && name.split('.').all(is_label) {
        true => Ok(name),
        false => Err("expected a host name like proxy.example, without a port".to_owned()),
    }
}

fn host_names<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    one_or_many(deserializer, host_name)
}

fn networks<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<IpNet>, D::Error> {
    one_or_many(deserializer, network)
}

fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    one_or_many(deserializer, address)
}

fn one_or_many<'de, D, T>(deserializer: D, read: fn(&str) -> Result<T, String>) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
{
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a string, or a list of them")]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    let texts = match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(text) => vec![text],
        OneOrMany::Many(texts) => texts,
    };
    texts.iter().map(|text| read(text).map_err(de::Error::custom)).collect()
}
