//! Responses that the proxy makes itself: feeds from the cache, probes and problems.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::json;
use tokio::time::Instant;

use super::route::READ_METHODS;
use crate::body::{self, Body};
use crate::cache::Key;
use crate::cache::cached_feed::{CachedFeed, Meta};
use crate::cache::encode::Encoding;
use crate::cache::freshness::Freshness;
use crate::cache::view::View;
use crate::cache_status::CacheOutcome;
use crate::error::Error;
use crate::upstream::{VIA, via};
use crate::wall_clock;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Media type of a feed for which the upstream sends none.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Most header fields of a response from the cache.
const MAX_FIELDS: usize = 12;

/// How long clients may keep a feed without asking again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caching {
    /// `None`: they ask each time and get a cheap 304, so that a whitelist edit shows at once.
    pub max_age: Option<Duration>,
}

/// A coding, or `None` for the plain body.
pub type Form = Option<Encoding>;

/// What the head of a response says about the feed that it is made of.
#[derive(Debug, Clone, Copy)]
pub struct FeedHead<'a> {
    key: &'a Key,
    outcome: CacheOutcome,
    meta: &'a Meta,
    /// What is left of the freshness lifetime in seconds, negative if it is over.
    ttl: i64,
    /// Time since the feed was fetched or last validated.
    age: Duration,
}

impl<'a> FeedHead<'a> {
    /// Returns the head for a feed that is in the cache, or has just been fetched.
    pub fn whole(key: &'a Key, outcome: CacheOutcome, cached: &'a CachedFeed) -> Self {
        let now = Instant::now();
        Self { key, outcome, meta: &cached.meta, ttl: cached.ttl(now), age: cached.resident(now) }
    }

    /// Returns the head for a feed that is still arriving.
    pub fn arriving(key: &'a Key, outcome: CacheOutcome, meta: &'a Meta) -> Self {
        let Freshness { lifetime, age } = meta.freshness;
        let ttl = i64::try_from(lifetime.saturating_sub(age).as_secs()).unwrap_or(i64::MAX);
        Self { key, outcome, meta, ttl, age: Duration::ZERO }
    }
}

/// Finds the form of a view that the client has already, among those it accepts.
pub fn known(
    request: &HeaderMap,
    view: &View,
    mut forms: impl Iterator<Item = Form> + Clone,
) -> Option<Form> {
    // Nearly always it is one that we gave, as it was. Parsing the field takes 8 % more instructions for a 304.
    let given = request.get(header::IF_NONE_MATCH)?;
    if let Some(form) = forms.clone().find(|form| view.etag(*form) == given) {
        return Some(form);
    }
    forms.find(|form| lists(request, view.etag(*form)))
}

/// Returns true if `If-None-Match` is `*` or lists the tag, weak or strong (RFC 9110 §13.1.2).
///
/// The `headers` crate panics in debug builds on a tag that no server may send, such as one with a blank. Ours have no
/// comma, so what stands between two commas is one of ours or not, whatever the others are.
fn lists(request: &HeaderMap, etag: &HeaderValue) -> bool {
    let lines = request.get_all(header::IF_NONE_MATCH).into_iter().map(HeaderValue::as_bytes);
    lines
        .flat_map(|line| line.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .any(|member| member == b"*" || member.strip_prefix(b"W/").unwrap_or(member) == etag.as_bytes())
}

/// Answers that the client has the view already (RFC 9110 §15.4.5).
pub fn not_modified(caching: Caching, feed: FeedHead<'_>, view: &View, form: Form) -> Response<Body> {
    let mut response = head(caching, feed);
    response.headers_mut().insert(header::ETAG, view.etag(form).clone());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}

/// Answers with a view, in one of its forms.
pub fn view(caching: Caching, feed: FeedHead<'_>, view: &View, form: Form, bytes: Bytes) -> Response<Body> {
    let mut response = head(caching, feed);
    let headers = response.headers_mut();
    headers.insert(header::ETAG, view.etag(form).clone());
    headers.insert(header::CONTENT_TYPE, content_type(feed.meta));
    headers.insert(header::CONTENT_LENGTH, bytes.len().into());
    if let Some(encoding) = form {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
    }
    *response.body_mut() = body::full(bytes);
    response
}

/// Answers with a feed that is still arriving: no length and no validator yet.
pub fn stream(caching: Caching, feed: FeedHead<'_>, body: Body) -> Response<Body> {
    let mut response = head(caching, feed);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type(feed.meta));
    *response.body_mut() = body;
    response
}

fn content_type(meta: &Meta) -> HeaderValue {
    meta.content_type.clone().unwrap_or(JSON)
}

/// Returns when a feed of this age was fetched, as far as HTTP has dates for it.
fn fetched_at(age: Duration) -> SystemTime {
    wall_clock::now().checked_sub(age).map_or(UNIX_EPOCH, |at| at.max(UNIX_EPOCH))
}

/// Makes the head that all responses with a feed share.
fn head(caching: Caching, feed: FeedHead<'_>) -> Response<Body> {
    let mut response = Response::new(body::empty());
    // With room for all fields, those still to come included: growing takes 4 % more instructions for a 304.
    let mut headers = HeaderMap::with_capacity(MAX_FIELDS);
    match caching.max_age {
        None => {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            insert(&mut headers, header::DATE, &httpdate::fmt_http_date(fetched_at(feed.age)));
            headers.insert(header::AGE, feed.age.as_secs().into());
        }
        // Caches of every make count from the date or from receipt; with neither an older date nor an age both is now.
        Some(max_age) => {
            let max_age = format!("public, max-age={}", max_age.as_secs());
            insert(&mut headers, header::CACHE_CONTROL, &max_age);
        }
    }
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    headers.insert(header::VIA, via(feed.meta.version));
    headers.insert(CACHE_STATUS, feed.outcome.field(feed.key.as_str(), feed.ttl));
    *response.headers_mut() = headers;
    response
}

/// Marks a feed that depends on the host, because some shop is served by that.
pub fn vary_by_host(mut response: Response<Body>) -> Response<Body> {
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept-Encoding, Host"));
    response
}

/// Answers a probe or the like.
pub fn plain(status: StatusCode, content_type: &'static str, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(body::full(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Answers with what went wrong (RFC 9457), in words fit for a client.
pub fn problem(error: &Error) -> Response<Body> {
    let answer = error.answer();
    let text = json!({
        // With this type the title is the status' own phrase (RFC 9457 §4.2.1); the detail says more.
        "type": "about:blank",
        "title": answer.status.canonical_reason(),
        "status": answer.status.as_u16(),
        "detail": error.to_string(),
    });
    let mut response = plain(answer.status, "application/problem+json", format!("{text}\n"));
    let mut status = format!("catalog-proxy; error={}", answer.proxy_status);
    if let Some(received) = error.received_status() {
        status += &format!("; received-status={}", received.as_u16());
    }
    let headers = response.headers_mut();
    insert(headers, PROXY_STATUS, &status);
    headers.insert(header::VIA, VIA);
    if let Some(pause) = error.retry_after() {
        headers.insert(header::RETRY_AFTER, retry_after(pause).into());
    }
    match error {
        Error::MethodNotAllowed { allow } => {
            headers.insert(header::ALLOW, HeaderValue::from_static(allow));
        }
        // SECURITY: what comes after it may be part of it.
        Error::Ambiguous(_) => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response
}

/// The error of a method that feeds and probes do not answer.
pub const METHOD_NOT_ALLOWED: Error = Error::MethodNotAllowed { allow: READ_METHODS };

/// Returns a pause in whole seconds, never so few that it is asked too early.
fn retry_after(pause: Duration) -> u64 {
    pause.as_secs() + u64::from(pause.subsec_nanos() > 0 || pause.is_zero())
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_told_to_come_back_too_early() {
        for (millis, seconds) in [(0, 1), (1, 1), (999, 1), (1000, 1), (1001, 2), (60_000, 60)] {
            assert_eq!(retry_after(Duration::from_millis(millis)), seconds, "{millis} ms");
        }
    }
}
