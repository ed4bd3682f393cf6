//! The admin port: probes and metrics. Nothing on it changes anything.

mod identity;
mod origin;
mod problem;
pub(crate) mod tokens;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::body::{self, Body};
use crate::metrics::CONTENT_TYPE;
use crate::metrics::state::{CertificateState, ServerGauges, WhitelistState};
use crate::proxy::{Proxy, probes, respond};
use crate::servers::ServerCounts;

/// Answers a request to the admin port. `is_draining` is true while running responses of the service port finish.
pub fn answer(
    proxy: &Proxy,
    certificate: Option<CertificateState>,
    request: &Request<Incoming>,
    is_draining: bool,
) -> Response<Body> {
    let read = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut response = match (request.uri().path(), read) {
        ("/livez", true) => probes::live(),
        ("/readyz", true) => probes::ready_with_details(proxy, request.uri().query(), is_draining),
        ("/metrics", true) => metrics(proxy, certificate),
        ("/livez" | "/readyz" | "/metrics", false) => respond::problem(&respond::METHOD_NOT_ALLOWED),
        _ => respond::plain(
            StatusCode::NOT_FOUND,
            "text/plain; charset=utf-8",
            "Here are /livez, /readyz and /metrics.\n",
        ),
    };
    if *request.method() == Method::HEAD {
        *response.body_mut() = body::empty();
    }
    response
}

fn metrics(proxy: &Proxy, certificate: Option<CertificateState>) -> Response<Body> {
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
