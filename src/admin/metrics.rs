//! `/metrics` for Prometheus.

use http::{Response, StatusCode};

use crate::body::Body;
use crate::metrics::CONTENT_TYPE;
use crate::metrics::state::{CertificateState, ServerGauges, WhitelistState};
use crate::proxy::{Proxy, respond};
use crate::servers::ServerCounts;

/// Answers with what is counted, and the state of shops, feeds and servers.
pub(super) fn metrics(proxy: &Proxy, certificate: Option<CertificateState>) -> Response<Body> {
    let shops = proxy.shops.current();
    let mut state = proxy.cache.observe(&shops);
    state.whitelists = shops
        .all()
        .map(|shop| WhitelistState {
            shop: shop.name.to_string(),
            generation: shop.list().map_or(0, |list| list.generation),
            entries: shop.rules().map(|rules| rules.counts()).unwrap_or_default(),
            loaded_at: shop.list().map(|list| list.loaded_at),
            reload_succeeded: shop.is_in_force() && shops.directory_error().is_none(),
        })
        .collect();
    let gauges = |ServerCounts { shop, current, behind, .. }| ServerGauges { shop, current, behind };
    state.servers = proxy.servers.counts().into_iter().map(gauges).collect();
    state.disputed_hosts = shops.disputes().count();
    state.certificate = certificate;
    match proxy.metrics.encode(&state) {
        Ok(text) => respond::plain(StatusCode::OK, CONTENT_TYPE, text),
        Err(_) => {
            respond::plain(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", "no metrics\n")
        }
    }
}
