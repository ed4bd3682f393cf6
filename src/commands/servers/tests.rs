//! Tests against a made-up admin port.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread::{self, JoinHandle};

use super::*;
use crate::config::ProxyVariables;

/// What docs/json.md shows.
fn report() -> &'static str {
    let section = include_str!("../../../docs/json.md").split("\n## `servers`\n").nth(1).expect("a section");
    section.split("```json\n").nth(1).and_then(|rest| rest.split("\n```").next()).expect("an example")
}

/// Answers one request; returns its URL, and the request's head in the end.
fn admin_port(status: &'static str, content_type: &'static str, body: &str) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let answer = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: {content_type}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    );
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a head");
            head.push(byte[0]);
        }
        stream.write_all(answer.as_bytes()).expect("a write");
        String::from_utf8(head).expect("text")
    });
    (url, server)
}

fn ask_at(url: &str, shop: Option<&str>, token: Option<&str>) -> Result<ServersReport, String> {
    let at = AdminUrl::parse(url).expect("a URL");
    let outbound = Outbound::new(&at.origin, &ProxyVariables::default()).expect("a way");
    let client = Upstream::new(at.origin.clone(), None, outbound).expect("a client");
    let token = token.map(|token| bearer(token.as_bytes()).expect("a token"));
    block_on(ask(&client, &at, shop, token)).expect("a runtime")
}

#[test]
fn asks_for_what_was_typed_and_reads_the_answer() {
    let check = |base: &str, shop: Option<&str>, token: Option<&str>, target: &str| {
        let (url, server) = admin_port("200", "application/json", report());
        let asked = ask_at(&format!("{url}{base}"), shop, token).expect("an answer");
        assert_eq!(asked, serde_json::from_str(report()).expect("a report"));
        let head = server.join().expect("a request").to_lowercase();
        assert!(head.starts_with(&format!("get {target} http/1.1\r\n")), "{head}");
        assert!(head.contains("\r\nuser-agent: catalog-proxy/"), "{head}");
        let field = token.map(|token| format!("\r\nauthorization: bearer {token}\r\n").to_lowercase());
        assert_eq!(head.contains("\r\nauthorization:"), token.is_some(), "{head}");
        assert!(field.is_none_or(|field| head.contains(&field)), "{head}");
    };
    check("", None, None, "/api/v1/servers");
    check("/", Some("gold"), Some("s3cret-s3cret"), "/api/v1/servers?shop=gold");
    check("/ops/catalog/", None, Some("x"), "/ops/catalog/api/v1/servers");
}

#[test]
fn what_goes_wrong_is_said_with_what_to_do() {
    let check = |status, content_type, body: &str, shop, token: Option<&str>, expected: &str| {
        let (url, server) = admin_port(status, content_type, body);
        let error = ask_at(&url, shop, token).expect_err("an error");
        assert!(error.contains(expected), "{error:?} says nothing about {expected:?}");
        assert!(!error.contains("s3cret") && !error.contains('\x1b'), "{error}");
        server.join().expect("a request");
    };
    let problem = "application/problem+json";
    let detail = r#"{"status":403,"detail":"only \u001b[31mviewers"}"#;
    check("401", problem, "{}", None, None, "put yours into the variable CATALOG_PROXY_ADMIN_TOKEN");
    check("401", problem, "{}", None, Some("s3cret"), "does not know the token in CATALOG_PROXY_ADMIN_TOKEN");
    check("403", problem, detail, None, Some("s3cret"), "not allowed (403): only \u{fffd}[31mviewers");
    check("404", "text/plain", "Here are /livez.\n", None, None, "is this the admin port of a catalog-proxy");
    check("404", problem, r#"{"detail":"no such shop"}"#, Some("gold"), None, "gold: no such shop (404)");
    check(
        "421",
        problem,
        r#"{"detail":"see --admin-host"}"#,
        None,
        None,
        "421 Misdirected Request: see --admin-host",
    );
    check("302", "text/html", "", None, Some("s3cret"), "302 Found");
    check("200", "text/html", "<html>", None, None, "none about servers");
    check("200", "application/json", r#"{"format":2,"packages":[]}"#, None, None, "none about servers");
    check("200", "application/json", r#"{"format":3,"servers":[]}"#, None, None, "format 3");
}

#[test]
fn a_port_where_nobody_listens_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    drop(listener);
    assert!(ask_at(&url, None, None).expect_err("nobody").starts_with("nothing listens there"));
}

#[test]
fn urls_and_tokens_are_checked_before_anything_is_sent() {
    let check = |url: &str, expected: Result<&str, &str>| match (AdminUrl::parse(url), expected) {
        (Ok(at), Ok(expected)) => assert_eq!(at.to_string(), expected),
        (Err(error), Err(expected)) => {
            assert_eq!(error.code, super::super::WRONG);
            assert!(
                error.message.starts_with("--admin-url: ") && error.message.contains(expected),
                "{error}"
            );
        }
        (at, _) => panic!("{url}: {at:?}"),
    };
    check("http://proxy:8081", Ok("http://proxy:8081"));
    check("https://ops.example/catalog/", Ok("https://ops.example/catalog"));
    check("http://[::1]:8081/", Ok("http://[::1]:8081"));
    check("proxy:8081", Err("has no scheme"));
    check("ftp://proxy", Err("neither http nor https"));
    check("http://me:pw@proxy", Err("without user and password"));
    check("http://proxy/?shop=gold", Err("a query has no meaning"));
    check("not a url", Err("is not a URL"));
    for url in ["http://127.0.0.1:8081", "http://[::1]", "http://localhost:1", "https://proxy"] {
        assert!(!AdminUrl::parse(url).expect(url).is_readable_by_others(), "{url}");
    }
    assert!(AdminUrl::parse("http://proxy:8081").expect("a URL").is_readable_by_others());
    assert!(bearer(b"abc_-123").expect("a token").is_sensitive());
    for token in [&b"two words"[..], b"line\n", "\u{e9}".as_bytes()] {
        assert!(!bearer(token).expect_err("no token").message.contains("two"));
    }
    for name in ["default", "gold"] {
        assert_eq!(check_shop(name), Ok(()));
    }
    assert_eq!(check_shop("Gold").expect_err("no name").code, super::super::WRONG);
    assert!(AdminUrl::of(Admin::Off).is_err());
    let any = AdminUrl::of(Admin::Required("0.0.0.0:9".parse().expect("an address")));
    assert_eq!(any.expect("a URL").to_string(), "http://127.0.0.1:9");
}

#[test]
fn the_document_shows_what_is_printed() {
    let parsed: ServersReport = serde_json::from_str(report()).expect("a report");
    assert_eq!(serde_json::to_string_pretty(&parsed).expect("JSON"), report());
    // Members that are not known yet do no harm.
    let newer = report().replace("\"shop\": \"gold\",", "\"shop\": \"gold\", \"new\": 1,");
    assert_eq!(serde_json::from_str::<ServersReport>(&newer).expect("a report"), parsed);
}

#[test]
fn people_get_rows_and_totals() {
    let report: ServersReport = serde_json::from_str(report()).expect("a report");
    assert_eq!(
        text(&report, Terminal::default()),
        "SHOP     ADDRESS      STATE    LAST SEEN             BEHIND SINCE\n\
         default  192.0.2.1    current  2026-12-01T10:00:00Z\n\
         gold     2001:db8::1  behind   2026-12-01T09:00:00Z  2026-12-01T09:30:00Z\n\n\
         default: 1 current, 0 behind; last changed 2026-11-01T00:00:00Z\n\
         gold: 0 current, 1 behind; last changed 2026-12-01T09:45:00Z\n\
         counting since 2026-11-01T00:00:00Z\n"
    );
}
