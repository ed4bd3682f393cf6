//! One fetch of one feed from the upstream, proved while it arrives.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use http::response::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

use super::Key;
use super::budget::{Budget, Exhausted, Share};
use super::cached_feed::{CachedFeed, Feed, FeedIndex, Meta};
use super::decode::{ACCEPT_ENCODING, DecodeError, Decoder};
use super::fetch_error::FetchError;
use super::freshness::{Freshness, FreshnessLimits};
use super::store::MAX_INDEX;
use super::vary::VaryWarning;
use crate::blocking;
use crate::body::{self, Body, BoxError};
use crate::config::Origin;
use crate::feed::packages::Segment;
use crate::feed::scan::ScanError;
use crate::feed::{FeedKind, categories, packages};
use crate::upstream::retry_after::retry_after;
use crate::upstream::{USER_AGENT, Upstream, UpstreamError, UpstreamFailure, VIA};
use crate::wall_clock;

/// Longest wait for the head of the response, connecting included. No client waits as long, but an upstream that
/// takes its time still fills the cache for the next one.
const HEAD_TIMEOUT: Duration = Duration::from_mins(1);
/// Longest pause within the body.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest whole fetch: one byte a second must not hold a place for hours.
const TOTAL_TIMEOUT: Duration = Duration::from_mins(2);
/// Redirects followed: the vendor uses none today, and one to a mirror path would be plausible.
const MAX_REDIRECTS: usize = 3;
/// Bytes that are decoded and scanned at once before others get their turn: that takes some fifty microseconds.
const PIECE: usize = 16 << 10;
/// How many times the bytes of a feed are in memory while it is fetched: in pieces as they come, and put together.
const COPIES: usize = 2;
/// Elements are handed on at the latest after so many bytes, and whenever the upstream pauses: that is
/// seldom enough to cost little, and a small bad feed is refused before any of it was sent.
const PUBLISH_BYTES: usize = 64 << 10;

/// Longest field value that is kept with a copy; longer validators and media types are made up to cost memory.
const MAX_VALUE: usize = 1024;

/// Fetches feeds. How many at once is the caller's business.
#[derive(Debug)]
pub struct Fetcher {
    wire: Wire,
    limits: FreshnessLimits,
    max_feed_size: u64,
    vary: VaryWarning,
    /// Of what all fetches under way hold.
    budget: Arc<Budget>,
}

/// Sends one request for a target and returns the head of the response with the body to come.
pub(crate) type Send = Box<
    dyn Fn(PathAndQuery, Request<Body>) -> BoxFuture<'static, Result<Response<Body>, UpstreamError>>
        + core::marker::Send
        + Sync,
>;

/// The way to the upstream. Tests put a scripted one here.
pub(crate) struct Wire {
    /// Where requests go.
    pub(crate) origin: Origin,
    /// How they get there.
    pub(crate) send: Send,
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl From<Upstream> for Wire {
    fn from(upstream: Upstream) -> Self {
        let origin = upstream.origin().clone();
        let send = move |target, request| {
            let upstream = upstream.clone();
            async move { Ok(upstream.send(target, request).await?.map(body::boxed)) }.boxed()
        };
        Self { origin, send: Box::new(send) }
    }
}

/// What has arrived of a feed.
#[derive(Debug, Clone, Copy)]
pub enum Arrived<'a> {
    /// What the upstream says about it. Comes first.
    Head(&'a Meta),
    /// Whole packages, in order.
    Segment(&'a Segment),
}

/// Collects a body of either kind.
enum Builder {
    Packages { indexer: Box<packages::PackagesIndexer>, segments: Vec<Segment> },
    Categories(Box<categories::CategoriesIndexer>),
}

impl Fetcher {
    /// Makes a fetcher of feeds of at most `max_feed_size` bytes. Fetches under way hold at most `max_memory`
    /// bytes together, but one alone may always have a feed of that size with an index of a usual one.
    pub fn new(upstream: Upstream, limits: FreshnessLimits, max_feed_size: u64, max_memory: u64) -> Self {
        Self::over(upstream.into(), limits, max_feed_size, max_memory)
    }

    /// As [`Fetcher::new`], over any way to an upstream.
    pub(crate) fn over(wire: Wire, limits: FreshnessLimits, max_feed_size: u64, max_memory: u64) -> Self {
        let one = max_feed_size.saturating_mul(COPIES as u64).saturating_add(MAX_INDEX);
        Self {
            wire,
            limits,
            max_feed_size,
            vary: VaryWarning::default(),
            budget: Budget::new(max_memory.max(one)),
        }
    }

    /// Returns how far the upstream is believed.
    pub fn limits(&self) -> FreshnessLimits {
        self.limits
    }

    /// Fetches a feed, or has the copy of before confirmed.
    ///
    /// Whole packages go to `publish` as they arrive, though the feed may yet turn out to be bad.
    ///
    /// # Errors
    /// Whatever keeps the answer from being one complete, well-formed feed.
    pub async fn fetch(
        &self,
        key: &Key,
        before: Option<&CachedFeed>,
        mut publish: impl FnMut(Arrived<'_>),
    ) -> Result<CachedFeed, FetchError> {
        let deadline = Instant::now() + TOTAL_TIMEOUT;
        let response = timeout(HEAD_TIMEOUT, self.head(key, before))
            .await
            .map_err(|_| UpstreamError::timeout(UpstreamFailure::HeadTimeout(HEAD_TIMEOUT)))??;
        let (head, incoming) = response.into_parts();
        self.vary.check(key.as_str(), &head.headers, Instant::now());
        match (head.status, before) {
            // 203 is a 200 that a proxy on the way has changed (RFC 9110 §15.3.4); the body is proved all the same.
            (StatusCode::OK | StatusCode::NON_AUTHORITATIVE_INFORMATION, _) => {
                let meta = self.meta(&head);
                publish(Arrived::Head(&meta));
                let feed = self.body(key.kind(), &head.headers, incoming, deadline, publish).await?;
                // What arrived over minutes is as old as its end.
                Ok(CachedFeed { feed: Arc::new(feed), meta: Meta { arrived: Instant::now(), ..meta } })
            }
            (StatusCode::NOT_MODIFIED, Some(before)) => {
                Ok(CachedFeed { feed: Arc::clone(&before.feed), meta: self.confirmed(&head, &before.meta) })
            }
            (status, _) => {
                let retry_after = retry_after(&head.headers, wall_clock::now());
                Err(FetchError::Status { status, retry_after })
            }
        }
    }

    /// Asks, following redirects within the origin.
    async fn head(&self, key: &Key, before: Option<&CachedFeed>) -> Result<Response<Body>, FetchError> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/json"));
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(ACCEPT_ENCODING));
        headers.insert(header::USER_AGENT, USER_AGENT);
        headers.insert(header::VIA, VIA);
        if let Some(Meta { etag, last_modified, .. }) = before.map(|copy| &copy.meta) {
            headers.extend(etag.clone().map(|etag| (header::IF_NONE_MATCH, etag)));
            headers.extend(last_modified.clone().map(|date| (header::IF_MODIFIED_SINCE, date)));
        }
        let ask = |target: &PathAndQuery| {
            let mut request = Request::new(body::empty());
            headers.clone_into(request.headers_mut());
            (self.wire.send)(target.clone(), request)
        };
        let mut target = key.target();
        for _ in 0..=MAX_REDIRECTS {
            let response = match ask(&target).await {
                // A pooled connection that the other side had closed looks like this, so once more at once.
                Err(UpstreamError { failure: UpstreamFailure::Cut, .. }) => ask(&target).await,
                answer => answer,
            }?;
            let location = match response.status().as_u16() {
                301 | 302 | 303 | 307 | 308 => response.headers().get(header::LOCATION),
                _ => None,
            };
            let Some(location) = location else { return Ok(response) };
            let location = String::from_utf8_lossy(location.as_bytes());
            target = self
                .within_origin(&target, &location)
                .ok_or(FetchError::Redirect { location: location.into() })?;
        }
        Err(FetchError::Redirect { location: target.as_str().into() })
    }

    /// Resolves a `Location` against the target it answers; nothing if it leads to another origin.
    fn within_origin(&self, target: &PathAndQuery, location: &str) -> Option<PathAndQuery> {
        let origin = &self.wire.origin;
        let base = Url::parse(&format!("{}://{}", origin.scheme, origin.authority)).ok()?;
        let url = base.join(target.as_str()).ok()?.join(location).ok()?;
        if url.origin() != base.origin() {
            return None;
        }
        url[url::Position::BeforePath..url::Position::AfterQuery].parse().ok()
    }

    async fn body(
        &self,
        kind: FeedKind,
        headers: &HeaderMap,
        mut incoming: Body,
        deadline: Instant,
        mut publish: impl FnMut(Arrived<'_>),
    ) -> Result<Feed, FetchError> {
        let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
        let coding = codings.next().map(|coding| coding.to_str().unwrap_or("?"));
        let mut decoder = match (Decoder::new(coding, self.max_feed_size), codings.next()) {
            (Some(decoder), None) => decoder,
            _ => return Err(FetchError::Coding),
        };
        let mut builder = Builder::new(kind);
        let mut share = self.budget.share();
        let mut room = vec![0; PIECE];
        let mut unpublished = 0;
        loop {
            let frame = match incoming.frame().now_or_never() {
                Some(frame) if unpublished < PUBLISH_BYTES => frame,
                ready => {
                    unpublished = 0;
                    builder.publish(&mut share, &mut publish)?;
                    match ready {
                        Some(frame) => frame,
                        None => next_frame(&mut incoming, deadline).await?,
                    }
                }
            };
            // A flood that decodes to nothing never pauses, and no size bounds it.
            if Instant::now() >= deadline {
                return Err(UpstreamError::timeout(UpstreamFailure::TotalTimeout(TOTAL_TIMEOUT)).into());
            }
            let ended = frame.is_none();
            match frame.transpose().map_err(|error| UpstreamError::of(&*error))? {
                Some(frame) => decoder.push(frame.into_data().unwrap_or_default()),
                None => {
                    decoder.end();
                    Ok(())
                }
            }
            .map_err(|error| self.decoding(error))?;
            while let Some(piece) = decoder.read(&mut room).map_err(|error| self.decoding(error))? {
                unpublished += piece.len();
                share.grow(COPIES * piece.len())?;
                builder.push(piece)?;
                tokio::task::yield_now().await;
            }
            if ended {
                return builder.finish(share, &mut publish).await;
            }
        }
    }

    fn decoding(&self, error: DecodeError) -> FetchError {
        match error {
            DecodeError::TooLarge => FetchError::TooLarge(self.max_feed_size),
            DecodeError::Corrupt => FetchError::Coding,
        }
    }

    fn meta(&self, head: &Parts) -> Meta {
        let headers = &head.headers;
        let freshness = Freshness::of(headers, wall_clock::now(), self.limits);
        Meta {
            etag: own(headers.get(header::ETAG)),
            last_modified: own(headers.get(header::LAST_MODIFIED)),
            content_type: own(headers.get(header::CONTENT_TYPE)),
            version: head.version,
            refresh_after: refresh_after(freshness, fastrand::f64()),
            freshness,
            held: Duration::ZERO,
            arrived: Instant::now(),
            unconfirmed: Arc::default(),
        }
    }

    /// Renews what is known with the fields of a 304 (RFC 9111 §4.3.4).
    fn confirmed(&self, head: &Parts, before: &Meta) -> Meta {
        let now = self.meta(head);
        Meta {
            etag: now.etag.or_else(|| before.etag.clone()),
            last_modified: now.last_modified.or_else(|| before.last_modified.clone()),
            content_type: now.content_type.or_else(|| before.content_type.clone()),
            ..now
        }
    }
}

/// Copies a value out of the connection's read buffer, of which it would keep hundreds of kilobytes alive.
fn own(value: Option<&HeaderValue>) -> Option<HeaderValue> {
    let value = value.filter(|value| value.len() <= MAX_VALUE)?;
    HeaderValue::from_bytes(value.as_bytes()).ok()
}

/// Chooses when to renew a copy before it expires: late in its remaining life, at a random moment so that many
/// proxies that started together do not ask together. One that was stale on arrival gets half of its lifetime:
/// asking at once would bring the same response again.
fn refresh_after(freshness: Freshness, random: f64) -> Duration {
    let left = freshness.lifetime.saturating_sub(freshness.age);
    if left.is_zero() { freshness.lifetime / 2 } else { left.mul_f64(0.75 + 0.2 * random) }
}

async fn next_frame(
    incoming: &mut Body,
    deadline: Instant,
) -> Result<Option<Result<http_body::Frame<Bytes>, BoxError>>, UpstreamError> {
    let idle = Instant::now() + IDLE_TIMEOUT;
    timeout_at(idle.min(deadline), incoming.frame()).await.map_err(|_| {
        UpstreamError::timeout(match idle < deadline {
            true => UpstreamFailure::IdleTimeout(IDLE_TIMEOUT),
            false => UpstreamFailure::TotalTimeout(TOTAL_TIMEOUT),
        })
    })
}

impl Builder {
    fn new(kind: FeedKind) -> Self {
        match kind {
            FeedKind::Packages => Self::Packages {
                indexer: Box::new(packages::PackagesIndexer::bounded()),
                segments: Vec::new(),
            },
            FeedKind::Categories => Self::Categories(Box::default()),
        }
    }

    fn push(&mut self, piece: &[u8]) -> Result<(), ScanError> {
        match self {
            Self::Packages { indexer, .. } => indexer.push(&Bytes::copy_from_slice(piece)),
            Self::Categories(indexer) => indexer.push(piece),
        }
    }

    /// Hands on what is complete, and pays for its index.
    fn publish(&mut self, share: &mut Share, publish: &mut impl FnMut(Arrived<'_>)) -> Result<(), Exhausted> {
        if let Self::Packages { indexer, segments } = self {
            while let Some(segment) = indexer.take() {
                // Once in the segment, once in the index of the whole.
                share.grow(2 * segment.weight())?;
                publish(Arrived::Segment(&segment));
                segments.push(segment);
            }
        }
        Ok(())
    }

    /// Makes the content. The share goes back when that is done, for then the store counts it.
    async fn finish(
        self,
        mut share: Share,
        publish: &mut impl FnMut(Arrived<'_>),
    ) -> Result<Feed, FetchError> {
        // Copying and hashing megabytes is not for an async thread.
        let content = match self {
            Self::Packages { indexer, mut segments } => {
                let last = indexer.finish()?;
                share.grow(2 * last.weight())?;
                publish(Arrived::Segment(&last));
                segments.push(last);
                // Where there is one processor only, readers get the end before it is busy with the copy.
                tokio::task::yield_now().await;
                blocking::run(move || {
                    let (body, index) = packages::PackagesIndex::assemble(&segments);
                    let content = Feed::new(body, FeedIndex::Packages(index));
                    drop(share);
                    Ok(content)
                })
                .await
            }
            Self::Categories(indexer) => {
                blocking::run(move || {
                    let (body, index) = indexer.finish()?;
                    share.grow(index.weight())?;
                    Ok(Feed::new(body.into(), FeedIndex::Categories(index)))
                })
                .await
            }
        };
        content.unwrap_or(Err(FetchError::Interrupted))
    }
}

#[cfg(test)]
mod tests;
