//! The admin port: probes and metrics. Nothing on it changes anything.

use std::time::UNIX_EPOCH;

use http::{Method, Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::body::{self, Body};
use crate::proxy::{Proxy, probes, respond};

/// Answers a request to the admin port.
pub fn answer(proxy: &Proxy, request: &Request<Incoming>) -> Response<Body> {
    let read = matches!(*request.method(), Method::GET | Method::HEAD);
    let mut response = match (request.uri().path(), read) {
        ("/livez", true) => probes::live(),
        ("/readyz", true) => probes::ready(proxy),
        ("/metrics", true) => metrics(proxy),
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

/// The media type of OpenMetrics 1.0, which Prometheus reads.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

fn metrics(proxy: &Proxy) -> Response<Body> {
    let metrics = &proxy.metrics;
    let (list, status) = (proxy.whitelist.current(), proxy.whitelist.status());
    let loaded = status.loaded_at.duration_since(UNIX_EPOCH).unwrap_or_default();
    metrics.generation.set(list.generation as i64);
    metrics.extensions.set(list.len() as i64);
    metrics.reload_succeeded.set(i64::from(status.last_error.is_none()));
    metrics.loaded.set(loaded.as_secs() as i64);
    proxy.catalog.gauge(metrics);
    match metrics.encode() {
        Ok(text) => respond::plain(StatusCode::OK, OPEN_METRICS, text),
        Err(_) => {
            respond::plain(StatusCode::INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", "no metrics\n")
        }
    }
}
