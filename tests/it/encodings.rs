//! Content codings and validators.

use http::{Method, Request};
use http_body_util::Full;

use crate::client::{self, Answer, until};
use crate::proxy::{Proxy, array, free, plesk};
use crate::upstream::Upstream;

const PACKAGES: &str = "/api/v4/packages";

fn feed() -> (String, String) {
    let free: Vec<_> = (0..50).map(|n| free(&format!("extension-{n}"))).collect();
    let whole = [free.clone(), vec![plesk("xovi")]].concat();
    (array(&whole), array(&free))
}

async fn ask(proxy: &Proxy, method: Method, fields: &[(&str, &str)]) -> Answer {
    let mut request = Request::builder().method(method).uri(PACKAGES);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    client::request(proxy.address, request.body(Full::default()).unwrap()).await
}

async fn get(proxy: &Proxy, accept: &str) -> Answer {
    ask(proxy, Method::GET, &[("accept-encoding", accept)]).await
}

/// Decodes with the codecs' own one-shot readers.
fn decode(answer: &Answer) -> String {
    use std::io::Read;
    let mut text = String::new();
    let body = answer.body.as_ref();
    match answer.header("content-encoding") {
        "gzip" => flate2::read::GzDecoder::new(body).read_to_string(&mut text),
        "br" => brotli::Decompressor::new(body, 4096).read_to_string(&mut text),
        "zstd" => zstd::Decoder::new(body).unwrap().read_to_string(&mut text),
        "" => return answer.text().to_owned(),
        other => panic!("{other}"),
    }
    .unwrap();
    text
}

#[tokio::test]
async fn each_coding_comes_once_it_is_made() {
    let (whole, shown) = feed();
    let upstream = Upstream::with_feeds(whole, "[]").await;
    let proxy = Proxy::start(&upstream).await;
    let mut etags = vec![get(&proxy, "identity").await.header("etag").to_owned()];
    for coding in ["gzip", "br", "zstd"] {
        until(coding, async || {
            let answer = get(&proxy, coding).await;
            // Plain until then, never late.
            assert_eq!(decode(&answer), shown);
            assert_eq!(answer.header("vary"), "Accept-Encoding");
            answer.header("content-encoding") == coding
        })
        .await;
        let answer = get(&proxy, coding).await;
        assert_eq!(answer.header("content-length"), answer.body.len().to_string());
        assert!(answer.body.len() < shown.len() / 2);
        let head = ask(&proxy, Method::HEAD, &[("accept-encoding", coding)]).await;
        for name in ["content-length", "content-encoding", "etag", "vary"] {
            assert_eq!(head.headers.get(name), answer.headers.get(name), "{name}");
        }
        etags.push(answer.header("etag").to_owned());
    }
    let plain = get(&proxy, "identity").await;
    etags[0] = plain.header("etag").to_owned();
    assert_eq!(plain.header("content-encoding"), "");
    let distinct: std::collections::HashSet<_> = etags.iter().collect();
    assert_eq!(distinct.len(), 4, "{etags:?}");
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn a_validator_is_known_in_its_coding_only() {
    let (whole, _) = feed();
    let upstream = Upstream::with_feeds(whole, "[]").await;
    let proxy = Proxy::start(&upstream).await;
    get(&proxy, "gzip").await;
    until("gzip", async || get(&proxy, "gzip").await.header("content-encoding") == "gzip").await;
    let etag = get(&proxy, "gzip").await.header("etag").to_owned();
    let known = ask(&proxy, Method::GET, &[("accept-encoding", "gzip, br"), ("if-none-match", &etag)]).await;
    assert_eq!((known.status.as_u16(), known.header("etag")), (304, etag.as_str()));
    assert_eq!((known.header("vary"), known.header("cache-control")), ("Accept-Encoding", "no-cache"));
    let other = ask(&proxy, Method::GET, &[("accept-encoding", "identity"), ("if-none-match", &etag)]).await;
    assert_eq!(other.status, 200);
}

#[tokio::test]
async fn validators_are_of_the_content_alone() {
    let (whole, _) = feed();
    let upstream = Upstream::with_feeds(whole, "[]").await;
    let mut etags = Vec::new();
    for _ in 0..2 {
        let proxy = Proxy::start(&upstream).await;
        get(&proxy, "identity").await;
        etags.push(get(&proxy, "identity").await.header("etag").to_owned());
        proxy.stop().await;
    }
    assert!(etags[0].len() > 30 && etags[0] == etags[1], "{etags:?}");
}

#[tokio::test]
async fn a_client_that_refuses_the_plain_body_waits_for_a_coding() {
    let (whole, shown) = feed();
    let upstream = Upstream::with_feeds(whole, "[]").await;
    let proxy = Proxy::start(&upstream).await;
    let answer = get(&proxy, "br, identity;q=0").await;
    assert_eq!((answer.header("content-encoding"), decode(&answer)), ("br", shown.clone()));
    // Nothing acceptable is no reason to refuse.
    let answer = get(&proxy, "*;q=0").await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("content-encoding"), answer.text()),
        (200, "", shown.as_str())
    );
}

#[tokio::test]
async fn a_range_is_not_served() {
    let (whole, shown) = feed();
    let upstream = Upstream::with_feeds(whole, "[]").await;
    let proxy = Proxy::start(&upstream).await;
    for _ in 0..2 {
        let answer = ask(&proxy, Method::GET, &[("range", "bytes=0-9")]).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, shown.as_str()));
    }
}
