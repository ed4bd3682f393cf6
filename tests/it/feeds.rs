//! The two feeds: what is shown, from the first byte to the last.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use tokio::sync::Notify;

use crate::client::{self, get, get_request, raw, until};
use crate::proxy::{Proxy, array, free, plesk, vendor};
use crate::upstream::{Script, Step, Upstream, chunk, head_of, ok, status};

const PACKAGES: &str = "/api/v4/packages?platform=unix&with-hidden&with-unstable";
const CATEGORIES: &str = "/api/v4/categories?platform=unix&with-hidden&with-unstable";

fn sample() -> String {
    array(&[
        plesk("wp-toolkit"),
        plesk("imunify360"),
        free("git"),
        vendor("warden"),
        plesk("xovi"),
        plesk("docker"),
    ])
}

fn shown() -> String {
    array(&[plesk("wp-toolkit"), free("git"), vendor("warden"), plesk("docker")])
}

#[tokio::test]
async fn packages_are_filtered_first_and_later() {
    let upstream = Upstream::with_feeds(sample(), "[]").await;
    let proxy = Proxy::start(&upstream).await;
    for _ in 0..3 {
        let answer = proxy.get(PACKAGES).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.text(), shown());
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("vary"), "Accept-Encoding");
        assert_eq!(answer.header("via"), "1.1 catalog-proxy");
    }
    assert_eq!(upstream.count(), 1);
    assert_eq!(upstream.requests()[0].target, PACKAGES);
    proxy.stop().await;
}

#[tokio::test]
async fn every_row_of_the_seller_table() {
    // Element, and whether it is shown.
    let rows: &[(&str, bool)] = &[
        (r#"{"code":"a"}"#, true),
        (r#"{"code":"a","buy_url":null}"#, true),
        (r#"{"code":"a","buy_url":""}"#, true),
        (r#"{"code":"a","buy_url":17}"#, true),
        (r#"{"code":"a","buy_url":["https:\/\/go.plesk.com"]}"#, true),
        (r#"{"code":"a","buy_url":"https:\/\/go.plesk.com.shop.example"}"#, true),
        (r#"{"code":"a","buy_url":"https:\/\/shop.example\/?to=go.plesk.com"}"#, true),
        (r#"{"code":"a","o":{"buy_url":"https:\/\/go.plesk.com"}}"#, true),
        (r#"{"code":"wp-toolkit","buy_url":"https:\/\/go.plesk.com\/x"}"#, true),
        (r#"{"code":"wp\u002dtoolkit","buy_url":"https:\/\/go.plesk.com\/x"}"#, true),
        (r#" {"code" : "a" , "n" : 1.50e+3 , "é" : "\u00e9\/" } "#, true),
        ("12", true),
        ("null", true),
        (r#""https:\/\/go.plesk.com""#, true),
        (r#"[{"code":"a","buy_url":"https:\/\/go.plesk.com"}]"#, true),
        (r#"{"code":"a","buy_url":"https:\/\/go.plesk.com\/x"}"#, false),
        (r#"{"code":"a","buy_url":"HTTP:\/\/GO.Plesk.COM:8443"}"#, false),
        (r#"{"code":"a","buy_url":"\/\/go.plesk.com\/x"}"#, false),
        (r#"{"code":"a","buy_url":" https:\/\/u:p@go.plesk.com\/x "}"#, false),
        (r#"{"code":"a","buy\u005furl":"\u0068ttps:\/\/go\u002eplesk.com"}"#, false),
        (r#"{"code":"WP-Toolkit","buy_url":"https:\/\/go.plesk.com"}"#, false),
        (r#"{"buy_url":"https:\/\/go.plesk.com"}"#, false),
        (r#"{"code":7,"buy_url":"https:\/\/go.plesk.com"}"#, false),
        (r#"{"code":"wp-toolkit","code":"a","buy_url":"https:\/\/go.plesk.com"}"#, false),
        (r#"{"code":"a","buy_url":"","buy_url":"https:\/\/go.plesk.com"}"#, false),
    ];
    let elements = rows.iter().map(|(element, _)| *element).collect::<Vec<_>>().join(",");
    let shown = rows.iter().filter(|(_, shown)| *shown).map(|(element, _)| *element).collect::<Vec<_>>();
    let upstream = Upstream::with_feeds(format!("[{elements}]"), "[]").await;
    let proxy = Proxy::start(&upstream).await;
    for _ in 0..2 {
        assert_eq!(proxy.get(PACKAGES).await.text(), format!("[{}]", shown.join(",")));
    }
}

#[tokio::test]
async fn empty_feeds_stay_empty_arrays() {
    for feed in ["[]", "[ ]", "\n[\t]\n"] {
        let upstream = Upstream::with_feeds(feed, feed).await;
        let proxy = Proxy::start(&upstream).await;
        assert_eq!(proxy.get(PACKAGES).await.text(), feed);
        assert_eq!(proxy.get(CATEGORIES).await.text(), feed);
    }
    let upstream = Upstream::with_feeds(array(&[plesk("xovi")]), "[]").await;
    let proxy = Proxy::start(&upstream).await;
    assert_eq!(proxy.get(PACKAGES).await.text(), "[]");
}

#[tokio::test]
async fn categories_keep_what_the_packages_feed_shows() {
    let categories = r#"[{"code":"a", "top_packages":[{"code":"xovi"},{"code":"git"},{"code":"docker"}]} ,{"code":"b","top_packages":[{"code":"unknown"}]},{"code":"c"}]"#;
    let upstream = Upstream::with_feeds(sample(), categories).await;
    let proxy = Proxy::start(&upstream).await;
    let expected = r#"[{"code":"a", "top_packages":[{"code":"git"},{"code":"docker"}]} ,{"code":"b","top_packages":[]},{"code":"c"}]"#;
    assert_eq!(proxy.get(CATEGORIES).await.text(), expected);
    let mut targets: Vec<_> = upstream.requests().into_iter().map(|request| request.target).collect();
    targets.sort();
    assert_eq!(targets, [CATEGORIES, PACKAGES]);
    // The same list decides for both.
    proxy.allow(&["xovi"]);
    let edited = r#"[{"code":"a", "top_packages":[{"code":"xovi"},{"code":"git"}]} ,{"code":"b","top_packages":[]},{"code":"c"}]"#;
    until("the edit", async || proxy.get(CATEGORIES).await.text() == edited).await;
    assert_eq!(upstream.count(), 2);
}

#[tokio::test]
async fn categories_fail_closed_with_their_packages() {
    let upstream = Upstream::start(|request| match request.target.contains("categories") {
        true => ok(br#"[{"top_packages":[{"code":"xovi"}]}]"#),
        false => status(500, "text/html", b"oops"),
    })
    .await;
    let proxy = Proxy::start(&upstream).await;
    let answer = proxy.get(CATEGORIES).await;
    answer.assert_problem(502);
    assert!(
        answer.text().contains("the packages feed that belongs to the categories cannot be had"),
        "{answer:?}"
    );
    assert!(!answer.text().contains("xovi"));
}

#[tokio::test]
async fn neither_feed_passes_for_the_other() {
    let categories = r#"[{"code":"a","top_packages":[{"code":"xovi"}]}]"#;
    let upstream = Upstream::start(move |request| match request.target.as_str() {
        "/api/v4/packages" | "/api/v4/categories?packages" => ok(sample().as_bytes()),
        "/api/v4/packages?categories" | "/api/v4/categories" => ok(categories.as_bytes()),
        "/api/v4/categories?moved" => {
            vec![head_of(302, "location: /api/v4/packages\r\ncontent-length: 0\r\n")]
        }
        "/api/v4/packages?moved" => {
            vec![head_of(302, "location: /api/v4/categories\r\ncontent-length: 0\r\n")]
        }
        // The same bytes are fine as either.
        _ => ok(b"[{\"code\":\"neither\"}]"),
    })
    .await;
    let proxy = Proxy::start(&upstream).await;
    for _ in 0..2 {
        for target in ["categories?packages", "packages?categories", "categories?moved", "packages?moved"] {
            let answer = proxy.get(&format!("/api/v4/{target}")).await;
            assert!(!answer.text().contains("xovi"), "{target}: {answer:?}");
            answer.assert_problem(502);
        }
        assert_eq!(proxy.get("/api/v4/packages").await.text(), shown());
        assert_eq!(proxy.get("/api/v4/categories").await.text(), r#"[{"code":"a","top_packages":[]}]"#);
        for target in ["/api/v4/categories?same", "/api/v4/packages?same"] {
            assert_eq!(proxy.get(target).await.text(), "[{\"code\":\"neither\"}]");
        }
    }
}

#[tokio::test]
async fn a_fetch_that_fails_is_never_an_empty_reply() {
    let upstream = Upstream::start(|_| {
        let head = head_of(200, "transfer-encoding: chunked\r\n");
        [head].into_iter().chain(b"[1,,2]".map(|byte| chunk(&[byte]))).chain([chunk(b"")]).collect()
    })
    .await;
    let proxy = Proxy::start(&upstream).await;
    for n in 0..100 {
        let request = format!("GET /api/v4/packages?{n} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = raw(proxy.address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 "), "{answer:?}");
        assert!(!answer.ends_with("0\r\n\r\n"), "{answer:?}");
    }
}

#[tokio::test]
async fn any_version_and_query_has_a_copy_of_its_own() {
    let upstream = Upstream::start(|request| ok(format!("[{:?}]", request.target).as_bytes())).await;
    let proxy = Proxy::start(&upstream).await;
    for target in ["/api/v1/packages", "/api/v4/packages", "/api/v4/packages?", "/api/v99/packages?a=%20&&b"]
    {
        for _ in 0..2 {
            assert_eq!(proxy.get(target).await.text(), format!("[{target:?}]"));
        }
    }
    assert_eq!(upstream.count(), 4);
}

/// Media type of [`slow_feed`]: not what the proxy would make up.
const MEDIA_TYPE: &str = "application/vnd.catalog+json; charset=utf-8";

/// Sends one package, waits at the gate, sends the rest.
fn slow_feed(gate: &Arc<Notify>) -> Script {
    vec![
        head_of(200, &format!("content-type: {MEDIA_TYPE}\r\ntransfer-encoding: chunked\r\n")),
        chunk(format!("[{},{}", plesk("xovi"), plesk("wp-toolkit")).as_bytes()),
        Step::Gate(Arc::clone(gate)),
        chunk(format!(",{},{}]", plesk("warden"), free("git")).as_bytes()),
        chunk(b""),
    ]
}

fn slow_shown() -> String {
    array(&[plesk("wp-toolkit"), free("git")])
}

#[tokio::test]
async fn a_crowd_shares_one_fetch_and_reads_while_it_arrives() {
    let gate = Arc::new(Notify::new());
    let script = slow_feed(&gate);
    let upstream = Upstream::start(move |_| script.clone()).await;
    let proxy = Proxy::start(&upstream).await;
    let mut crowd = Vec::new();
    for _ in 0..200 {
        let mut response = client::send(proxy.address, get_request(PACKAGES)).await;
        assert_eq!(response.headers()["content-type"], MEDIA_TYPE);
        let first = response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
        crowd.push((response, first));
    }
    // All have their first package, and the upstream has not ended.
    assert_eq!(upstream.count(), 1);
    // The client that started the fetch hangs up.
    crowd.remove(0);
    gate.notify_one();
    for (response, first) in crowd {
        let rest = client::finish(response).await;
        assert!(!rest.cut);
        assert_eq!([first, rest.body].concat(), slow_shown().as_bytes());
    }
    let warm = proxy.get(PACKAGES).await;
    assert_eq!((warm.text(), warm.header("content-type")), (&*slow_shown(), MEDIA_TYPE));
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_a_length() {
    let gate = Arc::new(Notify::new());
    let script = slow_feed(&gate);
    let upstream = Upstream::start(move |_| script.clone()).await;
    let proxy = Proxy::start(&upstream).await;
    gate.notify_one();
    let answer = raw(proxy.address, format!("GET {PACKAGES} HTTP/1.0\r\n\r\n").as_bytes()).await;
    assert!(answer.contains(&format!("Content-Length: {}\r\n", slow_shown().len())), "{answer}");
    assert!(answer.ends_with(&slow_shown()), "{answer}");
}

#[tokio::test]
async fn a_feed_that_breaks_off_is_cut_for_everyone_and_not_kept() {
    let gate = Arc::new(Notify::new());
    let (first, whole) = (Arc::clone(&gate), sample());
    let upstream = Upstream::start(move |_| {
        vec![
            head_of(200, "content-length: 100000\r\n"),
            Step::Send(whole.as_bytes()[..whole.len() - 1].to_vec()),
            Step::Gate(Arc::clone(&first)),
            Step::Close,
        ]
    })
    .await;
    let proxy = Proxy::start(&upstream).await;
    let mut crowd = Vec::new();
    for _ in 0..5 {
        crowd.push(client::send(proxy.address, get_request(PACKAGES)).await);
    }
    gate.notify_one();
    for response in crowd {
        let answer = client::finish(response).await;
        assert!(answer.cut, "{answer:?}");
        assert!(!answer.text().contains("xovi") && !answer.text().ends_with(']'), "{answer:?}");
    }
    // Shared for a moment, not asked again at once.
    proxy.get(PACKAGES).await.assert_problem(502);
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let upstream = Upstream::with_feeds(sample(), "[]").await;
    let proxy = Proxy::start(&upstream).await;
    let head = Request::builder().method(Method::HEAD).uri(PACKAGES).body(Full::<Bytes>::default()).unwrap();
    let head = client::request(proxy.address, head).await;
    let get = proxy.get(PACKAGES).await;
    assert_eq!((head.status, head.body.len()), (get.status, 0));
    for name in ["content-type", "content-length", "etag", "vary", "cache-control"] {
        assert_eq!(head.headers.get(name), get.headers.get(name), "{name}");
    }
    assert_eq!(get.header("content-length"), shown().len().to_string());
}

#[tokio::test]
async fn a_known_answer_is_not_sent_again() {
    let upstream = Upstream::with_feeds(sample(), "[]").await;
    let proxy = Proxy::start(&upstream).await;
    proxy.get(PACKAGES).await;
    let known = proxy.get(PACKAGES).await;
    // Lines are parted by a bar.
    let ask = |etags: String| {
        let lines = etags.split('|');
        let request =
            lines.fold(Request::get(PACKAGES), |request, line| request.header("if-none-match", line));
        client::request(proxy.address, request.body(Full::default()).unwrap())
    };
    let etag = known.header("etag").to_owned();
    for condition in [
        etag.clone(),
        format!("W/{etag}"),
        format!("\"x\", {etag}"),
        format!("{etag},"),
        format!("\"a b\",\tW/{etag} , \""),
        format!("\"x\"|{etag}"),
        "*".to_owned(),
    ] {
        let answer = ask(condition.clone()).await;
        assert_eq!((answer.status.as_u16(), answer.body.len()), (304, 0), "{condition}");
        for name in ["etag", "vary", "cache-control"] {
            assert_eq!(answer.headers.get(name), known.headers.get(name), "{name}");
        }
    }
    let bare = etag.trim_matches('"');
    for other in
        ["\"other\"", "\"of another time\"", "\"", "", "W/", "\"\u{e9}\"", bare, &format!("w/{etag}")]
    {
        assert_eq!(ask(other.to_owned()).await.text(), shown(), "{other}");
    }
    proxy.allow(&["xovi"]);
    until("a new validator", async || ask(etag.clone()).await.status == 200).await;
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn no_spelling_or_method_yields_the_unfiltered_feed() {
    let whole = sample();
    // An upstream that takes anything for the feed.
    let upstream = Upstream::start(move |_| ok(whole.as_bytes())).await;
    let proxy = Proxy::start(&upstream).await;
    let ask = async |target: &str| {
        raw(
            proxy.address,
            format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes(),
        )
        .await
    };
    for target in [
        "//api/v4/packages",
        "/api/v4/packages/",
        "/API/v4/Packages",
        "/api/v4/packages;x=1",
        "/api/v4/packages/index.html",
        "http://x/api/v4/packages",
    ] {
        let answer = ask(target).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{target}: {answer}");
        assert!(answer.contains("wp-toolkit") && !answer.contains("xovi"), "{target}: {answer}");
    }
    for (target, status, detail) in [
        ("/api/v4/%70ackages", 400, "`%70` at byte 8 (needs no encoding)"),
        ("/api%2fv4%2fpackages", 400, "`%2f` at byte 4 (an encoded slash or backslash)"),
        ("/api/v4/%2570ackages", 400, "`%25` at byte 8 (encoded twice)"),
        ("/api/v4/packages%00", 400, "`%00` at byte 16 (a control character)"),
        ("/api/v4/packages%3b", 400, "`packages` at byte 8 (some servers read a feed's name here)"),
        ("/api/v4/x/../packages", 400, "`.` at byte 10 (a dot segment)"),
        ("/x//y", 400, "`//` at byte 2 (an empty segment)"),
        ("//ext.plesk.com/api/v4/packages", 400, "`//` at byte 0 (an empty segment)"),
        ("/x?r=api/v4/packages", 400, "a part of the query names a feed's path"),
        ("/index.php/api/v4/packages", 404, "no feeds are served under `/index.php`"),
    ] {
        let answer = ask(target).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{target}: {answer}");
        assert!(answer.contains(&format!("{detail}\"")), "{target}: {answer}");
    }
    assert_eq!(upstream.count(), 1, "{:?}", upstream.requests());
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "PROPFIND"] {
        let request =
            Request::builder().method(method).uri("//api/v4/packages/").body(Full::default()).unwrap();
        let answer = client::request(proxy.address, request).await;
        answer.assert_problem(405);
        assert_eq!(answer.header("allow"), "GET, HEAD", "{method}");
    }
}

#[tokio::test]
async fn redirects_of_a_feed_are_followed_inside() {
    let whole = sample();
    let upstream = Upstream::start(move |request| match request.target.as_str() {
        "/api/v4/packages" => vec![head_of(302, "location: /mirror/a?b\r\ncontent-length: 0\r\n")],
        "/mirror/a?b" => vec![head_of(301, "location: c\r\ncontent-length: 0\r\n")],
        "/mirror/c" => ok(whole.as_bytes()),
        "/api/v5/packages" => vec![head_of(307, "location: /api/v5/packages\r\ncontent-length: 0\r\n")],
        "/api/v6/packages" => {
            vec![head_of(302, "location: https://elsewhere.example/\r\ncontent-length: 0\r\n")]
        }
        "/api/v7/packages" => vec![head_of(302, "location: file:///etc/passwd\r\ncontent-length: 0\r\n")],
        "/api/v8/packages" => vec![head_of(302, "content-length: 0\r\n")],
        _ => vec![head_of(302, "location: /api/v4/packages\r\ncontent-length: 0\r\n")],
    })
    .await;
    let proxy = Proxy::start(&upstream).await;
    assert_eq!(proxy.get("/api/v4/packages").await.text(), shown());
    for version in 5..=8 {
        let answer = proxy.get(&format!("/api/v{version}/packages")).await;
        answer.assert_problem(502);
        assert_eq!(answer.header("location"), "");
    }
    // Outside the feeds they are the client's business.
    let answer = get(proxy.address, "/somewhere").await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (302, "/api/v4/packages"));
}

#[tokio::test]
async fn a_stale_copy_is_served_and_renewed_behind_it() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let version = Arc::new(AtomicUsize::new(0));
    let now = Arc::clone(&version);
    let upstream = Upstream::start(move |_| ok(format!("[{}]", now.load(Ordering::SeqCst)).as_bytes())).await;
    let proxy = Proxy::start_with(&upstream.url(), |config| {
        *config.cache.fresh_for = std::time::Duration::from_millis(1);
        config.cache.max_fresh_for = Some(*config.cache.fresh_for);
    })
    .await;
    assert_eq!(proxy.get(PACKAGES).await.text(), "[0]");
    version.store(1, Ordering::SeqCst);
    until("the new feed", async || {
        let answer = proxy.get(PACKAGES).await;
        assert!(answer.text() == "[0]" || answer.text() == "[1]", "{answer:?}");
        answer.text() == "[1]"
    })
    .await;
    let address = upstream.stop().await;
    let answer = proxy.get(PACKAGES).await;
    assert_eq!(answer.text(), "[1]", "with {address} down");
    until("a stale answer", async || {
        proxy.get(PACKAGES).await.header("cache-status").contains("; hit; ttl=-")
    })
    .await;
}

#[tokio::test]
async fn the_upstream_may_compress() {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(sample().as_bytes()).unwrap();
    let body = encoder.finish().unwrap();
    let upstream = Upstream::start(move |request| {
        assert_eq!(request.header("accept-encoding"), Some("zstd, br, gzip"));
        let head = format!("content-encoding: gzip\r\ncontent-length: {}\r\n", body.len());
        vec![head_of(200, &head), Step::Send(body.clone())]
    })
    .await;
    let proxy = Proxy::start(&upstream).await;
    let answer = proxy.get(PACKAGES).await;
    assert_eq!((answer.text(), answer.header("content-encoding")), (shown().as_str(), ""));
}
