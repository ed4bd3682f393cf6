//! The settings in force, as they can be written into a configuration file.

use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::layers::Layers;
use super::{Admin, Config, OFF};
use crate::cli::Size;
use crate::given::Source;

/// One setting with its value and source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveSetting {
    /// Its key in a configuration file.
    pub key: &'static str,
    /// A text, a number, a boolean or a list of texts; `None` if the setting has no value.
    pub value: Option<Value>,
    /// Where it was given.
    pub source: Source,
    /// True if a part of the value is replaced, because it may be a secret.
    pub is_masked: bool,
}

/// Returns all settings in the order of the help.
///
/// Paths are absolute, so that the values mean the same in a file anywhere.
pub(super) fn settings(config: &Config, layers: &Layers) -> Vec<EffectiveSetting> {
    let Config {
        listen,
        admin,
        access,
        tls,
        trusted,
        upstream,
        upstream_ca,
        outbound: _,
        whitelist,
        shops,
        cache,
        cache_dir,
        client_max_age,
        limits,
        notify,
        notify_format,
        log_format,
        access_log,
        log_level,
    } = config;
    let setting = |flag: &'static str, value: Option<Value>| EffectiveSetting {
        key: &flag[2..],
        value,
        source: layers.source(flag),
        is_masked: false,
    };
    let admin_listen = match **admin {
        Admin::Required(address) | Admin::IfFree(address) => json!(address.to_string()),
        Admin::Off => json!(OFF),
    };
    let user_header = access.user_header.as_ref();
    let default_shop = whitelist.as_ref().map_or(Some(json!(OFF)), |file| path(file));
    vec![
        setting("--listen", Some(texts(listen))),
        setting("--tls-cert", tls.as_ref().and_then(|tls| path(&tls.cert))),
        setting("--tls-key", tls.as_ref().and_then(|tls| path(&tls.key))),
        setting("--trusted-proxy", Some(texts(trusted))),
        setting("--upstream", Some(json!(format!("{}://{}", upstream.scheme, upstream.authority)))),
        setting("--upstream-ca", upstream_ca.as_ref().and_then(|file| path(file))),
        setting("--whitelist", default_shop),
        setting("--shops", shops.as_ref().and_then(|directory| path(directory))),
        setting("--cache-dir", cache_dir.as_ref().and_then(|directory| path(directory))),
        setting("--cache-size", Some(size(*cache.size))),
        setting("--min-fresh-for", Some(duration(*cache.min_fresh_for))),
        setting("--fresh-for", Some(duration(*cache.fresh_for))),
        setting("--stale-for", Some(duration(*cache.stale_for))),
        setting("--client-max-age", client_max_age.as_ref().map(|age| duration(**age))),
        setting("--max-feed-size", Some(size(*cache.max_feed_size))),
        setting("--max-connections", Some(json!(*limits.connections))),
        setting("--max-connections-per-address", Some(json!(*limits.connections_per_address))),
        setting("--max-request-body", Some(size(*limits.request_body))),
        setting("--admin-listen", Some(admin_listen)),
        setting("--admin-tokens", access.tokens.as_ref().and_then(|file| path(file))),
        setting("--admin-tls", Some(json!(access.tls))),
        setting("--admin-host", Some(texts(&access.hosts))),
        setting("--admin-user-header", user_header.map(|header| json!(header.name.as_str()))),
        setting("--admin-trusted-proxy", user_header.map(|header| texts(&header.trusted))),
        EffectiveSetting {
            // SECURITY: what is shown in its place is refused when it is read again.
            is_masked: notify.as_ref().is_some_and(|hook| hook.has_secret()),
            ..setting("--notify-url", notify.as_ref().map(|hook| json!(hook.masked())))
        },
        setting("--notify-format", name(**notify_format)),
        setting("--log-format", name(**log_format)),
        setting("--access-log", name(**access_log)),
        setting("--log-level", log_level.as_ref().map(|level| json!(level.value))),
    ]
}

fn name(choice: impl ValueEnum) -> Option<Value> {
    choice.to_possible_value().map(|value| json!(value.get_name()))
}

fn texts(values: &[impl ToString]) -> Value {
    json!(values.iter().map(ToString::to_string).collect::<Vec<_>>())
}

/// `None` if it is not UTF-8, which a configuration file has to be.
fn path(path: &Path) -> Option<Value> {
    // It fails only if there is no working directory, and then a relative path leads nowhere as well.
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.to_str().map(|path| json!(path))
}

fn size(bytes: u64) -> Value {
    json!(Size::from(bytes).exact())
}

fn duration(duration: Duration) -> Value {
    json!(humantime::format_duration(duration).to_string())
}
