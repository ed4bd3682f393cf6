//! Whatever a client sends, its line is one line with the fields that it should have.

use std::time::UNIX_EPOCH;

use http::HeaderMap;
use serde_json::{Map, Value, json};

use super::*;
use crate::printable::is_plain;
use crate::shops::Shops;

/// Returns the line for a request that was answered with 200 and this tag.
fn line(format: AccessLogFormat, request: &Request<()>, etag: Option<&[u8]>) -> String {
    let shops = Shops::of_texts(Some("extensions = []"), &[("gold", "extensions = []")]).expect("shops");
    let route = Route::of(request.method(), request.uri(), None, &shops);
    let log = AccessLog { format, secure: false };
    let mut facts = log.facts(&route, request).expect("a log");
    let mut answer = HeaderMap::new();
    answer.extend(etag.map(|etag| (header::ETAG, HeaderValue::from_bytes(etag).expect("a value"))));
    facts.answered(&answer);
    let mut headers = HeaderMap::new();
    headers.insert("x-request-id", HeaderValue::from_static("id-1"));
    let ended = EndedAccess {
        facts: &facts,
        client: "2001:db8::1".parse().expect("an address"),
        target: request.uri().path_and_query(),
        status: Some(StatusCode::OK),
        bytes: 12,
        elapsed: Duration::from_micros(1500),
        end: BodyEnd::Finished,
        route: route.name(),
        outcome: CacheOutcome::Unused,
        id: &Id::of(&headers),
    };
    let line = ended.log_line(UNIX_EPOCH);
    let (line, rest) = line.split_once('\n').expect("an end");
    assert!(rest.is_empty() && line.chars().all(is_plain), "{line:?}{rest:?}");
    line.to_owned()
}

fn get(target: &str, user_agent: &[u8]) -> Request<()> {
    let agent = HeaderValue::from_bytes(user_agent).expect("a value");
    Request::get(target).header(header::USER_AGENT, agent).body(()).expect("a request")
}

fn fields(request: &Request<()>, etag: Option<&[u8]>) -> Map<String, Value> {
    serde_json::from_str(&line(AccessLogFormat::Json, request, etag)).expect("JSON")
}

#[test]
fn a_line_has_its_fields_in_order() {
    let request = get("/gold/api/v4/packages?platform=unix&with-hidden", b"Plesk 18.0");
    // printf 'extensions = []' | sha256sum
    let list = &FileDigest::of(b"extensions = []").to_string()[..LIST_DIGITS];
    assert_eq!(
        line(AccessLogFormat::Text, &request, Some(b"\"tag\"")),
        format!(
            "1970-01-01T00:00:00.000000Z ACCESS client.addr=2001:db8::1 method=GET path=/gold/api/v4/packages \
             query=\"platform=unix&with-hidden\" protocol=HTTP/1.1 tls=false status=200 bytes=12 elapsed_ms=1.5 \
             end=finished route=packages shop=gold list={list} etag=\"\\\"tag\\\"\" cache=none \
             user_agent=\"Plesk 18.0\" request_id=id-1"
        )
    );
    let expected = json!({
        "timestamp": "1970-01-01T00:00:00.000000Z", "level": "INFO", "message": "access",
        "client.addr": "2001:db8::1", "method": "GET", "path": "/gold/api/v4/packages",
        "query": "platform=unix&with-hidden", "protocol": "HTTP/1.1", "tls": false, "status": 200, "bytes": 12,
        "elapsed_ms": 1.5, "end": "finished", "route": "packages", "shop": "gold", "list": list,
        "etag": "\"tag\"", "cache": "none", "user_agent": "Plesk 18.0", "request_id": "id-1"
    });
    assert_eq!(Value::Object(fields(&request, Some(b"\"tag\""))), expected);
}

#[test]
fn a_query_is_that_of_a_feed_or_is_left_out() {
    let check = |target: &str, query: Option<&str>, shop: Option<&str>| {
        let fields = fields(&get(target, b"x"), None);
        let text = |name: &str| fields.get(name).map(|value| value.as_str().expect("text"));
        assert_eq!((text("query"), text("shop")), (query, shop), "{target}");
        assert!(!Value::Object(fields.clone()).to_string().contains("secret"), "{fields:?}");
    };
    check("/api/v4/packages", None, Some("default"));
    check("/api/v4/categories?version=1", Some("version=1"), Some("default"));
    check("/buy?kn=secret", None, None);
    check("/gold/buy?kn=secret", None, Some("gold"));
    check("/livez?secret", None, None);
    // Refused: the path is no feed's, or none of a shop's.
    check("/api/v4//packages?kn=secret", None, None);
    check("/silver/api/v4/packages?kn=secret", None, None);
    check("/x?next=/api/v4/packages&kn=secret", None, None);
    check("http://me:secret@proxy/api/v4/packages?a", Some("a"), Some("default"));
}

#[test]
fn a_hostile_user_agent_stays_in_its_field() {
    let check = |sent: &[u8], text: &str, json: &str| {
        let request = get("/x", sent);
        let line = line(AccessLogFormat::Text, &request, None);
        assert!(line.ends_with(&format!(" user_agent={text} request_id=id-1")), "{line}");
        assert_eq!(fields(&request, None)["user_agent"], json);
    };
    check(b"curl/8.0", "curl/8.0", "curl/8.0");
    check(b"", "\"\"", "");
    check(b"a\" status=500 \"b", r#""a\" status=500 \"b""#, "a\" status=500 \"b");
    check(b"back\\slash", r"back\\slash", "back\\slash");
    check(b"tab\there", r"tab\there", "tab\there");
    check(b"bad \xff\xfe", "\"bad \u{fffd}\u{fffd}\"", "bad \u{fffd}\u{fffd}");
    check("\u{9b}31m\u{202e}\u{2028}".as_bytes(), r"\u{9b}31m\u{202e}\u{2028}", "\u{9b}31m\u{202e}\u{2028}");
    let long = "ü".repeat(500);
    let cut = format!("{}…", &long[..MAX_USER_AGENT_LEN]);
    check(long.as_bytes(), &cut, &cut);
}

#[test]
fn the_longest_line_is_not_cut() {
    let odd = "\u{85}".repeat(4000);
    let request =
        get(&format!("/api/v4/packages?{}", &odd[..MAX_PATH_LEN - 20]), "\u{85}".repeat(4000).as_bytes());
    let etag = "\u{85}".repeat(4000);
    assert!(line(AccessLogFormat::Json, &request, Some(etag.as_bytes())).len() < stderr::MAX_LINE_LEN);
    let request = Request::builder().method(&*"M".repeat(4000)).uri(format!("/{odd}")).body(()).expect("one");
    assert_eq!(fields(&request, None)["method"].as_str().expect("text").len(), MAX_VALUE_LEN + "…".len());
}
