//! Answers that the proxy makes itself: feeds from the cache, and problems.

use std::fmt::Write;
use std::time::Duration;

use bytes::Bytes;
use headers::{ETag, HeaderMapExt, IfNoneMatch};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use serde_json::json;
use tokio::time::Instant;

use super::route::READ_METHODS;
use crate::body::{self, Body};
use crate::catalog::copy::{Copy, View};
use crate::catalog::encode::Encoding;
use crate::catalog::flight::Kept;
use crate::catalog::{Arrival, Freshness, Joined, Key};
use crate::error::Error;
use crate::upstream::VIA;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// The media type of feeds, if the upstream does not tell.
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Room for the fields of an answer from the cache.
const FIELDS: usize = 12;

/// What clients may keep without asking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caching {
    /// For how long; if not at all, they ask each time and get a cheap 304, so that a whitelist edit shows
    /// at once.
    pub max_age: Option<Duration>,
}

/// A coding, or none for the plain body.
pub type Form = Option<Encoding>;

/// A feed that is served, and how it came.
#[derive(Debug, Clone, Copy)]
pub struct Served<'a> {
    /// Which.
    pub key: &'a Key,
    /// The copy behind it.
    pub copy: &'a Copy,
    /// How the copy came.
    pub arrival: Arrival,
}

/// Finds the form of a view that the client has already, among those it accepts.
pub fn known(
    request: &HeaderMap,
    view: &View,
    mut forms: impl Iterator<Item = Form> + Clone,
) -> Option<Form> {
    // Nearly always it is one that we gave, as it was.
    let given = request.get(header::IF_NONE_MATCH)?;
    if let Some(form) = forms.clone().find(|form| view.etag(*form) == given) {
        return Some(form);
    }
    let condition: IfNoneMatch = request.typed_get()?;
    forms.find(|form| {
        let etag = view.etag(*form).to_str().ok().and_then(|etag| etag.parse::<ETag>().ok());
        etag.is_some_and(|etag| !condition.precondition_passes(&etag))
    })
}

/// Answers that the client has the view already (RFC 9110 §15.4.5).
pub fn not_modified(caching: Caching, served: Served<'_>, view: &View, form: Form) -> Response<Body> {
    let mut response = represent(caching, served, view, form);
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    response
}

/// Answers with a view, in one of its forms.
pub fn view(caching: Caching, served: Served<'_>, view: &View, form: Form, bytes: Bytes) -> Response<Body> {
    let mut response = represent(caching, served, view, form);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, served.copy.meta.content_type.clone().unwrap_or(JSON));
    headers.insert(header::CONTENT_LENGTH, bytes.len().into());
    if let Some(encoding) = form {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
    }
    *response.body_mut() = body::full(bytes);
    response
}

/// Answers with a feed that is still arriving: no length and no validator yet.
pub fn stream(caching: Caching, key: &Key, feed: Body, joined: Joined) -> Response<Body> {
    // Whether it will be kept shows at its end only.
    let arrival = Arrival::Fetched(joined, Kept::NotStored);
    let mut response = head(caching, Duration::ZERO, cache_status(key, arrival, None));
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    *response.body_mut() = feed;
    response
}

fn represent(caching: Caching, served: Served<'_>, view: &View, form: Form) -> Response<Body> {
    let Served { key, copy, arrival } = served;
    let now = Instant::now();
    let age = copy.age(now);
    let mut response = head(caching, age, cache_status(key, arrival, Some(ttl(copy, now))));
    let headers = response.headers_mut();
    headers.insert(header::AGE, age.as_secs().into());
    headers.insert(header::ETAG, view.etag(form).clone());
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
        // Whole seconds, and never so few that it is asked too early.
        let seconds = pause.as_secs() + u64::from(pause.subsec_nanos() > 0);
        headers.insert(header::RETRY_AFTER, seconds.max(1).into());
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

fn head(caching: Caching, age: Duration, cache_status: HeaderValue) -> Response<Body> {
    let mut response = Response::new(body::empty());
    // It does not grow field by field, nor does it for those that are still to come.
    let mut headers = HeaderMap::with_capacity(FIELDS);
    match caching.max_age {
        None => drop(headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"))),
        // Caches count from the age that they are told.
        Some(max_age) => {
            let max_age = format!("public, max-age={}", age.as_secs() + max_age.as_secs());
            insert(&mut headers, header::CACHE_CONTROL, &max_age);
        }
    }
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    headers.insert(header::VIA, VIA);
    headers.insert(CACHE_STATUS, cache_status);
    *response.headers_mut() = headers;
    response
}

/// Writes the field of RFC 9211.
fn cache_status(key: &Key, arrival: Arrival, ttl: Option<i64>) -> HeaderValue {
    let key = key.as_str();
    let mut status = String::with_capacity(key.len() + 80);
    status += match arrival {
        Arrival::Copy(Freshness::Fresh) => "catalog-proxy; hit",
        Arrival::Copy(Freshness::Stale) => "catalog-proxy; fwd=stale",
        Arrival::Fetched(Joined::Started, Kept::Stored) => "catalog-proxy; fwd=miss; stored",
        Arrival::Fetched(Joined::Started, Kept::NotStored) => "catalog-proxy; fwd=miss",
        Arrival::Fetched(Joined::Collapsed, _) => "catalog-proxy; fwd=miss; collapsed",
    };
    if let Some(ttl) = ttl {
        // Writing to a string does not fail.
        let _ = write!(status, "; ttl={ttl}");
    }
    // A structured-field string is printable ASCII (RFC 8941 §3.3.3).
    if key.bytes().all(|byte| matches!(byte, 0x20..=0x7e)) {
        status += "; key=\"";
        for part in key.split_inclusive(['"', '\\']) {
            match part.as_bytes() {
                [.., mark @ (b'"' | b'\\')] => {
                    status += &part[..part.len() - 1];
                    status.push('\\');
                    status.push(char::from(*mark));
                }
                _ => status += part,
            }
        }
        status.push('"');
    }
    HeaderValue::from_str(&status).unwrap_or(HeaderValue::from_static("catalog-proxy"))
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
