//! The probes of orchestrators. Neither looks at the upstream: its outage must not take the proxy down.

use http::{Response, StatusCode};
use serde_json::json;

use super::{Proxy, respond};
use crate::body::Body;

/// Answers that the process is alive.
pub fn live() -> Response<Body> {
    respond::plain(StatusCode::OK, "text/plain; charset=utf-8", "ok\n")
}

/// Most keys listed: a flood of invented queries must not make the probe large.
const MAX_LISTED: usize = 100;

/// Answers that the proxy is ready, with the state of what it serves from.
///
/// It is ready from the moment that anyone can ask: the whitelist is loaded before a socket is bound.
pub fn ready(proxy: &Proxy) -> Response<Body> {
    let (list, status) = (proxy.whitelist.current(), proxy.whitelist.status());
    let mut feeds = proxy.cache.states(&list);
    let keys = feeds.len();
    feeds.truncate(MAX_LISTED);
    let state = json!({
        "status": "ready",
        "whitelist": {
            "generation": status.generation,
            "extensions": list.len(),
            "loaded_at": humantime::format_rfc3339_seconds(status.loaded_at).to_string(),
            "last_error": status.last_error.map(|error| error.to_string()),
        },
        "cache_directory": proxy.cache.disk_status().map(|status| status.to_string()),
        "keys": keys,
        "feeds": feeds,
    });
    respond::plain(StatusCode::OK, "application/json", format!("{state:#}\n"))
}
