//! The probes of orchestrators. Neither looks at the upstream: its outage must not take the proxy down.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::{Proxy, respond};
use crate::body::Body;
use crate::shops::Shop;

/// Answers that the process is alive.
pub fn live() -> Response<Body> {
    respond::plain(StatusCode::OK, "text/plain; charset=utf-8", "ok\n")
}

/// Answers on the service port whether requests can be served, which holds from the moment that anyone can ask: the
/// whitelist is loaded before a socket is bound. With `?warm` a packages feed must be there as well.
///
/// SECURITY: it has no details, because any client may ask, and its cost does not grow with the cache.
pub fn ready(proxy: &Proxy, query: Option<&str>) -> Response<Body> {
    let is_warm = || proxy.cache.ask_for_warmth();
    match asks_for_warmth(query) && !is_warm() {
        false => text(StatusCode::OK, "ready\n"),
        true => text(StatusCode::SERVICE_UNAVAILABLE, "no packages feed yet\n"),
    }
}

/// Most keys listed: a flood of invented queries must not make the probe large.
const MAX_LISTED: usize = 100;

/// Answers on the admin port as [`ready`] does, with the state of what is served. While running responses finish
/// (`is_draining`) it is 503, so that balancers send nothing more.
pub fn ready_with_details(proxy: &Proxy, query: Option<&str>, is_draining: bool) -> Response<Body> {
    let (code, status) = match is_draining {
        true => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        false if asks_for_warmth(query) && !proxy.cache.ask_for_warmth() => {
            (StatusCode::SERVICE_UNAVAILABLE, "cold")
        }
        false => (StatusCode::OK, "ready"),
    };
    let shops = proxy.shops.current();
    let default = shops.default_shop();
    let mut feeds = proxy.cache.states(default.and_then(|shop| shop.rules()).as_deref());
    let keys = feeds.len();
    feeds.truncate(MAX_LISTED);
    let state = json!({
        "status": status,
        "whitelist": default.map(|shop| state_of(shop)),
        "shops": shops.all().map(|shop| state_of(shop)).collect::<Vec<_>>(),
        "disputed_hosts": shops.disputes().map(|(host, _)| host).collect::<Vec<_>>(),
        "cache_directory": proxy.cache.disk_status().map(|status| status.to_string()),
        "keys": keys,
        "feeds": feeds,
    });
    respond::plain(code, "application/json", format!("{state:#}\n"))
}

/// Returns what is to be known about a shop.
pub(crate) fn state_of(shop: &Shop) -> Value {
    let counts = shop.rules().map(|rules| rules.counts()).unwrap_or_default();
    let loaded_at = shop.list().map(|list| humantime::format_rfc3339_seconds(list.loaded_at).to_string());
    json!({
        "shop": shop.name.as_str(),
        "file": shop.path.display().to_string(),
        "hosts": shop.hosts(),
        "generation": shop.list().map_or(0, |list| list.generation),
        "extensions": counts.shown,
        "retired": counts.retired,
        "hidden": counts.hidden,
        "loaded_at": loaded_at,
        "last_error": shop.last_error.as_ref().map(|error| error.to_string()),
        "gone": shop.is_gone,
    })
}

/// Returns true if a query has the parameter `warm`.
fn asks_for_warmth(query: Option<&str>) -> bool {
    let mut parameters = query.into_iter().flat_map(|query| query.split('&'));
    parameters.any(|parameter| parameter == "warm" || parameter.starts_with("warm="))
}

fn text(status: StatusCode, text: &'static str) -> Response<Body> {
    respond::plain(status, "text/plain; charset=utf-8", text)
}
