//! Who has the list in force: which answers count, and who is behind after an edit.

use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::sync::Notify;

use crate::client::{self, Answer, until};
use crate::metrics::value;
use crate::proxy::{Proxy, array, list, plesk};
use crate::upstream::{Step, Upstream, chunk, head_of, ok, status};

const PACKAGES: &str = "/api/v4/packages";

/// Servers of one shop: current, and behind.
type Counts = (u32, u32);

fn feed() -> String {
    array(&["wp-toolkit", "docker", "xovi"].map(plesk))
}

/// Starts a proxy that believes the test about who asks.
async fn start(upstream: &Upstream) -> Proxy {
    Proxy::start_with(&upstream.url(), |config| *config.trusted = vec!["127.0.0.0/8".parse().unwrap()]).await
}

/// A request of the server with this number.
fn request(target: &str, server: u8) -> http::request::Builder {
    Request::get(target).header("x-forwarded-for", format!("192.0.2.{server}"))
}

async fn send(proxy: &Proxy, request: http::request::Builder) -> Answer {
    client::request(proxy.address, request.body(Full::default()).unwrap()).await
}

async fn ask(proxy: &Proxy, server: u8) -> Answer {
    let answer = send(proxy, request(PACKAGES, server)).await;
    assert_eq!(answer.status, StatusCode::OK);
    answer
}

async fn metric(proxy: &Proxy, series: &str) -> f64 {
    value(client::get(proxy.admin, "/metrics").await.text(), series)
}

async fn counts_of(proxy: &Proxy, shop: &str) -> Counts {
    let scrape = client::get(proxy.admin, "/metrics").await;
    let of = |state: &str| value(scrape.text(), &format!("catalog_proxy_servers_{state}{{shop=\"{shop}\"}}"));
    (of("current") as u32, of("behind") as u32)
}

async fn waits_for(proxy: &Proxy, expected: Counts) {
    until(&format!("{expected:?}"), async || counts_of(proxy, "default").await == expected).await;
}

/// Checks that nothing so far counted, by one more answer that does: it is recorded later.
async fn nothing_counted(proxy: &Proxy) {
    ask(proxy, 200).await;
    until("an answer that counts", async || counts_of(proxy, "default").await != (0, 0)).await;
    assert_eq!(counts_of(proxy, "default").await, (1, 0));
}

async fn generation_is(proxy: &Proxy, expected: f64) {
    let series = "catalog_proxy_whitelist_generation{shop=\"default\"}";
    until(&format!("generation {expected}"), async || metric(proxy, series).await == expected).await;
}

/// Waits until `count` responses with packages were left before their end.
async fn were_left(proxy: &Proxy, count: f64) {
    let series = "catalog_proxy_responses_broken_off_total{route=\"packages\",end=\"dropped\"}";
    let scrape = async || client::get(proxy.admin, "/metrics").await.text().to_owned();
    until("an end that is noticed", async || {
        scrape().await.lines().any(|line| line == format!("{series} {count}"))
    })
    .await;
}

#[tokio::test]
async fn complete_answers_of_the_shop_view_count() {
    let upstream = Upstream::with_feeds(feed(), "[]").await;
    let proxy = start(&upstream).await;
    assert_eq!(counts_of(&proxy, "default").await, (0, 0));
    let answer = ask(&proxy, 1).await;
    waits_for(&proxy, (1, 0)).await;
    ask(&proxy, 1).await;
    ask(&proxy, 2).await;
    waits_for(&proxy, (2, 0)).await;
    // A server that has it already.
    let known = send(&proxy, request(PACKAGES, 3).header("if-none-match", answer.header("etag"))).await;
    assert_eq!(known.status, StatusCode::NOT_MODIFIED);
    waits_for(&proxy, (3, 0)).await;
    // As Plesk asks for the shop window, in a coding.
    let window = format!("{PACKAGES}?with-details=link&platform=unix&with-hidden&with-unstable&locale=en-US");
    let answer = send(&proxy, request(&window, 4).header("accept-encoding", "gzip, identity;q=0")).await;
    assert_eq!((answer.status, answer.header("content-encoding")), (StatusCode::OK, "gzip"));
    waits_for(&proxy, (4, 0)).await;
    proxy.stop().await;
}

#[tokio::test]
async fn what_is_no_complete_answer_of_the_shop_view_counts_for_nothing() {
    let upstream = Upstream::start(|request| match request.target.split('?').next().unwrap() {
        "/api/v4/packages" => ok(feed().as_bytes()),
        "/api/v4/categories" => ok(b"[]"),
        "/api/v5/packages" => status(500, "text/plain", b"broken"),
        _ => status(200, "text/plain", b"ok"),
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("bad.toml"), "extensions = 1").unwrap();
    let path = directory.path().to_owned();
    let proxy = Proxy::start_with(&upstream.url(), |config| {
        *config.trusted = vec!["127.0.0.0/8".parse().unwrap()];
        config.shops = Some(path.into());
    })
    .await;
    let check = async |target: &str,
                       change: &dyn Fn(http::request::Builder) -> http::request::Builder,
                       status: u16| {
        let answer = send(&proxy, change(request(target, 1))).await;
        assert_eq!(answer.status, status, "{target}");
    };
    let as_is = |request| request;
    check(PACKAGES, &|request| request.method("HEAD"), 200).await;
    check(PACKAGES, &|request| request.method("POST"), 405).await;
    check("/api/v4/packages?platform=unix&with-hidden&with-unstable", &as_is, 200).await;
    check("/api/v4/categories", &as_is, 200).await;
    check("/other", &as_is, 200).await;
    check("/api/v5/packages", &as_is, 502).await;
    check("/silver/api/v4/packages", &as_is, 404).await;
    check("/bad/api/v4/packages", &as_is, 503).await;
    for monitor in ["kube-probe/1.31", "check_http/v2.3.5 (monitoring-plugins 2.3.5)", "catalog-proxy/9.9.9"]
    {
        check(PACKAGES, &|request| request.header("user-agent", monitor), 200).await;
    }
    nothing_counted(&proxy).await;
    let scrape = client::get(proxy.admin, "/metrics").await;
    assert!(!scrape.text().contains("servers_current{shop=\"bad\"}"), "it has no list to be behind");
    proxy.stop().await;
}

/// A feed that no socket's buffers hold.
fn large_feed() -> String {
    let text = "x".repeat(64 << 10);
    array(&vec![format!("{{\"code\":\"large\",\"text\":{text:?}}}"); 160])
}

#[tokio::test]
async fn a_client_that_hangs_up_in_the_middle_counts_for_nothing() {
    let upstream = Upstream::with_feeds(large_feed(), "[]").await;
    let proxy = start(&upstream).await;
    // To fill the cache; monitors count for nothing.
    let filled = send(&proxy, request(PACKAGES, 9).header("user-agent", "Zabbix")).await;
    assert_eq!((filled.status, filled.body.len()), (StatusCode::OK, large_feed().len()));

    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(16 << 10).unwrap();
    let mut stream = socket.connect(proxy.address).await.unwrap();
    let head = format!("GET {PACKAGES} HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 192.0.2.1\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut start = [0; 4096];
    stream.read_exact(&mut start).await.unwrap();
    assert!(start.starts_with(b"HTTP/1.1 200 OK\r\n"));
    drop(stream);
    were_left(&proxy, 1.0).await;

    let mut response = http2(proxy.address, request(PACKAGES, 2)).await;
    response.body_mut().frame().await.expect("a frame").expect("data");
    drop(response);
    were_left(&proxy, 2.0).await;
    nothing_counted(&proxy).await;
    proxy.stop().await;
}

/// Sends a request over HTTP/2 with prior knowledge.
async fn http2(
    address: SocketAddr,
    request: http::request::Builder,
) -> http::Response<hyper::body::Incoming> {
    let client = Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Full<Bytes>>();
    let mut request = request.body(Full::default()).unwrap();
    *request.uri_mut() = format!("http://{address}{}", request.uri()).parse().unwrap();
    client.request(request).await.unwrap()
}

#[tokio::test]
async fn answers_over_http2_count() {
    let upstream = Upstream::with_feeds(feed(), "[]").await;
    let proxy = start(&upstream).await;
    for server in [1, 2] {
        let answer = client::finish(http2(proxy.address, request(PACKAGES, server)).await).await;
        assert_eq!((answer.status, answer.cut), (StatusCode::OK, false));
        waits_for(&proxy, (server.into(), 0)).await;
    }
    proxy.allow(&["docker"]);
    waits_for(&proxy, (0, 2)).await;
    client::finish(http2(proxy.address, request(PACKAGES, 2)).await).await;
    waits_for(&proxy, (1, 1)).await;
    proxy.stop().await;
}

/// An upstream that sends the first package, and the rest once the gate opens; its second answer breaks off there.
async fn gated() -> (Upstream, Arc<Notify>) {
    let gate = Arc::new(Notify::new());
    let opened = Arc::clone(&gate);
    let upstream = Upstream::start(move |request| {
        let mut steps = vec![
            head_of(200, "content-type: application/json\r\ntransfer-encoding: chunked\r\n"),
            chunk(format!("[{},", plesk("docker")).as_bytes()),
            Step::Gate(Arc::clone(&opened)),
        ];
        match request.target.contains("broken") {
            true => steps.push(Step::Close),
            false => steps.extend([chunk(format!("{}]", plesk("xovi")).as_bytes()), chunk(b"")]),
        }
        steps
    })
    .await;
    (upstream, gate)
}

#[tokio::test]
async fn a_first_fetch_that_is_streamed_counts_when_it_is_complete() {
    let (upstream, gate) = gated().await;
    let proxy = start(&upstream).await;
    let begin = async |target: &str, server: u8| {
        client::send(proxy.address, request(target, server).body(Full::default()).unwrap()).await
    };
    // Broken off by the upstream.
    let broken = begin("/api/v4/packages?broken", 1).await;
    gate.notify_one();
    assert!(client::finish(broken).await.cut);

    let complete = begin(PACKAGES, 2).await;
    assert_eq!(complete.status(), StatusCode::OK);
    assert_eq!(counts_of(&proxy, "default").await, (0, 0));
    gate.notify_one();
    assert!(!client::finish(complete).await.cut);
    waits_for(&proxy, (1, 0)).await;
    proxy.stop().await;
}

#[tokio::test]
async fn an_answer_that_began_before_an_edit_and_ends_after_it_is_behind() {
    let (upstream, gate) = gated().await;
    let proxy = start(&upstream).await;
    let early = client::send(proxy.address, request(PACKAGES, 1).body(Full::default()).unwrap()).await;
    proxy.allow(&["docker", "xovi"]);
    generation_is(&proxy, 2.0).await;
    // Begins and ends with the new list.
    let late = client::send(proxy.address, request(PACKAGES, 2).body(Full::default()).unwrap()).await;
    gate.notify_one();
    assert_eq!(client::finish(early).await.text(), array(&[plesk("docker")]));
    assert_eq!(client::finish(late).await.text(), array(&["docker", "xovi"].map(plesk)));
    waits_for(&proxy, (1, 1)).await;
    proxy.stop().await;
}

#[tokio::test]
async fn only_edits_that_change_the_shop_view_leave_servers_behind() {
    let upstream = Upstream::with_feeds(feed(), "[]").await;
    let proxy = start(&upstream).await;
    ask(&proxy, 1).await;
    waits_for(&proxy, (1, 0)).await;
    let shown = list(&["wp-toolkit", "docker"]);
    let edits = [
        format!("# a comment\n{shown}"),
        format!("{shown}retired = [\"xovi\"]\n"),
        format!("{shown}hidden = [\"xovi\"]\n"),
        list(&["wp-toolkit", "docker", "not-in-the-catalog"]),
    ];
    for (n, text) in edits.iter().enumerate() {
        fs::write(proxy.whitelist(), text).unwrap();
        generation_is(&proxy, 2.0 + n as f64).await;
    }
    // The last one but this is judged by now, for reloads are judged one after the other.
    fs::write(proxy.whitelist(), &shown).unwrap();
    generation_is(&proxy, 6.0).await;
    assert_eq!(counts_of(&proxy, "default").await, (1, 0));

    fs::write(proxy.whitelist(), list(&["wp-toolkit"])).unwrap();
    waits_for(&proxy, (0, 1)).await;
    // There and back is no excuse.
    fs::write(proxy.whitelist(), &shown).unwrap();
    generation_is(&proxy, 8.0).await;
    fs::write(proxy.whitelist(), format!("{shown}# a comment\n")).unwrap();
    generation_is(&proxy, 9.0).await;
    assert_eq!(counts_of(&proxy, "default").await, (0, 1));
    ask(&proxy, 1).await;
    waits_for(&proxy, (1, 0)).await;
    proxy.stop().await;
}

#[tokio::test]
async fn a_new_feed_leaves_nobody_behind() {
    let upstream = Upstream::start(|request| match request.target.contains("new") {
        true => ok(array(&["wp-toolkit", "new"].map(plesk)).as_bytes()),
        false => ok(feed().as_bytes()),
    })
    .await;
    let proxy = start(&upstream).await;
    ask(&proxy, 1).await;
    let answer = send(&proxy, request("/api/v4/packages?new", 2)).await;
    assert_eq!(answer.text(), array(&[plesk("wp-toolkit")]));
    waits_for(&proxy, (2, 0)).await;
    // What any feed in the cache shows counts.
    proxy.allow(&["wp-toolkit", "docker", "new"]);
    waits_for(&proxy, (0, 2)).await;
    proxy.stop().await;
}

#[tokio::test]
async fn shops_count_apart() {
    let upstream = Upstream::with_feeds(feed(), "[]").await;
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("gold.toml"), list(&["xovi"])).unwrap();
    let path = directory.path().to_owned();
    let proxy = Proxy::start_with(&upstream.url(), |config| config.shops = Some(path.into())).await;
    // Nobody is believed about who asks, so both are one address.
    send(&proxy, request("/gold/api/v4/packages", 1)).await;
    send(&proxy, request("/gold/api/v4/packages", 2)).await;
    ask(&proxy, 1).await;
    waits_for(&proxy, (1, 0)).await;
    assert_eq!(counts_of(&proxy, "gold").await, (1, 0));
    fs::write(directory.path().join("gold.toml"), list(&["docker"])).unwrap();
    until("gold is behind", async || counts_of(&proxy, "gold").await == (0, 1)).await;
    assert_eq!(counts_of(&proxy, "default").await, (1, 0));
    proxy.stop().await;
}
