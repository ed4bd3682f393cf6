//! One request to one response: admit, route, look up, view, negotiate, respond, meter; forward for the rest.

pub mod access_log;
pub mod admit;
pub mod exchange;
pub mod forward;
pub mod headers;
pub mod negotiate;
pub mod probes;
pub(crate) mod query;
mod request_id;
pub mod respond;
pub mod route;
pub(crate) mod spelling;
pub mod trust;
mod upload;

use std::net::SocketAddr;
use std::sync::Arc;

use http::uri::Authority;
use http::{Method, Request, Response, Version, header};
use hyper::body::Incoming;

use crate::body::Body;
use crate::cache::Cache;
use crate::cache::cached_feed::Meta;
use crate::cache::flight::Begun;
use crate::cache::lookup::{Found, Lookup};
use crate::cache::view::View;
use crate::error::Error;
use crate::feed::FeedKind;
use crate::metrics::Metrics;
use crate::policy::{ViewKind, ViewRules};
use crate::servers::{Servers, monitors};
use crate::shops::{Shops, WatchedShops};
use crate::upstream::Upstream;
use access_log::AccessLog;
use exchange::{Exchange, MeteredBody};
use headers::Client;
use negotiate::Accepted;
use request_id::X_REQUEST_ID;
use respond::{Caching, FeedHead, Form};
use route::{Route, WantedFeed};
use trust::Trusted;

/// The proxy: everything that a request can need. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Proxy {
    /// Source of the feeds.
    pub cache: Cache,
    /// Source of everything else.
    pub upstream: Upstream,
    pub shops: Arc<WatchedShops>,
    /// Who has the lists of the shops in force.
    pub servers: Arc<Servers>,
    /// How long clients may keep a feed.
    pub caching: Caching,
    /// Peers that may say for whom they ask.
    pub trusted: Trusted,
    /// True if clients are served over TLS.
    pub secure: bool,
    /// Where each request has a line.
    pub access_log: AccessLog,
    /// Largest request body in bytes.
    pub max_request_body: u64,
    pub metrics: Arc<Metrics>,
}

/// The feeds that a response is made of.
struct Feeds {
    found: Found,
    packages: Option<Found>,
}

/// What there is to answer with.
#[allow(clippy::large_enum_variant, reason = "a box would cost every hit an allocation")]
enum LookedUp {
    /// A feed that is still arriving, filtered as it comes.
    Arriving(Arc<Meta>, Body),
    Whole(Feeds),
}

impl Proxy {
    /// Answers a request of `peer`, and meters the response to its end.
    ///
    /// What is in memory is answered without a wait: then the future is ready when it is first polled. All that waits
    /// is boxed where it begins to, so that it costs the rest nothing.
    pub async fn respond(
        self: Arc<Self>,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Response<MeteredBody> {
        let client = self.trusted.client(peer.ip(), request.headers());
        // INVARIANT: the same shops, with the same lists, from here to the end of the response.
        let shops = self.shops.current();
        let route = Self::route(&request, &shops);
        let mut exchange = Exchange::begin(&self.metrics, self.access_log, &route, &request, client);
        if let Some(shop) = route.shop() {
            exchange.set_shop(shop);
        }
        let result = match admit::admit(&request, self.max_request_body) {
            Ok(()) if self.upstream.has_sent(request.headers()) => Err(Error::Circle),
            Ok(()) => self.follow(route, &shops, request, peer, &mut exchange).await,
            Err(error) => Err(error),
        };
        let response = result.unwrap_or_else(|error| {
            exchange.report(&error);
            respond::problem(&error)
        });
        exchange.answer(response)
    }

    /// Decides what a request is for. Its host is read only if some shop is served by that.
    fn route<B>(request: &Request<B>, shops: &Shops) -> Route {
        let host = shops.depend_on_host().then(|| host(request)).flatten();
        Route::of(request.method(), request.uri(), host.as_ref().map(Authority::host), shops)
    }

    /// Follows the route of a request that was admitted.
    async fn follow(
        &self,
        route: Route,
        shops: &Shops,
        request: Request<Incoming>,
        peer: SocketAddr,
        exchange: &mut Exchange,
    ) -> Result<Response<Body>, Error> {
        match route {
            Route::Feed(wanted) => {
                let response = self.feed(&request, &wanted, exchange).await?;
                Ok(if shops.depend_on_host() { respond::vary_by_host(response) } else { response })
            }
            Route::Live => Ok(probes::live()),
            Route::Ready => Ok(probes::ready(self, request.uri().query())),
            Route::Refused(refusal) => Err(refusal.into()),
            Route::Forward { target, prefix } => {
                let trusted = self.trusted.contains(peer.ip());
                let client =
                    Client { address: peer.ip(), host: host(&request), secure: self.secure, trusted };
                let mut request = request;
                request.headers_mut().insert(X_REQUEST_ID, exchange.id().value());
                let (max_body, received) = (self.max_request_body, self.metrics.requests.received.clone());
                let response =
                    Box::pin(forward::forward(&self.upstream, request, target, &client, max_body, received))
                        .await?;
                Ok(match prefix {
                    Some(prefix) => headers::location_under(&prefix, response),
                    None => response,
                })
            }
        }
    }

    /// Answers with a feed.
    async fn feed<B: Sync>(
        &self,
        request: &Request<B>,
        wanted: &WantedFeed,
        exchange: &mut Exchange,
    ) -> Result<Response<Body>, Error> {
        // INVARIANT: the same rules from here to the end of the response.
        let list = wanted.shop.list().ok_or(Error::NoShop)?;
        let rules = list.rules();
        if tells_of_server(request, wanted) {
            exchange.set_rules(&self.servers, list.order_of(&rules));
        }
        let rules = ViewRules { rules, kind: wanted.view };
        let accepted = Accepted::of(request.headers());
        let feeds = match self.look_up(request, &accepted, wanted, &rules, exchange).await? {
            LookedUp::Whole(feeds) => feeds,
            LookedUp::Arriving(meta, body) => {
                let head = FeedHead::arriving(&wanted.key, exchange.outcome(), &meta);
                return Ok(respond::stream(self.caching, head, body));
            }
        };
        let packages = feeds.packages.as_ref().map(|packages| &packages.cached.feed);
        let view = self.cache.view(&feeds.found.cached.feed, packages, &rules).await.map_err(Error::Feed)?;
        let head = FeedHead::whole(&wanted.key, exchange.outcome(), &feeds.found.cached);
        if let Some(known) = respond::known(request.headers(), &view, accepted.forms()) {
            return Ok(respond::not_modified(self.caching, head, &view, known));
        }
        let (form, body) = self.negotiate(&view, &accepted).await?;
        Ok(respond::view(self.caching, head, &view, form, body))
    }

    /// Looks up what a request wants. Waits for what is in flight, unless the client can have it as it arrives.
    async fn look_up<B: Sync>(
        &self,
        request: &Request<B>,
        accepted: &Accepted,
        wanted: &WantedFeed,
        rules: &ViewRules,
        exchange: &mut Exchange,
    ) -> Result<LookedUp, Error> {
        let lookup = self.cache.look_up(&wanted.key);
        let Some(packages) = &wanted.packages else {
            let found = match lookup {
                Lookup::InFlight(flight) if may_stream(request, accepted) => {
                    let outcome = flight.outcome();
                    match Box::pin(flight.begun(rules.clone())).await {
                        Begun::Streaming(meta, body) => {
                            exchange.set_outcome(outcome);
                            return Ok(LookedUp::Arriving(meta, body));
                        }
                        Begun::Ended(ended) => ended,
                    }
                }
                lookup => lookup.found().await,
            };
            let found = found.map_err(Error::Feed)?;
            exchange.set_outcome(found.outcome);
            return Ok(LookedUp::Whole(Feeds { found, packages: None }));
        };
        let packages = self.cache.look_up(packages);
        let (found, packages) = tokio::join!(lookup.found(), packages.found());
        let (found, packages) = (found.map_err(Error::Feed)?, packages.map_err(Error::PackagesOfCategories)?);
        exchange.set_outcome(found.outcome.max(packages.outcome));
        Ok(LookedUp::Whole(Feeds { found, packages: Some(packages) }))
    }

    /// Returns a view in the best form that is at hand, and waits only for one that is the only one the client takes.
    async fn negotiate(&self, view: &Arc<View>, accepted: &Accepted) -> Result<(Form, bytes::Bytes), Error> {
        let Some(best) = accepted.encodings().next() else {
            // Nothing acceptable is no reason to refuse (RFC 9110 §12.5.3).
            return Ok((None, view.body.clone()));
        };
        match self.cache.encoded(view, best) {
            Some(bytes) => Ok((Some(best), bytes)),
            // While the best form is being made, the plain body is better than waiting.
            None if accepted.identity => Ok((None, view.body.clone())),
            None => {
                let encoded = Box::pin(self.cache.encode(view, best)).await;
                Ok((Some(best), encoded.map_err(Error::Feed)?))
            }
        }
    }
}

/// Returns the host that a request names.
fn host<B>(request: &Request<B>) -> Option<Authority> {
    let field = || request.headers().get(header::HOST)?.to_str().ok()?.parse().ok();
    request.uri().authority().cloned().or_else(field)
}

/// Returns true if a complete answer to a request tells which list a server has: the shop view of the packages, with its
/// body, to a client that is no monitor. Servers ask for the update view all by themselves, and nobody looks at it.
fn tells_of_server<B>(request: &Request<B>, wanted: &WantedFeed) -> bool {
    *request.method() == Method::GET
        && wanted.key.kind() == FeedKind::Packages
        && wanted.view == ViewKind::Shop
        && !monitors::is_monitor(request.headers())
}

/// Returns true if this client can be sent a feed that is still arriving.
///
/// Not over HTTP/1.0, where the end of a response without a length cannot be told from a broken transfer.
/// Nor if only a whole feed can answer: to HEAD, to a validator, or in a coding only.
fn may_stream<B>(request: &Request<B>, accepted: &Accepted) -> bool {
    *request.method() == Method::GET
        && accepted.identity
        && request.version() > Version::HTTP_10
        && !request.headers().contains_key(header::IF_NONE_MATCH)
}

#[cfg(test)]
impl Proxy {
    /// Answers a request for a feed that came over no connection, for the simulation.
    pub(crate) async fn respond_in_simulation(&self, request: &Request<()>) -> Response<MeteredBody> {
        let route = Self::route(request, &self.shops.current());
        let peer = std::net::Ipv4Addr::LOCALHOST.into();
        let mut exchange = Exchange::begin(&self.metrics, self.access_log, &route, request, peer);
        let result = match route {
            Route::Feed(wanted) => self.feed(request, &wanted, &mut exchange).await,
            Route::Refused(refusal) => Err(refusal.into()),
            route => panic!("{route:?}"),
        };
        exchange.answer(result.unwrap_or_else(|error| respond::problem(&error)))
    }
}
