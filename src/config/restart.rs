//! Settings that have changed in the configuration file since the start, and need a restart.

use std::fs;
use std::path::PathBuf;

use super::{Config, ConfigError};
use crate::cli::Settings;
use crate::given::Given;

/// What the process was started with, to be held against the configuration file as it is now.
#[derive(Debug)]
pub struct RestartCheck {
    typed: Settings,
    started: Config,
    /// Bytes of the file at the start, if they could be read once more.
    bytes: Option<Vec<u8>>,
}

/// What a configuration file says now.
#[derive(Debug)]
pub struct ChangedFile {
    /// The file of `--config`.
    pub path: PathBuf,
    /// Flags whose values are others than those in force, or why a restart would fail.
    pub settings: Result<Vec<&'static str>, ConfigError>,
}

impl RestartCheck {
    /// Makes the check for a process that runs with `started`, which it made of `typed`.
    pub fn new(typed: Settings, started: Config) -> Self {
        let bytes = typed.config.as_ref().and_then(|path| fs::read(path).ok());
        Self { typed, started, bytes }
    }

    /// Reads the file again. Returns what it says if that differs from what is in force. Blocks.
    pub fn changed(&self) -> Option<ChangedFile> {
        let path = self.typed.config.clone()?;
        let is_same = self.bytes.is_some() && fs::read(&path).ok() == self.bytes;
        if is_same {
            return None;
        }
        let settings = Config::load(self.typed.clone()).map(|now| self.started.differing(&now));
        let is_told = settings.as_ref().map_or(true, |settings| !settings.is_empty());
        is_told.then_some(ChangedFile { path, settings })
    }
}

/// Returns true if the values differ; where they were given does not count.
fn differ<T: PartialEq>(one: &Given<T>, other: &Given<T>) -> bool {
    one.value != other.value
}

fn options_differ<T: PartialEq>(one: Option<&Given<T>>, other: Option<&Given<T>>) -> bool {
    one.map(|given| &given.value) != other.map(|given| &given.value)
}

impl Config {
    /// Returns the flags whose values differ.
    fn differing(&self, now: &Self) -> Vec<&'static str> {
        let header = |config: &Self| config.access.user_header.as_ref().map(|header| header.name.clone());
        let trusted = |config: &Self| config.access.user_header.as_ref().map(|header| header.trusted.clone());
        let tls =
            |config: &Self| config.tls.as_ref().map(|tls| (tls.cert.value.clone(), tls.key.value.clone()));
        let (tls, now_tls) = (tls(self).unzip(), tls(now).unzip());
        let (cache, now_cache) = (&self.cache, &now.cache);
        let (limits, now_limits) = (&self.limits, &now.limits);
        let settings = [
            ("--listen", differ(&self.listen, &now.listen)),
            ("--admin-listen", differ(&self.admin, &now.admin)),
            ("--upstream", differ(&self.upstream, &now.upstream)),
            ("--upstream-ca", options_differ(self.upstream_ca.as_ref(), now.upstream_ca.as_ref())),
            ("--whitelist", options_differ(self.whitelist.as_ref(), now.whitelist.as_ref())),
            ("--shops", options_differ(self.shops.as_ref(), now.shops.as_ref())),
            ("--cache-dir", options_differ(self.cache_dir.as_ref(), now.cache_dir.as_ref())),
            ("--cache-size", differ(&cache.size, &now_cache.size)),
            ("--min-fresh-for", differ(&cache.min_fresh_for, &now_cache.min_fresh_for)),
            (
                "--fresh-for",
                differ(&cache.fresh_for, &now_cache.fresh_for)
                    || cache.max_fresh_for != now_cache.max_fresh_for,
            ),
            ("--stale-for", differ(&cache.stale_for, &now_cache.stale_for)),
            ("--max-feed-size", differ(&cache.max_feed_size, &now_cache.max_feed_size)),
            ("--client-max-age", options_differ(self.client_max_age.as_ref(), now.client_max_age.as_ref())),
            ("--max-connections", differ(&limits.connections, &now_limits.connections)),
            (
                "--max-connections-per-address",
                differ(&limits.connections_per_address, &now_limits.connections_per_address),
            ),
            ("--max-request-body", differ(&limits.request_body, &now_limits.request_body)),
            ("--tls-cert", tls.0 != now_tls.0),
            ("--tls-key", tls.1 != now_tls.1),
            ("--trusted-proxy", differ(&self.trusted, &now.trusted)),
            ("--admin-tokens", options_differ(self.access.tokens.as_ref(), now.access.tokens.as_ref())),
            ("--admin-tls", self.access.tls != now.access.tls),
            ("--admin-host", self.access.hosts != now.access.hosts),
            ("--admin-user-header", header(self) != header(now)),
            ("--admin-trusted-proxy", trusted(self) != trusted(now)),
            ("--notify-url", options_differ(self.notify.as_ref(), now.notify.as_ref())),
            ("--notify-format", differ(&self.notify_format, &now.notify_format)),
            ("--log-format", differ(&self.log_format, &now.log_format)),
            ("--access-log", differ(&self.access_log, &now.access_log)),
            ("--log-level", options_differ(self.log_level.as_ref(), now.log_level.as_ref())),
        ];
        settings.into_iter().filter(|(_, differs)| *differs).map(|(flag, _)| flag).collect()
    }
}

#[cfg(test)]
mod tests;
