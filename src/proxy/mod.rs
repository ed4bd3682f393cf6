//! A request comes in, an answer goes out.

pub mod admit;
pub mod exchange;
pub mod forward;
pub mod headers;
pub mod negotiate;
pub mod probes;
pub mod respond;
pub mod route;
pub mod spelling;
pub mod trust;
mod upload;

use std::net::SocketAddr;
use std::sync::Arc;

use http::uri::PathAndQuery;
use http::{Method, Request, Response, Version, header};
use hyper::body::Incoming;
use tracing::{Level, debug, error, warn};

use crate::body::{self, Body};
use crate::catalog::copy::View;
use crate::catalog::flight::Begun;
use crate::catalog::{Arrival, Catalog, Found, Key};
use crate::error::Error;
use crate::metrics::{Failed, Metrics};
use crate::upstream::{Upstream, UpstreamError};
use crate::whitelist::watch::WatchedWhitelist;
use exchange::{Exchange, X_REQUEST_ID};
use headers::Client;
use negotiate::Accepted;
use respond::{Caching, Form, Served};
use route::{MAX_TARGET, Route};
use trust::Trusted;

/// The proxy: everything that a request can need. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// Filtered feeds come from here.
    pub catalog: Catalog,
    /// The rest comes from here.
    pub upstream: Upstream,
    /// What is shown.
    pub whitelist: Arc<WatchedWhitelist>,
    /// What clients may keep.
    pub caching: Caching,
    /// Who may say for whom it asks.
    pub trusted: Trusted,
    /// Are clients served over TLS?
    pub secure: bool,
    /// Most bytes of a request's body.
    pub max_request_body: u64,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

impl Proxy {
    /// Answers a request from a client at `peer`.
    pub async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Body> {
        let client = self.trusted.client(peer.ip(), request.headers());
        let route = Route::of(request.method(), request.uri());
        // SECURITY: never the query of what is only passed on, which may hold tokens. The catalog names its keys.
        let (method, target) = (request.method().clone(), request.uri().path_and_query().cloned());
        let mut exchange = Exchange::begin(&self.metrics, route.name(), &request, client);
        let mut response = match self.route(route, request, peer, &mut exchange).await {
            Ok(response) => response,
            Err(error) => {
                self.report(&error, target.as_ref().map_or("", PathAndQuery::path), &exchange);
                respond::problem(&error)
            }
        };
        if method == Method::HEAD {
            // What a GET would say, without the body (RFC 9110 §9.3.2).
            *response.body_mut() = body::empty();
        }
        exchange.answer(response)
    }

    async fn route(
        &self,
        route: Route,
        mut request: Request<Incoming>,
        peer: SocketAddr,
        exchange: &mut Exchange,
    ) -> Result<Response<Body>, Error> {
        admit::admit(&request, self.max_request_body)?;
        match route {
            Route::Packages(key) => self.packages(&request, &key, exchange).await,
            // The rarer ways are boxed: every request would pay for the room they take.
            Route::Categories { key, packages } => {
                Box::pin(self.categories(&request, &key, &packages, exchange)).await
            }
            Route::Live => Ok(probes::live()),
            Route::Ready => Ok(probes::ready(self)),
            Route::MethodNotAllowed => Err(respond::METHOD_NOT_ALLOWED),
            Route::Refused => Err(Error::Refused),
            Route::TargetTooLong => Err(Error::TargetTooLong(MAX_TARGET)),
            Route::Forward(target) => {
                let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
                let authority = request.uri().authority().cloned();
                let host = authority.or_else(|| host?.parse().ok());
                let trusted = self.trusted.contains(peer.ip());
                let client = Client { address: peer.ip(), host, secure: self.secure, trusted };
                request.headers_mut().insert(X_REQUEST_ID, exchange.id().clone());
                let (max_body, received) = (self.max_request_body, self.metrics.requests.received.clone());
                Box::pin(forward::forward(&self.upstream, request, target, &client, max_body, received)).await
            }
        }
    }

    async fn packages(
        &self,
        request: &Request<Incoming>,
        key: &Key,
        exchange: &mut Exchange,
    ) -> Result<Response<Body>, Error> {
        // INVARIANT: one generation from here to the end of the answer.
        let list = self.whitelist.current();
        let accepted = Accepted::of(request.headers());
        let (copy, arrival) = match self.catalog.look_up(key) {
            Found::Flight(flight, joined) if may_stream(request, &accepted) => {
                match Box::pin(flight.begun(Arc::clone(&list))).await {
                    Begun::Streaming(body) => {
                        exchange.came(Arrival::Fetched(joined));
                        return Ok(respond::stream(self.caching, key, body, joined));
                    }
                    Begun::Ended(outcome) => outcome.map_err(Error::Feed)?.arrival(joined),
                }
            }
            Found::Copy(copy, freshness) => (copy, Arrival::Copy(freshness)),
            found => Box::pin(self.catalog.landed(found)).await.map_err(Error::Feed)?,
        };
        exchange.came(arrival);
        let view = self.catalog.view(&copy, None, &list).await.map_err(Error::Feed)?;
        self.view(request, &accepted, Served { key, copy: &copy, arrival }, &view).await
    }

    async fn categories(
        &self,
        request: &Request<Incoming>,
        key: &Key,
        packages: &Key,
        exchange: &mut Exchange,
    ) -> Result<Response<Body>, Error> {
        let list = self.whitelist.current();
        let accepted = Accepted::of(request.headers());
        let (categories, packages) = (self.catalog.look_up(key), self.catalog.look_up(packages));
        let (categories, packages) =
            tokio::join!(self.catalog.landed(categories), self.catalog.landed(packages));
        let (copy, arrival) = categories.map_err(Error::Feed)?;
        let (packages, _) = packages.map_err(Error::PackagesOfCategories)?;
        exchange.came(arrival);
        let view = self.catalog.view(&copy, Some(&packages), &list).await.map_err(Error::Feed)?;
        self.view(request, &accepted, Served { key, copy: &copy, arrival }, &view).await
    }

    fn report(&self, error: &Error, path: &str, exchange: &Exchange) {
        if let Error::Forward(UpstreamError { failure, .. }) = error {
            let failed = Failed { outcome: failure.name(), phase: failure.phase() };
            self.metrics.forward_failures.get_or_create(&failed).inc();
        }
        let (cause, request_id) = (error.chain(), exchange::text(exchange.id()));
        match error.answer().level {
            Level::ERROR => error!(path, %error, cause, request_id, "request failed"),
            Level::WARN => warn!(path, %error, cause, request_id, "request failed"),
            _ => debug!(path, %error, cause, request_id, "request failed"),
        }
    }

    /// Answers with a view in the best form that is at hand.
    async fn view(
        &self,
        request: &Request<Incoming>,
        accepted: &Accepted,
        served: Served<'_>,
        view: &Arc<View>,
    ) -> Result<Response<Body>, Error> {
        let forms = accepted.encodings.iter().map(|encoding| Some(*encoding));
        let forms: Vec<Form> = forms.chain(accepted.identity.then_some(None)).collect();
        if let Some(known) = respond::known(request.headers(), view, &forms) {
            return Ok(respond::not_modified(self.caching, served, view, known));
        }
        let best = accepted.encodings.first().copied();
        let (form, body) = match best {
            Some(encoding) => match self.catalog.encoded(view, encoding) {
                Some(bytes) => (best, bytes),
                // While the best form is being made, the plain body is better than waiting.
                None if accepted.identity => (None, view.body.clone()),
                None => (best, Box::pin(self.catalog.encode(view, encoding)).await.map_err(Error::Feed)?),
            },
            // Nothing acceptable is no reason to refuse (RFC 9110 §12.5.3).
            None => (None, view.body.clone()),
        };
        Ok(respond::view(self.caching, served, view, form, body))
    }
}

/// May this client be sent a feed that is still arriving?
///
/// Not over HTTP/1.0, where the end of an answer without a length cannot be told from a broken transfer.
/// Nor if only a whole copy can answer: to HEAD, to a validator, or in a coding only.
fn may_stream(request: &Request<Incoming>, accepted: &Accepted) -> bool {
    *request.method() == Method::GET
        && accepted.identity
        && request.version() > Version::HTTP_10
        && !request.headers().contains_key(header::IF_NONE_MATCH)
}
