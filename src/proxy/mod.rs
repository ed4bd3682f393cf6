//! A request comes in, an answer goes out.

pub mod admit;
pub mod exchange;
pub mod forward;
pub mod headers;
pub mod negotiate;
pub mod probes;
pub mod respond;
pub mod route;
pub(crate) mod spelling;
pub mod trust;
mod upload;

use std::future::{Ready, ready};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::future::Either;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, Version, header};
use hyper::body::Incoming;
use tracing::{Level, debug, error, warn};

use crate::body::{self, Body};
use crate::catalog::copy::View;
use crate::catalog::flight::{Begun, Kept};
use crate::catalog::{Arrival, Catalog, Found, Freshness, Key};
use crate::error::Error;
use crate::metrics::{Failed, Metrics};
use crate::upstream::{Upstream, UpstreamError};
use crate::whitelist::watch::WatchedWhitelist;
use exchange::{Exchange, Watched, X_REQUEST_ID};
use headers::Client;
use negotiate::Accepted;
use respond::{Caching, Served};
use route::Route;
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

/// An answer that is there, or to come. The second is boxed, so that the first is cheap.
pub type Answer = Either<Ready<Response<Watched>>, Pin<Box<dyn Future<Output = Response<Watched>> + Send>>>;

impl Proxy {
    /// Answers a request from a client at `peer`: at once if there is nothing to wait for, as nearly always.
    pub fn answer(self: Arc<Self>, request: Request<Incoming>, peer: SocketAddr) -> Answer {
        let client = self.trusted.client(peer.ip(), request.headers());
        let route = Route::of(request.method(), request.uri());
        let mut exchange = Exchange::begin(&self.metrics, route.name(), &request, client);
        let hit = match admit::admit(&request, self.max_request_body) {
            Ok(()) => self.hit(&route, &request, &mut exchange).map(Ok),
            Err(error) => Some(Err(error)),
        };
        let is_head = *request.method() == Method::HEAD;
        // SECURITY: never the query of what is only passed on, which may hold tokens. The catalog names its keys.
        let target = request.uri().path_and_query();
        if let Some(result) = hit {
            let path = target.map_or("", PathAndQuery::path);
            return Either::Left(ready(self.end(result, path, is_head, exchange)));
        }
        let target = target.cloned();
        Either::Right(Box::pin(async move {
            let result = self.route(route, request, peer, &mut exchange).await;
            self.end(result, target.as_ref().map_or("", PathAndQuery::path), is_head, exchange)
        }))
    }

    fn end(
        &self,
        result: Result<Response<Body>, Error>,
        path: &str,
        is_head: bool,
        exchange: Exchange,
    ) -> Response<Watched> {
        let mut response = result.unwrap_or_else(|error| {
            self.report(&error, path, &exchange);
            respond::problem(&error)
        });
        if is_head {
            // What a GET would say, without the body (RFC 9110 §9.3.2).
            *response.body_mut() = body::empty();
        }
        exchange.answer(response)
    }

    /// Answers with what is in memory, fresh and in the form asked for.
    fn hit(
        &self,
        route: &Route,
        request: &Request<Incoming>,
        exchange: &mut Exchange,
    ) -> Option<Response<Body>> {
        let (key, packages) = match route {
            Route::Packages(key) => (key, None),
            Route::Categories { key, packages } => (key, Some(packages)),
            _ => return None,
        };
        // INVARIANT: one generation from here to the end of the answer.
        let list = self.whitelist.current();
        let copy = self.catalog.fresh(key)?;
        let packages = match packages {
            Some(key) => Some(self.catalog.fresh(key)?),
            None => None,
        };
        let view = self.catalog.made_view(&copy, packages.as_ref(), &list)?;
        let arrival = Arrival::Copy(Freshness::Fresh);
        let served = Served { key, copy: &copy, arrival };
        let response = self.at_hand(request, &Accepted::of(request.headers()), served, &view)?;
        exchange.came(arrival);
        Some(response)
    }

    async fn route(
        &self,
        route: Route,
        mut request: Request<Incoming>,
        peer: SocketAddr,
        exchange: &mut Exchange,
    ) -> Result<Response<Body>, Error> {
        match route {
            Route::Packages(key) => self.packages(&request, &key, exchange).await,
            Route::Categories { key, packages } => self.categories(&request, &key, &packages, exchange).await,
            Route::Live => Ok(probes::live()),
            Route::Ready => Ok(probes::ready(self, request.uri().query())),
            Route::Refused(refusal) => Err(refusal.into()),
            Route::Forward(target) => {
                let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
                let authority = request.uri().authority().cloned();
                let host = authority.or_else(|| host?.parse().ok());
                let trusted = self.trusted.contains(peer.ip());
                let client = Client { address: peer.ip(), host, secure: self.secure, trusted };
                request.headers_mut().insert(X_REQUEST_ID, exchange.id().value());
                let (max_body, received) = (self.max_request_body, self.metrics.requests.received.clone());
                forward::forward(&self.upstream, request, target, &client, max_body, received).await
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
                match flight.begun(Arc::clone(&list)).await {
                    Begun::Streaming(body) => {
                        exchange.came(Arrival::Fetched(joined, Kept::NotStored));
                        return Ok(respond::stream(self.caching, key, body, joined));
                    }
                    Begun::Ended(outcome) => outcome.map_err(Error::Feed)?.arrival(joined),
                }
            }
            Found::Copy(copy, freshness) => (copy, Arrival::Copy(freshness)),
            found => self.catalog.landed(found).await.map_err(Error::Feed)?,
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
            let row = failure.row();
            let failed = Failed { outcome: row.name, phase: row.phase };
            self.metrics.forward_failures.get_or_create(&failed).inc();
        }
        let (cause, request_id) = (error.chain(), exchange.id());
        match error.answer().level {
            Level::ERROR => error!(path, %error, cause, %request_id, "request failed"),
            Level::WARN => warn!(path, %error, cause, %request_id, "request failed"),
            _ => debug!(path, %error, cause, %request_id, "request failed"),
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
        if let Some(response) = self.at_hand(request, accepted, served, view) {
            return Ok(response);
        }
        let best = accepted.encodings().next();
        let body = match best {
            Some(encoding) => self.catalog.encode(view, encoding).await.map_err(Error::Feed)?,
            None => view.body.clone(),
        };
        Ok(respond::view(self.caching, served, view, best, body))
    }

    /// Answers with a view unless the only form that the client takes is still to be made.
    fn at_hand(
        &self,
        request: &Request<Incoming>,
        accepted: &Accepted,
        served: Served<'_>,
        view: &Arc<View>,
    ) -> Option<Response<Body>> {
        let forms = accepted.encodings().map(Some).chain(accepted.identity.then_some(None));
        if let Some(known) = respond::known(request.headers(), view, forms) {
            return Some(respond::not_modified(self.caching, served, view, known));
        }
        let best = accepted.encodings().next();
        let (form, body) = match best.map(|encoding| self.catalog.encoded(view, encoding)) {
            Some(Some(bytes)) => (best, bytes),
            Some(None) if !accepted.identity => return None,
            // While the best form is being made, the plain body is better than waiting. And nothing acceptable is
            // no reason to refuse (RFC 9110 §12.5.3).
            _ => (None, view.body.clone()),
        };
        Some(respond::view(self.caching, served, view, form, body))
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
