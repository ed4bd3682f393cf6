//! Access log: one line for each request to the service port, whatever the log level.
//!
//! The lines go to standard error like the log, through the same queue: a reader that is stuck costs lines, which are
//! counted, and holds up no answer.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version, header};

use super::request_id::Id;
use super::route::Route;
use crate::cache_status::CacheOutcome;
use crate::cli::AccessLogFormat;
use crate::digest::FileDigest;
use crate::metrics::requests::{BodyEnd, RouteName};
use crate::printable::{escaped_json, log_value, millis};
use crate::shops::ShopName;
use crate::stderr;

/// Longest user agent in a line, in bytes. Plesk's has some 30, browsers' have up to 200; the rest is somebody's joke.
const MAX_USER_AGENT_LEN: usize = 256;

/// Longest path or query in a line, in bytes: as long as the target of a feed may be.
const MAX_PATH_LEN: usize = super::route::MAX_TARGET;

/// Longest other value in a line, in bytes: request ids, entity tags of the upstream, methods that a client made up.
const MAX_VALUE_LEN: usize = 128;

/// Hexadecimal digits of a list's digest: enough to tell the versions of one file apart, as in `git log`.
const LIST_DIGITS: usize = 12;

/// The access log of the service port.
#[derive(Debug, Clone, Copy)]
pub struct AccessLog {
    /// Format of its lines, or that there are none.
    pub format: AccessLogFormat,
    /// True if the service port speaks TLS.
    pub secure: bool,
}

/// What a line says about a request and its answer that nothing else keeps.
#[derive(Debug)]
pub(super) struct AccessFacts {
    log: AccessLog,
    method: Method,
    version: Version,
    user_agent: Option<HeaderValue>,
    /// True if the query may be logged.
    ///
    /// SECURITY: only that of a feed. What is passed on may hold licence numbers (`?kn=`) and tokens.
    has_query: bool,
    /// Shop of a prefix or feed.
    shop: Option<ShopName>,
    list: Option<FileDigest>,
    etag: Option<HeaderValue>,
}

/// What is known about a request at its end.
pub(super) struct EndedAccess<'a> {
    pub(super) facts: &'a AccessFacts,
    pub(super) client: IpAddr,
    pub(super) target: Option<&'a PathAndQuery>,
    pub(super) status: Option<StatusCode>,
    pub(super) bytes: u64,
    pub(super) elapsed: Duration,
    pub(super) end: BodyEnd,
    pub(super) route: RouteName,
    pub(super) outcome: CacheOutcome,
    pub(super) id: &'a Id,
}

impl AccessLog {
    /// Returns true if each request has a line.
    pub(super) fn is_on(self) -> bool {
        self.format != AccessLogFormat::Off
    }

    /// Takes from a request what its line will say; `None` if there will be none.
    pub(super) fn facts<B>(self, route: &Route, request: &Request<B>) -> Option<Box<AccessFacts>> {
        let facts = || {
            let (has_query, shop, list) = match route {
                Route::Feed(wanted) => {
                    let list = wanted.shop.list().map(|list| list.digest);
                    (true, Some(wanted.shop.name.clone()), list)
                }
                Route::Forward { prefix, .. } => (false, prefix.clone(), None),
                Route::Live | Route::Ready | Route::Refused(_) => (false, None, None),
            };
            Box::new(AccessFacts {
                log: self,
                method: request.method().clone(),
                version: request.version(),
                user_agent: request.headers().get(header::USER_AGENT).cloned(),
                has_query,
                shop,
                list,
                etag: None,
            })
        };
        self.is_on().then(facts)
    }
}

impl AccessFacts {
    /// Takes from the head of the response what the line will say.
    pub(super) fn answered(&mut self, headers: &HeaderMap) {
        self.etag = headers.get(header::ETAG).cloned();
    }
}

/// A field's value.
enum FieldValue<'a> {
    Text(Cow<'a, str>),
    Number(u64),
    Millis(f64),
    Flag(bool),
}

impl EndedAccess<'_> {
    /// Writes the line.
    pub(super) fn log(&self, now: SystemTime) {
        stderr::access_line(&self.log_line(now));
    }

    fn log_line(&self, now: SystemTime) -> String {
        let time = humantime::format_rfc3339_micros(now);
        match self.facts.log.format {
            AccessLogFormat::Json => {
                let mut line = format!(r#"{{"timestamp":"{time}","level":"INFO","message":"access""#);
                for (name, value) in self.fields() {
                    // Writing to a string does not fail, here and below.
                    let _ = write!(line, ",\"{name}\":");
                    match value {
                        FieldValue::Text(text) => line += &quoted(&text),
                        value => value.write_plain(&mut line),
                    }
                }
                line + "}\n"
            }
            AccessLogFormat::Text | AccessLogFormat::Off => {
                // The journal has times of its own.
                let mut line =
                    if stderr::is_journal() { "ACCESS".to_owned() } else { format!("{time} ACCESS") };
                for (name, value) in self.fields() {
                    let _ = write!(line, " {name}=");
                    match value {
                        FieldValue::Text(text) => line += &log_value(&text),
                        value => value.write_plain(&mut line),
                    }
                }
                line + "\n"
            }
        }
    }

    /// Returns the fields of the line in their order; those without a value are left out.
    fn fields(&self) -> impl Iterator<Item = (&'static str, FieldValue<'_>)> {
        use FieldValue::{Flag, Millis, Number, Text};
        let facts = self.facts;
        let query = self.target.and_then(PathAndQuery::query).filter(|_| facts.has_query);
        let fields = [
            ("client.addr", Some(Text(self.client.to_string().into()))),
            ("method", Some(Text(cut(facts.method.as_str().into(), MAX_VALUE_LEN)))),
            ("path", Some(Text(cut(self.target.map_or("", PathAndQuery::path).into(), MAX_PATH_LEN)))),
            ("query", query.map(|query| Text(cut(query.into(), MAX_PATH_LEN)))),
            ("protocol", Some(Text(format!("{:?}", facts.version).into()))),
            ("tls", Some(Flag(facts.log.secure))),
            ("status", self.status.map(|status| Number(status.as_u16().into()))),
            ("bytes", Some(Number(self.bytes))),
            ("elapsed_ms", Some(Millis(millis(self.elapsed)))),
            ("end", Some(Text(self.end.name().into()))),
            ("route", Some(Text(self.route.name().into()))),
            ("shop", facts.shop.as_ref().map(|shop| Text(shop.as_str().into()))),
            ("list", facts.list.map(|list| Text(short(list).into()))),
            ("etag", facts.etag.as_ref().map(|etag| Text(lossy(etag, MAX_VALUE_LEN)))),
            ("cache", Some(Text(self.outcome.name().into()))),
            ("user_agent", facts.user_agent.as_ref().map(|agent| Text(lossy(agent, MAX_USER_AGENT_LEN)))),
            ("request_id", Some(Text(self.id.to_string().into()))),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

impl FieldValue<'_> {
    fn write_plain(&self, line: &mut String) {
        let _ = match self {
            Self::Text(text) => line.write_str(text),
            Self::Number(number) => write!(line, "{number}"),
            Self::Millis(millis) => write!(line, "{millis}"),
            Self::Flag(flag) => write!(line, "{flag}"),
        };
    }
}

/// Returns the start of a list's digest.
fn short(list: FileDigest) -> String {
    let mut digits = list.to_string();
    digits.truncate(LIST_DIGITS);
    digits
}

/// Returns a field's value as text, whatever bytes it has.
fn lossy(value: &HeaderValue, max: usize) -> Cow<'_, str> {
    cut(String::from_utf8_lossy(value.as_bytes()), max)
}

/// Cuts a text visibly.
fn cut(text: Cow<'_, str>, max: usize) -> Cow<'_, str> {
    match text.len() > max {
        true => format!("{}…", &text[..text.floor_char_boundary(max)]).into(),
        false => text,
    }
}

/// Returns a text as a string of JSON, with what could break a line or command a terminal escaped.
fn quoted(text: &str) -> String {
    // Strings have no line breaks of their own in JSON, and serialize without fail.
    escaped_json(&serde_json::to_string(text).unwrap_or_default())
}

#[cfg(test)]
mod tests;
