//! The admin port: probes and metrics, the page, and the API through which whitelists are read and edited.
//!
//! SECURITY: probes and metrics are open to whoever reaches the port, for monitors have no tokens. Everything else
//! answers under known hosts only ([`origin`]), and changes come from editors only ([`identity`]).

mod api;
mod identity;
mod metrics;
pub mod origin;
mod page;
mod problem;
pub mod tokens;

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use tracing::debug;

use crate::body::{self, Body};
use crate::certificate::Certificate;
use crate::config::AdminAccess;
use crate::edit_log::EditLog;
use crate::proxy::{Proxy, admit, probes, respond};
use api::{Api, ApiCall};
use page::PageCall;
use problem::ApiProblem;
use tokens::WatchedTokens;

/// Largest body that is even looked at; calls have smaller bounds.
const MAX_BODY_BYTES: u64 = 1 << 20;

/// What every answer but probes and metrics says to browsers: it is no page, and nobody may frame it.
const API_POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
const REFERRER_POLICY: HeaderName = HeaderName::from_static("referrer-policy");

/// The admin port of one proxy.
#[derive(Debug)]
pub struct AdminPort {
    proxy: Proxy,
    /// Certificate of the service port.
    certificate: Option<Arc<Certificate>>,
    /// Names under which page and API answer, besides addresses and localhost.
    hosts: Vec<String>,
    api: Api,
}

/// What the admin port is made of.
#[derive(Debug)]
pub struct AdminParts {
    pub proxy: Proxy,
    pub certificate: Option<Arc<Certificate>>,
    pub access: AdminAccess,
    pub tokens: Option<Arc<WatchedTokens>>,
    pub edit_log: Arc<EditLog>,
    /// Warning about the way in which the port is open, for the page.
    pub exposure: Option<&'static str>,
}

impl AdminPort {
    pub fn new(parts: AdminParts) -> Self {
        Self {
            proxy: parts.proxy.clone(),
            certificate: parts.certificate.clone(),
            hosts: parts.access.hosts.clone(),
            api: Api::new(parts),
        }
    }

    /// Answers a request of `peer`. `is_draining` is true while running responses of the service port finish.
    pub async fn respond(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
        is_draining: bool,
    ) -> Response<Body> {
        let is_head = *request.method() == Method::HEAD;
        let is_read = is_head || *request.method() == Method::GET;
        let mut response = match (request.uri().path(), is_read) {
            ("/livez", true) => probes::live(),
            ("/readyz", true) => probes::ready_with_details(&self.proxy, request.uri().query(), is_draining),
            ("/metrics", true) => {
                let certificate = self.certificate.as_ref().map(|certificate| certificate.state());
                metrics::metrics(&self.proxy, certificate)
            }
            ("/livez" | "/readyz" | "/metrics", false) => respond::problem(&respond::METHOD_NOT_ALLOWED),
            _ => {
                let answer = self.answer(request, peer).await;
                harden(answer.unwrap_or_else(ApiProblem::into_response))
            }
        };
        if is_head {
            *response.body_mut() = body::empty();
        }
        response
    }

    /// Answers what is for people.
    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Result<Response<Body>, ApiProblem> {
        if let Err(error) = admit::admit(&request, MAX_BODY_BYTES) {
            return Ok(respond::problem(&error));
        }
        let host = origin::host(&request);
        let Some(host) = host.filter(|host| origin::is_known_host(host, &self.hosts)) else {
            let detail = "this port answers under an address, localhost, or a name given with --admin-host";
            return Err(ApiProblem::new(StatusCode::MISDIRECTED_REQUEST, detail));
        };
        if let Some(call) = PageCall::of(request.method(), request.uri().path()) {
            return Ok(call?.answer(request.headers()));
        }
        let call = ApiCall::of(request.method(), request.uri().path())?;
        if call.is_post() && !origin::is_same_site(request.headers(), &host, &self.hosts) {
            debug!(client.addr = %peer, path = request.uri().path(), "a request of another site");
            let detail = "this comes from another site: only the page of this port may ask for it, or a name given \
                          with --admin-host";
            return Err(ApiProblem::forbidden(detail));
        }
        self.api.answer(call, request, peer.ip()).await
    }
}

/// Adds what browsers are told about every answer.
fn harden(mut response: Response<Body>) -> Response<Body> {
    let headers: &mut HeaderMap = response.headers_mut();
    headers.entry(header::CONTENT_SECURITY_POLICY).or_insert(API_POLICY);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.insert(REFERRER_POLICY, NO_REFERRER);
    response
}
