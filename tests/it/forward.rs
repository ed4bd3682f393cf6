//! Requests for anything but a feed are streamed through unchanged.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt, Full};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::client::{self, get, get_request, raw, until};
use crate::clock::Clock;
use crate::proxy::Proxy;
use crate::upstream::{Step, Upstream, chunk, head_of, status};

#[tokio::test]
async fn status_headers_and_body_pass_as_they_are() {
    let upstream = Upstream::start(|_| {
        let fields = "content-type: text/html\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nx-odd: \"q\"\r\ncontent-length: 5\r\n\
                      connection: x-hop\r\nx-hop: 1\r\nkeep-alive: timeout=9\r\n";
        vec![head_of(418, fields), Step::Send(b"short".to_vec())]
    })
    .await;
    let proxy = Proxy::start(&upstream).await;
    let answer = get(proxy.address, "/icons/wp-toolkit.svg?v=1&&%zz").await;
    assert_eq!((answer.status.as_u16(), answer.text()), (418, "short"));
    assert_eq!(answer.header("content-length"), "5");
    assert_eq!(answer.headers.get_all("set-cookie").iter().collect::<Vec<_>>(), ["a=1", "b=2"]);
    assert_eq!(answer.header("x-odd"), "\"q\"");
    assert_eq!(answer.header("via"), "1.1 catalog-proxy");
    assert_eq!(answer.header("x-hop"), "");
    assert_eq!(answer.header("keep-alive"), "");
    assert_eq!(upstream.requests()[0].target, "/icons/wp-toolkit.svg?v=1&&%zz");
}

#[tokio::test]
async fn requests_pass_with_the_client_told() {
    let upstream = Upstream::start(|_| status(200, "text/plain", b"ok")).await;
    let proxy = Proxy::start(&upstream).await;
    let request = Request::builder()
        .method("PURGE")
        .uri("/x")
        .header("host", "shop.example")
        .header("x-forwarded-for", "198.51.100.7")
        .header("connection", "x-hop")
        .header("x-hop", "1")
        .header("accept-encoding", "br")
        .body(Full::new(Bytes::from_static(b"payload")))
        .unwrap();
    client::request(proxy.address, request).await;
    let seen = upstream.requests().remove(0);
    assert_eq!((seen.method.as_str(), seen.body.as_slice()), ("PURGE", b"payload".as_slice()));
    assert_eq!(seen.header("host"), Some(upstream.address.to_string().as_str()));
    assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(seen.header("x-forwarded-proto"), Some("http"));
    assert_eq!(seen.header("x-forwarded-host"), Some("shop.example"));
    assert_eq!(seen.header("via"), Some("1.1 catalog-proxy"));
    assert_eq!(seen.header("accept-encoding"), Some("br"));
    assert_eq!(seen.header("content-length"), Some("7"));
    assert_eq!(seen.header("x-hop"), None);
}

#[tokio::test]
async fn head_keeps_the_length_of_a_body_that_is_not_sent() {
    let upstream = Upstream::start(|_| vec![head_of(200, "content-length: 123456\r\nx-a: 1\r\n")]).await;
    let proxy = Proxy::start(&upstream).await;
    let request =
        Request::builder().method(Method::HEAD).uri("/file.zip").body(Full::<Bytes>::default()).unwrap();
    let answer = client::request(proxy.address, request).await;
    assert_eq!((answer.header("content-length"), answer.header("x-a")), ("123456", "1"));
    assert_eq!(upstream.requests()[0].method, "HEAD");
}

#[tokio::test]
async fn bodies_stream_in_both_directions() {
    let gate = Arc::new(Notify::new());
    let opened = Arc::clone(&gate);
    let upstream = Upstream::start(move |_| {
        vec![
            head_of(200, "transfer-encoding: chunked\r\n"),
            chunk(b"first"),
            Step::Gate(Arc::clone(&opened)),
            chunk(b"second"),
            chunk(b""),
        ]
    })
    .await;
    let proxy = Proxy::start(&upstream).await;
    let mut response = client::send(proxy.address, get_request("/stream")).await;
    let first = response.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(first, "first");
    gate.notify_one();
    assert_eq!(client::finish(response).await.text(), "second");
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let upstream = Upstream::start(|_| {
        vec![
            head_of(200, "transfer-encoding: chunked\r\ntrailer: x-sum\r\n"),
            chunk(b"body"),
            Step::Send(b"0\r\nx-sum: 42\r\n\r\n".to_vec()),
        ]
    })
    .await;
    let proxy = Proxy::start(&upstream).await;
    let answer = raw(
        proxy.address,
        b"POST /x HTTP/1.1\r\nhost: x\r\nte: trailers\r\nconnection: te, close\r\ntrailer: x-check\r\n\
          transfer-encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\nx-check: 7\r\n\r\n",
    )
    .await;
    assert!(answer.contains("Trailer: x-sum\r\n"), "{answer}");
    assert!(answer.ends_with("4\r\nbody\r\n0\r\nX-Sum: 42\r\n\r\n"), "{answer}");
    let seen = upstream.requests().remove(0);
    assert_eq!(seen.trailers, [("x-check".to_owned(), "7".to_owned())]);
    assert_eq!(seen.header("te"), Some("trailers"));
}

#[tokio::test]
async fn an_expectation_is_met_by_the_proxy() {
    let upstream = Upstream::start(|_| status(200, "text/plain", b"ok")).await;
    let proxy = Proxy::start(&upstream).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    let head = b"PUT /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\nexpect: 100-continue\r\ncontent-length: 4\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let mut interim = [0; 25];
    stream.read_exact(&mut interim).await.unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"body").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(upstream.requests()[0].body, b"body");
}

#[tokio::test]
async fn the_head_of_a_broken_answer_arrives() {
    let upstream =
        Upstream::start(|_| vec![head_of(200, "content-length: 10\r\nx-a: 1\r\n"), Step::Close]).await;
    let proxy = Proxy::start(&upstream).await;
    for _ in 0..50 {
        let answer = get(proxy.address, "/file").await;
        assert!(answer.cut && answer.header("x-a") == "1", "{answer:?}");
    }
}

#[tokio::test]
async fn an_upload_that_breaks_off_is_not_the_upstreams_fault() {
    let upstream = Upstream::start(|_| status(200, "text/plain", b"ok")).await;
    let proxy = Proxy::start(&upstream).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream
        .write_all(b"POST /x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nnonsense")
        .await
        .unwrap();
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
}

#[tokio::test]
async fn an_answer_has_the_version_of_its_own_hop() {
    let upstream = Upstream::start(|_| {
        vec![Step::Send(b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec()), Step::Close]
    })
    .await;
    let proxy = Proxy::start(&upstream).await;
    let answer = raw(proxy.address, b"GET /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_client_that_reads_nothing_is_cut() {
    const SIZE: u64 = 256 << 20;
    let upstream =
        Upstream::start(|_| vec![head_of(200, &format!("content-length: {SIZE}\r\n")), Step::Fill(SIZE)])
            .await;
    let proxy = Proxy::start(&upstream).await;
    let clock = Clock::stop();
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.write_all(b"GET /big HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    until("the request", async || upstream.count() == 1).await;
    // All buffers fill at some moment here, and half a minute passes after that.
    for _ in 0..50 {
        let pause = std::time::Duration::from_millis(20);
        tokio::task::spawn_blocking(move || std::thread::sleep(pause)).await.unwrap();
        clock.jump(std::time::Duration::from_secs(20)).await;
    }
    let mut block = vec![0; 1 << 20];
    let mut len = 0;
    while let Ok(read @ 1..) = stream.read(&mut block).await {
        len += read as u64;
    }
    assert!(len < SIZE, "it got all of it");
}

#[tokio::test]
async fn a_broken_answer_stays_broken() {
    let upstream = Upstream::start(|_| {
        vec![head_of(200, "content-length: 10\r\n"), Step::Send(b"half".to_vec()), Step::Close]
    })
    .await;
    let proxy = Proxy::start(&upstream).await;
    let answer = get(proxy.address, "/file").await;
    assert!(answer.cut, "{answer:?}");
}

#[tokio::test]
async fn an_upstream_that_is_down_is_a_problem() {
    let address = Upstream::start(|_| Vec::new()).await.stop().await;
    let proxy = Proxy::start_with(&format!("http://{address}"), |_| ()).await;
    for target in ["/x", "/api/v4/packages", "/api/v4/categories"] {
        let answer = get(proxy.address, target).await;
        answer.assert_problem(502);
        assert_eq!(answer.header("proxy-status"), "catalog-proxy; error=connection_refused");
        assert!(!answer.text().contains("127.0.0.1"), "{answer:?}");
    }
    let unknown = Proxy::start_with("http://no-such-host.invalid", |_| ()).await;
    let answer = get(unknown.address, "/x").await;
    answer.assert_problem(502);
    assert_eq!(answer.header("proxy-status"), "catalog-proxy; error=dns_error");
}

#[tokio::test]
async fn connect_and_the_like_are_refused() {
    let upstream = Upstream::start(|_| status(200, "text/plain", b"leaked")).await;
    let proxy = Proxy::start(&upstream).await;
    for (request, status) in [
        ("CONNECT example.com:443 HTTP/1.1", 501),
        ("TRACE / HTTP/1.1", 501),
        ("TRACE /api/v4/packages HTTP/1.1", 405),
        ("OPTIONS * HTTP/1.1", 405),
    ] {
        let answer =
            raw(proxy.address, format!("{request}\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        assert_eq!(answer.to_lowercase().contains("\r\nallow:"), status == 405, "{request}: {answer}");
    }
    assert_eq!(upstream.count(), 0);
}

#[tokio::test]
async fn via_says_in_which_version_a_message_was_received() {
    let old = b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok".to_vec();
    let upstream = Upstream::start(move |_| vec![Step::Send(old.clone()), Step::Close]).await;
    let proxy = Proxy::start(&upstream).await;
    let answer = raw(proxy.address, b"GET /x HTTP/1.0\r\nhost: x\r\n\r\n").await;
    assert!(answer.contains("\r\nVia: 1.0 catalog-proxy\r\n"), "{answer}");
    assert_eq!(upstream.requests()[0].header("via"), Some("1.0 catalog-proxy"));
}

#[tokio::test]
async fn field_names_are_in_title_case_over_http_1() {
    let upstream = Upstream::with_feeds("[1]", "[]").await;
    let proxy = Proxy::start(&upstream).await;
    for (address, target) in
        [(proxy.address, "/api/v4/packages"), (proxy.address, "/x"), (proxy.admin, "/metrics")]
    {
        let request = format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        let answer = raw(address, request.as_bytes()).await;
        assert!(answer.contains("\r\nContent-Length: "), "{answer}");
        assert!(answer.contains("\r\nContent-Type: "), "{answer}");
    }
}
