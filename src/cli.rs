//! What was typed.

mod news;

use std::env;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use bytesize::ByteSize;
use clap::{Arg, Args, Command, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Deserializer, de};

pub use news::{News, NewsFormat};

/// A filtering, caching reverse proxy for Plesk's extension catalog.
#[derive(Debug, Parser)]
#[command(name = "catalog-proxy", version, about, max_term_width = 100)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Action,
}

impl Cli {
    /// Parses the command line and the environment; ends the process if they make no sense.
    pub fn read() -> Self {
        let mut matches = without_empty_variables(Self::command()).get_matches();
        Self::from_arg_matches_mut(&mut matches).unwrap_or_else(|error| error.exit())
    }
}

/// Makes variables that are set to nothing count as not set: compose files often pass them on like that.
fn without_empty_variables(command: Command) -> Command {
    let is_empty = |arg: &Arg| arg.get_env().and_then(env::var_os).is_some_and(|value| value.is_empty());
    command.mut_subcommands(|command| {
        command.mut_args(|arg| if is_empty(&arg) { arg.env(None::<&str>) } else { arg })
    })
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Run the proxy
    Serve(Settings),
    /// Run the proxy on 127.0.0.1:8080 against a built-in sample catalog
    Demo(Demo),
    /// Filter a packages feed from standard input to standard output
    Filter(Filter),
    /// Print the lines for Plesk's panel.ini
    PanelIni(PanelIni),
    /// Print what was new in the catalog
    News(News),
    /// Ask a running proxy whether it is ready (for containers)
    Healthcheck(Settings),
}

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub struct Demo {
    /// Address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
}

/// Arguments of `filter`.
#[derive(Debug, Args)]
pub struct Filter {
    /// Whitelist file [default: whitelist.toml]
    #[arg(long, value_name = "FILE", env = "CATALOG_PROXY_WHITELIST")]
    pub whitelist: Option<PathBuf>,
}

/// Arguments of `panel-ini`.
#[derive(Debug, Args)]
pub struct PanelIni {
    /// Where Plesk servers reach the proxy
    #[arg(long, value_name = "URL", default_value = "http://proxy:8080")]
    pub url: String,
    /// Your shop: where Buy buttons lead
    #[arg(long, value_name = "URL")]
    pub buy_url: Option<String>,
}

/// The settings of `serve`, each a flag, a variable and a key of the configuration file.
#[allow(rustdoc::bare_urls, reason = "these texts are the help as well")]
#[derive(Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Settings {
    /// Configuration file (TOML) with these flags' names as keys
    #[arg(long, value_name = "FILE", env = "CATALOG_PROXY_CONFIG")]
    #[serde(skip)]
    pub config: Option<PathBuf>,
    /// Address to serve on; may be repeated [default: 0.0.0.0:8080]
    #[arg(long, value_name = "ADDR", env = "CATALOG_PROXY_LISTEN", value_delimiter = ',')]
    #[serde(default, deserialize_with = "addresses")]
    pub listen: Vec<SocketAddr>,
    /// Address of the admin port, or `off` [default: 127.0.0.1:8081]
    #[arg(long, value_name = "ADDR", env = "CATALOG_PROXY_ADMIN_LISTEN")]
    #[serde(default, deserialize_with = "from_text")]
    pub admin_listen: Option<AdminListen>,
    /// Where the catalog comes from [default: https://ext.plesk.com]
    #[arg(long, value_name = "URL", env = "CATALOG_PROXY_UPSTREAM")]
    pub upstream: Option<String>,
    /// PEM file with root certificates to trust for the upstream, instead of the system's
    #[arg(long, value_name = "FILE", env = "CATALOG_PROXY_UPSTREAM_CA")]
    pub upstream_ca: Option<PathBuf>,
    /// Whitelist file [default: whitelist.toml]
    #[arg(long, value_name = "FILE", env = "CATALOG_PROXY_WHITELIST")]
    pub whitelist: Option<PathBuf>,
    /// Directory that keeps the last good copies over restarts [default: none]
    #[arg(long, value_name = "DIR", env = "CATALOG_PROXY_CACHE_DIR")]
    pub cache_dir: Option<PathBuf>,
    /// Most memory for cached feeds, and as much of the cache directory [default: 256MiB]
    #[arg(long, value_name = "SIZE", env = "CATALOG_PROXY_CACHE_SIZE")]
    #[serde(default, deserialize_with = "from_text")]
    pub cache_size: Option<ByteSize>,
    /// How long a copy is fresh if the upstream does not say, and at most [default: 10m, unbounded]
    #[arg(long, value_name = "DURATION", env = "CATALOG_PROXY_FRESH_FOR")]
    #[serde(default, deserialize_with = "from_text")]
    pub fresh_for: Option<humantime::Duration>,
    /// How long a copy stays in service after that while the upstream fails [default: 7d]
    #[arg(long, value_name = "DURATION", env = "CATALOG_PROXY_STALE_FOR")]
    #[serde(default, deserialize_with = "from_text")]
    pub stale_for: Option<humantime::Duration>,
    /// Largest feed accepted, decoded [default: 64MiB]
    #[arg(long, value_name = "SIZE", env = "CATALOG_PROXY_MAX_FEED_SIZE")]
    #[serde(default, deserialize_with = "from_text")]
    pub max_feed_size: Option<ByteSize>,
    /// How long clients and CDNs may keep a feed without asking [default: they must ask each time]
    #[arg(long, value_name = "DURATION", env = "CATALOG_PROXY_CLIENT_MAX_AGE")]
    #[serde(default, deserialize_with = "from_text")]
    pub client_max_age: Option<humantime::Duration>,
    /// URL to POST to when the catalog changed [default: none]
    #[arg(long, value_name = "URL", env = "CATALOG_PROXY_NOTIFY_URL", hide_env_values = true)]
    pub notify_url: Option<String>,
    /// How to log to standard error [default: text]
    #[arg(long, value_name = "FORMAT", env = "CATALOG_PROXY_LOG_FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,
    /// What to log: error, warn, info, debug (a line for each request), trace, off [default: RUST_LOG, or info]
    #[arg(long, value_name = "LEVEL", env = "CATALOG_PROXY_LOG_LEVEL")]
    pub log_level: Option<String>,
}

/// Where the admin port is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdminListen {
    /// On this address.
    On(SocketAddr),
    /// Nowhere.
    Off,
}

impl FromStr for AdminListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            _ => text
                .parse()
                .map(Self::On)
                .map_err(|_| "expected an address like 127.0.0.1:8081, or `off`".into()),
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

fn from_text<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: FromStr<Err: std::fmt::Display>,
{
    let text = String::deserialize(deserializer)?;
    text.parse().map(Some).map_err(|error| de::Error::custom(format!("invalid value {text:?}: {error}")))
}

fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<SocketAddr>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected an address like \"0.0.0.0:8080\", or a list of them")]
    enum OneOrMany {
        One(SocketAddr),
        Many(Vec<SocketAddr>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(address) => vec![address],
        OneOrMany::Many(addresses) => addresses,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_consistent() {
        Cli::command().debug_assert();
    }
}
