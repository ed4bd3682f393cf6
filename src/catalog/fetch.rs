//! One fetch of one feed from the upstream, proved while it arrives.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

use super::Key;
use super::copy::{Content, Copy, Index, Meta};
use super::decode::{ACCEPT_ENCODING, DecodeError, Decoder};
use super::freshness::{Freshness, Policy};
use crate::body;
use crate::feed::packages::Segment;
use crate::feed::scan::ScanError;
use crate::feed::{Kind, categories, packages};
use crate::metrics::Failed;
use crate::upstream::retry_after::retry_after;
use crate::upstream::{Failure, USER_AGENT, Upstream, UpstreamError, VIA};

/// Longest wait for the head of the answer, connecting included: Plesk itself waits some 30 s for a
/// catalog, and there is a categories feed to fetch beside the packages.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest pause within the body.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest whole fetch: one byte a second must not hold a place for hours.
const TOTAL_TIMEOUT: Duration = Duration::from_secs(120);
/// Redirects followed: the vendor uses none today, and one to a mirror path would be plausible.
const MAX_REDIRECTS: usize = 3;
/// Fetches at once; further ones wait in order. The upstream must not see a burst of ours.
const MAX_FETCHES: usize = 16;
/// Bytes that are decoded and scanned at once before others get their turn: that takes some fifty microseconds.
const PIECE: usize = 16 << 10;
/// Elements are handed on at the latest after so many bytes, and whenever the upstream pauses: that is
/// seldom enough to cost little, and a small bad feed is refused before any of it was sent.
const PUBLISH_BYTES: usize = 64 << 10;

/// Fetches feeds.
#[derive(Debug)]
pub struct Fetcher {
    upstream: Upstream,
    places: Semaphore,
    policy: Policy,
    max_feed_size: u64,
}

/// Why there is no new copy.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FetchError {
    /// The upstream could not be asked, or did not answer to the end.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// It answered with another status than 200.
    #[error("the upstream answered with status {}", status.as_u16())]
    Status {
        /// That status.
        status: StatusCode,
        /// When it wants to be asked again (RFC 9110 §10.2.3).
        retry_after: Option<Duration>,
    },
    /// It redirected to where we do not go.
    #[error("the upstream redirected elsewhere")]
    Redirect {
        /// The `Location` field.
        location: Box<str>,
    },
    /// What it sent is no feed.
    #[error("the upstream's feed is not valid: {0}")]
    Invalid(#[from] ScanError),
    /// What it sent is too large.
    #[error("the upstream's feed has more than {0} bytes")]
    TooLarge(u64),
    /// It cannot be decoded.
    #[error("the upstream's feed has a broken or unknown content coding")]
    Coding,
    /// It has suspiciously few elements, and was not yet confirmed.
    #[error("the upstream's feed shrank from {had} to {has} elements, seen {seen} {}", if *.seen == 1 { "time" } else { "times" })]
    Shrunk {
        /// Elements of the copy in service.
        had: usize,
        /// Elements of the new feed.
        has: usize,
        /// How many times in a row.
        seen: u32,
    },
    /// The fetch itself broke off.
    #[error("the fetch was interrupted")]
    Interrupted,
}

/// Collects a body of either kind.
enum Builder {
    Packages { indexer: Box<packages::Indexer>, segments: Vec<Segment> },
    Categories(Box<categories::Indexer>),
}

impl Fetcher {
    /// Makes a fetcher.
    pub fn new(upstream: Upstream, policy: Policy, max_feed_size: u64) -> Self {
        Self { upstream, places: Semaphore::new(MAX_FETCHES), policy, max_feed_size }
    }

    /// Returns how far the upstream is believed.
    pub fn policy(&self) -> Policy {
        self.policy
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
        before: Option<&Copy>,
        publish: impl FnMut(&Segment),
    ) -> Result<Copy, FetchError> {
        let _place = self.places.acquire().await.map_err(|_| FetchError::Interrupted)?;
        let deadline = Instant::now() + TOTAL_TIMEOUT;
        let response = timeout(HEAD_TIMEOUT, self.head(key, before))
            .await
            .map_err(|_| UpstreamError::timeout(Failure::HeadTimeout(HEAD_TIMEOUT)))??;
        let (head, incoming) = response.into_parts();
        match (head.status, before) {
            (StatusCode::OK, _) => {
                let content = self.body(key.kind(), &head.headers, incoming, deadline, publish).await?;
                Ok(Copy { content: Arc::new(content), meta: self.meta(&head.headers) })
            }
            (StatusCode::NOT_MODIFIED, Some(before)) => Ok(Copy {
                content: Arc::clone(&before.content),
                meta: self.confirmed(&head.headers, &before.meta),
            }),
            (status, _) => {
                let retry_after = retry_after(&head.headers, SystemTime::now());
                Err(FetchError::Status { status, retry_after })
            }
        }
    }

    /// Asks, following redirects within the origin.
    async fn head(&self, key: &Key, before: Option<&Copy>) -> Result<Response<Incoming>, FetchError> {
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
            self.upstream.send(target.clone(), request)
        };
        let mut target = key.target();
        for _ in 0..=MAX_REDIRECTS {
            let response = match ask(&target).await {
                // A pooled connection that the other side had closed looks like this, so once more at once.
                Err(UpstreamError { failure: Failure::Cut, .. }) => ask(&target).await,
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
        let origin = self.upstream.origin();
        let base = Url::parse(&format!("{}://{}", origin.scheme, origin.authority)).ok()?;
        let url = base.join(target.as_str()).ok()?.join(location).ok()?;
        if url.origin() != base.origin() {
            return None;
        }
        url[url::Position::BeforePath..url::Position::AfterQuery].parse().ok()
    }

    async fn body(
        &self,
        kind: Kind,
        headers: &HeaderMap,
        mut incoming: Incoming,
        deadline: Instant,
        mut publish: impl FnMut(&Segment),
    ) -> Result<Content, FetchError> {
        let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
        let coding = codings.next().map(|coding| coding.to_str().unwrap_or("?"));
        let mut decoder = match (Decoder::new(coding, self.max_feed_size), codings.next()) {
            (Some(decoder), None) => decoder,
            _ => return Err(FetchError::Coding),
        };
        let mut builder = Builder::new(kind);
        let mut room = vec![0; PIECE];
        let mut unpublished = 0;
        loop {
            let frame = match incoming.frame().now_or_never() {
                Some(frame) if unpublished < PUBLISH_BYTES => frame,
                ready => {
                    unpublished = 0;
                    builder.publish(&mut publish);
                    match ready {
                        Some(frame) => frame,
                        None => next_frame(&mut incoming, deadline).await?,
                    }
                }
            };
            // A flood that decodes to nothing never pauses, and no size bounds it.
            if Instant::now() >= deadline {
                return Err(UpstreamError::timeout(Failure::TotalTimeout(TOTAL_TIMEOUT)).into());
            }
            let ended = frame.is_none();
            match frame.transpose().map_err(|error| UpstreamError::of(&error))? {
                Some(frame) => decoder.push(frame.into_data().unwrap_or_default()),
                None => {
                    decoder.end();
                    Ok(())
                }
            }
            .map_err(|error| self.decoding(error))?;
            while let Some(piece) = decoder.read(&mut room).map_err(|error| self.decoding(error))? {
                unpublished += piece.len();
                builder.push(piece)?;
                tokio::task::yield_now().await;
            }
            if ended {
                return builder.finish(&mut publish).await;
            }
        }
    }

    fn decoding(&self, error: DecodeError) -> FetchError {
        match error {
            DecodeError::TooLarge => FetchError::TooLarge(self.max_feed_size),
            DecodeError::Corrupt => FetchError::Coding,
        }
    }

    fn meta(&self, headers: &HeaderMap) -> Meta {
        let freshness = Freshness::of(headers, SystemTime::now(), self.policy);
        Meta {
            etag: own(headers.get(header::ETAG)),
            last_modified: own(headers.get(header::LAST_MODIFIED)),
            content_type: own(headers.get(header::CONTENT_TYPE)),
            refresh_after: refresh_after(freshness, fastrand::f64()),
            freshness,
            held: Duration::ZERO,
            arrived: Instant::now(),
        }
    }

    /// Renews what is known with the fields of a 304 (RFC 9111 §4.3.4).
    fn confirmed(&self, headers: &HeaderMap, before: &Meta) -> Meta {
        let now = self.meta(headers);
        Meta {
            etag: now.etag.or_else(|| before.etag.clone()),
            last_modified: now.last_modified.or_else(|| before.last_modified.clone()),
            content_type: now.content_type.or_else(|| before.content_type.clone()),
            ..now
        }
    }
}

impl FetchError {
    /// Returns what it is in metrics.
    pub fn failed(&self) -> Failed {
        let (outcome, phase) = match self {
            Self::Upstream(error) => (error.failure.name(), error.failure.phase()),
            Self::Status { .. } => ("status", "content"),
            Self::Redirect { .. } => ("redirect", "content"),
            Self::Invalid(_) => ("invalid", "content"),
            Self::TooLarge(_) => ("too_large", "content"),
            Self::Coding => ("coding", "content"),
            Self::Shrunk { .. } => ("shrunk", "content"),
            Self::Interrupted => ("interrupted", "transfer"),
        };
        Failed { outcome, phase }
    }

    /// Returns the causes for the log, where they say more than the error itself.
    pub fn chain(&self) -> String {
        match self {
            Self::Upstream(error) => error.chain.to_string(),
            Self::Redirect { location } => location.to_string(),
            _ => self.to_string(),
        }
    }
}

/// Copies a value out of the connection's read buffer, of which it would keep hundreds of kilobytes alive.
fn own(value: Option<&HeaderValue>) -> Option<HeaderValue> {
    HeaderValue::from_bytes(value?.as_bytes()).ok()
}

/// Chooses when to renew a copy before it expires: late in its life, at a random moment so that many
/// proxies that began together do not ask together. One that arrived old is given half a life all the same:
/// asking at once would bring it again.
fn refresh_after(freshness: Freshness, random: f64) -> Duration {
    let left = freshness.lifetime.saturating_sub(freshness.age);
    left.mul_f64(0.75 + 0.2 * random).max(freshness.lifetime / 2)
}

async fn next_frame(
    incoming: &mut Incoming,
    deadline: Instant,
) -> Result<Option<Result<http_body::Frame<Bytes>, hyper::Error>>, UpstreamError> {
    let idle = Instant::now() + IDLE_TIMEOUT;
    timeout_at(idle.min(deadline), incoming.frame()).await.map_err(|_| {
        UpstreamError::timeout(match idle < deadline {
            true => Failure::IdleTimeout(IDLE_TIMEOUT),
            false => Failure::TotalTimeout(TOTAL_TIMEOUT),
        })
    })
}

impl Builder {
    fn new(kind: Kind) -> Self {
        match kind {
            Kind::Packages => {
                Self::Packages { indexer: Box::new(packages::Indexer::bounded()), segments: Vec::new() }
            }
            Kind::Categories => Self::Categories(Box::default()),
        }
    }

    fn push(&mut self, piece: &[u8]) -> Result<(), ScanError> {
        match self {
            Self::Packages { indexer, .. } => indexer.push(&Bytes::copy_from_slice(piece)),
            Self::Categories(indexer) => indexer.push(piece),
        }
    }

    fn publish(&mut self, publish: &mut impl FnMut(&Segment)) {
        if let Self::Packages { indexer, segments } = self {
            segments.extend(std::iter::from_fn(|| indexer.take()).inspect(|segment| publish(segment)));
        }
    }

    async fn finish(self, publish: &mut impl FnMut(&Segment)) -> Result<Content, FetchError> {
        // Copying and hashing megabytes is not for an async thread.
        let content = match self {
            Self::Packages { indexer, mut segments } => {
                let last = indexer.finish()?;
                publish(&last);
                segments.push(last);
                // Where there is one processor only, readers get the end before it is busy with the copy.
                tokio::task::yield_now().await;
                spawn_blocking(move || {
                    let (body, index) = packages::Index::assemble(&segments);
                    Ok(Content::new(body, Index::Packages(index)))
                })
            }
            Self::Categories(indexer) => spawn_blocking(move || {
                let (body, index) = indexer.finish()?;
                Ok(Content::new(body.into(), Index::Categories(index)))
            }),
        };
        content.await.unwrap_or(Err(FetchError::Interrupted))
    }
}
