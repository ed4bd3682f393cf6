//! Meters one request and its response: counts and logs both exactly once, whatever the ending.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use tracing::{Level, debug, enabled, error, warn};

use super::access_log::{AccessFacts, AccessLog, EndedAccess};
use super::request_id::{Id, X_REQUEST_ID};
use super::route::Route;
use crate::body::{self, Body, BoxError};
use crate::cache_status::CacheOutcome;
use crate::error::Error;
use crate::metrics::requests::{BodyEnd, EndedRequest, RouteName};
use crate::metrics::{Failed, Metrics, ShopLabels};
use crate::printable::millis;
use crate::servers::Servers;
use crate::shops::{RulesOrder, ShopName};
use crate::upstream::UpstreamError;
use crate::wall_clock;

/// A request that is being answered. Its end is reported when it is dropped, so exactly once, wherever a
/// future or a body of it is abandoned.
#[derive(Debug)]
pub struct Exchange {
    metrics: Arc<Metrics>,
    route: RouteName,
    /// Whose feed it is for, if it is for one.
    shop: Option<ShopName>,
    id: Id,
    started: Instant,
    status: Option<StatusCode>,
    outcome: CacheOutcome,
    sent: u64,
    end: BodyEnd,
    is_head: bool,
    /// SECURITY: only its path is logged. The query of what is passed on may hold tokens; the cache names its keys.
    target: Option<PathAndQuery>,
    client: IpAddr,
    /// What a complete answer tells about the client's server, if it tells anything.
    rules: Option<AnsweringRules>,
    line: RequestLine,
}

/// The one line about a request, at its end.
#[derive(Debug)]
enum RequestLine {
    /// In the access log.
    Access(Box<AccessFacts>),
    /// In the log at `debug`, if there is no access log, which would say the same.
    Debug(Method),
    Nowhere,
}

/// The rules that a response is made by, and where it is recorded that a server has them.
#[derive(Debug)]
struct AnsweringRules {
    servers: Arc<Servers>,
    order: RulesOrder,
}

impl Exchange {
    /// Starts metering a request of `client`.
    pub(super) fn begin<B>(
        metrics: &Arc<Metrics>,
        access_log: AccessLog,
        route: &Route,
        request: &Request<B>,
        client: IpAddr,
    ) -> Self {
        metrics.requests.begun();
        let line = match access_log.facts(route, request) {
            Some(facts) => RequestLine::Access(facts),
            None if enabled!(Level::DEBUG) => RequestLine::Debug(request.method().clone()),
            None => RequestLine::Nowhere,
        };
        Self {
            metrics: Arc::clone(metrics),
            route: route.name(),
            shop: None,
            id: Id::of(request.headers()),
            started: Instant::now(),
            status: None,
            outcome: CacheOutcome::Unused,
            sent: 0,
            end: BodyEnd::Dropped,
            is_head: *request.method() == Method::HEAD,
            target: request.uri().path_and_query().cloned(),
            client,
            rules: None,
            line,
        }
    }

    /// Returns the request's id.
    pub(super) fn id(&self) -> &Id {
        &self.id
    }

    /// Records whose feed the request is for, and counts it.
    pub(super) fn set_shop(&mut self, shop: &ShopName) {
        self.metrics.shop_requests.get_or_create(&ShopLabels { shop: shop.to_string() }).inc();
        self.shop = Some(shop.clone());
    }

    /// Sets the rules that the response is made by, for `servers` if it reaches its end.
    pub(super) fn set_rules(&mut self, servers: &Arc<Servers>, order: RulesOrder) {
        self.rules = Some(AnsweringRules { servers: Arc::clone(servers), order });
    }

    /// Records what the cache did for the request.
    pub(super) fn set_outcome(&mut self, outcome: CacheOutcome) {
        self.outcome = outcome;
    }

    /// Returns what the cache did for the request.
    pub(super) fn outcome(&self) -> CacheOutcome {
        self.outcome
    }

    /// Logs why the request is not served, and counts it if that was passing it on.
    pub(super) fn report(&self, error: &Error) {
        if let Error::Forward(UpstreamError { failure, .. }) = error {
            let row = failure.row();
            let failed = Failed { outcome: row.name, phase: row.phase };
            self.metrics.forward_failures.get_or_create(&failed).inc();
        }
        let path = self.target.as_ref().map_or("", PathAndQuery::path);
        let (cause, request_id) = (error.chain(), &self.id);
        let shop = self.shop.as_ref().map(tracing::field::display);
        match error.answer().level {
            Level::ERROR => error!(path, shop, %error, cause, %request_id, "request failed"),
            Level::WARN => warn!(path, shop, %error, cause, %request_id, "request failed"),
            _ => debug!(path, shop, %error, cause, %request_id, "request failed"),
        }
    }

    /// Meters a response from its head to its end. One to HEAD is what GET would say, without the body
    /// (RFC 9110 §9.3.2).
    ///
    /// An upstream that names the request itself keeps its word, like the rest of what is passed through.
    pub(super) fn answer(mut self, mut response: Response<Body>) -> Response<MeteredBody> {
        self.status = Some(response.status());
        self.metrics.requests.answered(self.route, self.started.elapsed());
        if self.is_head {
            *response.body_mut() = body::empty();
        }
        response.headers_mut().entry(X_REQUEST_ID).or_insert_with(|| self.id.value());
        if let RequestLine::Access(facts) = &mut self.line {
            facts.answered(response.headers());
        }
        response.map(|inner| MeteredBody {
            left: inner.size_hint().exact(),
            inner,
            rest: Bytes::new(),
            exchange: self,
        })
    }
}

impl Exchange {
    /// Records which rules the client has now, if the response told it all of what they show.
    fn record_server(&self) {
        let (Some(rules), Some(shop)) = (&self.rules, &self.shop) else { return };
        let is_answer = matches!(self.status, Some(StatusCode::OK | StatusCode::NOT_MODIFIED));
        if is_answer && self.end == BodyEnd::Finished {
            rules.servers.record(self.client, shop, rules.order);
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let Self { route, status, outcome, sent, end, .. } = *self;
        let elapsed = self.started.elapsed();
        self.record_server();
        self.metrics.requests.ended(&EndedRequest { route, status, outcome, sent, elapsed, end });
        match &self.line {
            RequestLine::Access(facts) => {
                let (client, target, bytes, id) = (self.client, self.target.as_ref(), sent, &self.id);
                let ended =
                    EndedAccess { facts, client, target, status, bytes, elapsed, end, route, outcome, id };
                ended.log(wall_clock::now());
            }
            RequestLine::Debug(method) => {
                let shop = self.shop.as_ref().map(tracing::field::display);
                debug!(
                    client.addr = %self.client, %method, path = self.target.as_ref().map_or("", PathAndQuery::path),
                    route = route.name(), shop, status = status.map(|status| status.as_u16()), cache = outcome.name(),
                    bytes = sent, elapsed_ms = millis(elapsed), end = end.name(), request_id = %self.id, "request"
                );
            }
            RequestLine::Nowhere => {}
        }
    }
}

/// Most bytes that leave a body at once. A connection takes all that it is given before it has written any of it, so one
/// that is cut off in the middle of a large response would seem to have got it all.
const MAX_PIECE: usize = 32 << 10;

/// Response body that counts its bytes and records how it ended.
#[derive(Debug)]
pub struct MeteredBody {
    inner: Body,
    /// What the inner body has given and is still to leave.
    rest: Bytes,
    /// Bytes still to come, if known: connections do not poll for more than `Content-Length` announced.
    left: Option<u64>,
    exchange: Exchange,
}

impl MeteredBody {
    fn poll_piece(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.rest.is_empty() {
            let frame = match std::task::ready!(Pin::new(&mut self.inner).poll_frame(context)) {
                Some(Ok(frame)) => frame,
                end => return Poll::Ready(end),
            };
            match frame.into_data() {
                Ok(data) => self.rest = data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            }
        }
        let len = self.rest.len().min(MAX_PIECE);
        Poll::Ready(Some(Ok(Frame::data(self.rest.split_to(len)))))
    }
}

impl http_body::Body for MeteredBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let frame = std::task::ready!(self.poll_piece(context));
        match &frame {
            None => self.exchange.end = BodyEnd::Finished,
            Some(Err(_)) => self.exchange.end = BodyEnd::Failed,
            Some(Ok(frame)) => {
                let len = frame.data_ref().map_or(0, Bytes::len) as u64;
                self.exchange.sent += len;
                self.left = self.left.map(|left| left.saturating_sub(len));
                if frame.is_trailers() {
                    self.exchange.end = BodyEnd::Finished;
                }
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.inner.is_end_stream()
    }

    /// Only asked for before the first frame.
    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for MeteredBody {
    fn drop(&mut self) {
        // Nobody has to ask for an end that is known.
        let ended = self.left == Some(0) || http_body::Body::is_end_stream(self);
        if ended && self.exchange.end == BodyEnd::Dropped {
            self.exchange.end = BodyEnd::Finished;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::{BodyExt, StreamBody};

    use super::*;
    use crate::cli::AccessLogFormat;
    use crate::shops::Shops;

    fn begin(metrics: &Arc<Metrics>) -> Exchange {
        let client = "192.0.2.1".parse().expect("an address");
        let access_log = AccessLog { format: AccessLogFormat::Off, secure: false };
        let shops = Shops::of_texts(Some("extensions = []"), &[]).expect("shops");
        let target = "/api/v4/packages".parse().expect("a target");
        let route = Route::of(&Method::GET, &target, None, &shops);
        Exchange::begin(metrics, access_log, &route, &Request::new(()), client)
    }

    fn count(metrics: &Metrics, line: &str) -> String {
        let text = metrics.encode(&crate::metrics::state::Snapshot::default()).expect("text");
        text.lines().find_map(|other| other.strip_prefix(line)).unwrap_or("nothing").trim().to_owned()
    }

    const IN_FLIGHT: &str = "catalog_proxy_requests_in_flight";

    #[tokio::test]
    async fn every_end_is_reported_once() {
        let metrics = Arc::new(Metrics::default());
        let broken_off = |end: &str| {
            let line =
                format!("catalog_proxy_responses_broken_off_total{{route=\"packages\",end=\"{end}\"}}");
            count(&metrics, &line).parse::<u32>().expect("a count")
        };
        let requests = || count(&metrics, "catalog_proxy_request_duration_seconds_count{route=\"packages\"}");

        // No answer at all.
        let exchange = begin(&metrics);
        assert_eq!(count(&metrics, IN_FLIGHT), "1");
        drop(exchange);
        assert_eq!((broken_off("dropped"), requests().as_str()), (1, "1"));

        // To the end, with and without anybody asking for it.
        let full = || begin(&metrics).answer(Response::new(body::full("abc"))).into_body();
        full().collect().await.expect("a body");
        let mut body = full();
        body.frame().await.expect("a frame").expect("data");
        assert!(http_body::Body::is_end_stream(&body));
        drop(body);
        drop(begin(&metrics).answer(Response::new(body::empty())));
        assert_eq!((broken_off("dropped"), broken_off("failed"), requests().as_str()), (1, 0, "4"));

        // Left before the end, and broken before it.
        drop(full());
        let large = Response::new(body::full(vec![0; MAX_PIECE + 1]));
        let mut large = begin(&metrics).answer(large).into_body();
        let piece = large.frame().await.expect("a frame").expect("data");
        assert_eq!(piece.data_ref().map(Bytes::len), Some(MAX_PIECE));
        assert!(!http_body::Body::is_end_stream(&large));
        drop(large);
        let frames = [Ok(Frame::data(Bytes::from("abc"))), Err(BoxError::from("broken"))];
        let broken = body::boxed(StreamBody::new(stream::iter(frames)));
        begin(&metrics).answer(Response::new(broken)).into_body().collect().await.expect_err("a failure");
        assert_eq!((broken_off("dropped"), broken_off("failed"), requests().as_str()), (3, 1, "7"));

        assert_eq!(count(&metrics, IN_FLIGHT), "0");
        assert_eq!(
            count(&metrics, "catalog_proxy_response_body_bytes_total{route=\"packages\"}"),
            (9 + MAX_PIECE).to_string()
        );
    }

    /// A body of three bytes that tells its length or its end, or neither.
    struct Telling {
        data: Option<Bytes>,
        length: bool,
        end: bool,
    }

    impl http_body::Body for Telling {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            Poll::Ready(self.data.take().map(|data| Ok(Frame::data(data))))
        }

        fn is_end_stream(&self) -> bool {
            self.end && self.data.is_none()
        }

        fn size_hint(&self) -> SizeHint {
            if self.length { SizeHint::with_exact(3) } else { SizeHint::default() }
        }
    }

    #[tokio::test]
    async fn an_end_that_is_told_needs_no_question() {
        for (length, end) in [(true, true), (true, false), (false, true), (false, false)] {
            let metrics = Arc::new(Metrics::default());
            let body = body::boxed(Telling { data: Some("abc".into()), length, end });
            let mut body = begin(&metrics).answer(Response::new(body)).into_body();
            body.frame().await.expect("a frame").expect("data");
            drop(body);
            let line = "catalog_proxy_responses_broken_off_total{route=\"packages\",end=\"dropped\"}";
            let dropped = if length || end { "0" } else { "1" };
            assert_eq!(count(&metrics, line), dropped, "length {length}, end {end}");
        }
    }
}
