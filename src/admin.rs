//! The admin port: probes. Nothing on it changes anything.

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
        ("/livez" | "/readyz", false) => respond::problem(&respond::METHOD_NOT_ALLOWED),
        _ => respond::plain(
            StatusCode::NOT_FOUND,
            "text/plain; charset=utf-8",
            "Here are /livez and /readyz.\n",
        ),
    };
    if *request.method() == Method::HEAD {
        *response.body_mut() = body::empty();
    }
    response
}
