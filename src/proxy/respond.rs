//! Answers that the proxy makes itself: feeds from the cache, and problems.

use std::time::Duration;

use bytes::Bytes;
use headers::{ETag, HeaderMapExt, IfNoneMatch};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::json;
use tokio::time::Instant;

use super::route::READ_METHODS;
use crate::body::{self, Body};
use crate::catalog::copy::{Copy, View};
use crate::catalog::{Freshness, Joined, Key};
use crate::error::Error;
use crate::upstream::VIA;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// Caches on the way must ask each time, so that a whitelist edit shows at once; they get a cheap 304.
const CACHE_CONTROL: HeaderValue = HeaderValue::from_static("no-cache");

/// How the cache served a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheResult {
    /// A copy, fresh or not.
    Copy(Freshness),
    /// A fetch that this request started or joined.
    Miss(Joined),
}

impl CacheResult {
    /// Returns its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Copy(Freshness::Fresh) => "hit",
            Self::Copy(Freshness::Stale) => "stale",
            Self::Miss(_) => "miss",
        }
    }
}

/// Answers with a view, or with 304 if the client has it.
pub fn view(request: &HeaderMap, key: &Key, copy: &Copy, view: &View, result: CacheResult) -> Response<Body> {
    let now = Instant::now();
    let etag = format!("\"{}\"", view.digest);
    let mut response = head(key, copy.meta.content_type.as_ref(), result, Some(ttl(copy, now)));
    let headers = response.headers_mut();
    headers.insert(header::AGE, copy.age(now).as_secs().into());
    let matches = etag.parse::<ETag>().is_ok_and(|etag| {
        headers.typed_insert(etag.clone());
        request.typed_get::<IfNoneMatch>().is_some_and(|known| !known.precondition_passes(&etag))
    });
    if matches {
        headers.remove(header::CONTENT_TYPE);
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        headers.insert(header::CONTENT_LENGTH, view.body.len().into());
        *response.body_mut() = body::full(view.body.clone());
    }
    response
}

/// Answers with a feed that is still arriving: no length and no validator yet.
pub fn stream(key: &Key, feed: Body, joined: Joined) -> Response<Body> {
    let mut response = head(key, None, CacheResult::Miss(joined), None);
    *response.body_mut() = feed;
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
        "type": format!("urn:problem-type:catalog-proxy:{}", answer.problem),
        "title": answer.title,
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
    let allow = match error {
        Error::MethodNotAllowed { allow } => allow,
        _ => return response,
    };
    headers.insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

/// The error of a method that feeds and probes do not answer.
pub const METHOD_NOT_ALLOWED: Error = Error::MethodNotAllowed { allow: READ_METHODS };

fn head(
    key: &Key,
    content_type: Option<&HeaderValue>,
    result: CacheResult,
    ttl: Option<i64>,
) -> Response<Body> {
    let mut response = Response::new(body::empty());
    let headers = response.headers_mut();
    let json = HeaderValue::from_static("application/json");
    headers.insert(header::CONTENT_TYPE, content_type.cloned().unwrap_or(json));
    headers.insert(header::CACHE_CONTROL, CACHE_CONTROL);
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    headers.insert(header::VIA, VIA);
    insert(headers, CACHE_STATUS, &cache_status(key, result, ttl));
    response
}

/// Writes the field of RFC 9211.
fn cache_status(key: &Key, result: CacheResult, ttl: Option<i64>) -> String {
    let mut status = "catalog-proxy; ".to_owned();
    status += match result {
        CacheResult::Copy(Freshness::Fresh) => "hit",
        CacheResult::Copy(Freshness::Stale) => "fwd=stale",
        CacheResult::Miss(Joined::Started) => "fwd=miss; stored",
        CacheResult::Miss(Joined::Collapsed) => "fwd=miss; collapsed",
    };
    if let Some(ttl) = ttl {
        status += &format!("; ttl={ttl}");
    }
    // A structured-field string is printable ASCII (RFC 8941 §3.3.3).
    if key.as_str().bytes().all(|byte| matches!(byte, 0x20..=0x7e)) {
        status += &format!("; key=\"{}\"", key.as_str().replace('\\', "\\\\").replace('"', "\\\""));
    }
    status
}

/// Returns the remaining freshness lifetime in seconds, negative if it is over.
fn ttl(copy: &Copy, now: Instant) -> i64 {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    copy.fresh_for(now).map_or_else(|| -seconds(copy.stale_since(now)), seconds)
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
