//! HTTP/2 with prior knowledge: its limits, and clients that stall.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Uri};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{PATIENCE, get, until};
use crate::clock::Clock;
use crate::frames::{
    CONTINUATION, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, frame,
};
use crate::proxy::Proxy;
use crate::upstream::{Step, Upstream, head_of, status};

/// Fields as they are, neither indexed nor Huffman coded (RFC 7541 §6.2.2).
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127);
            block.push(text.len() as u8);
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

const GET_X: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/x"), (":authority", "a")];

/// A connection that writes any frames.
struct Raw(TcpStream);

impl Raw {
    async fn connect(proxy: &Proxy) -> Self {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.unwrap();
        stream.write_all(&frame(SETTINGS, 0, 0, b"")).await.unwrap();
        Self(stream)
    }

    /// Writes the same bytes until the peer takes no more; returns the number of writes.
    async fn flood(&mut self, most: usize, mut frame: impl FnMut(u32) -> Vec<u8>) -> usize {
        for n in 0..most {
            if self.0.write_all(&frame(n as u32)).await.is_err() {
                return n;
            }
        }
        most
    }

    /// Reads a frame: kind, stream and payload; none at the end.
    async fn read(&mut self) -> Option<(u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        let read = tokio::time::timeout(PATIENCE, self.0.read_exact(&mut head));
        read.await.expect("a frame in time").ok()?;
        let [a, b, c, kind, _, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some((kind, u32::from_be_bytes(stream), payload))
    }

    /// Reads to the end and returns the error code of the goodbye, if there was one.
    async fn goodbye(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some((kind, _, payload)) = self.read().await {
            if kind == GOAWAY {
                code = Some(u32::from_be_bytes(payload[4..8].try_into().unwrap()));
            }
        }
        code
    }
}

const ENHANCE_YOUR_CALM: u32 = 11;

/// A client that follows HTTP, with a stream window of so many bytes.
async fn client(proxy: &Proxy, window: u32) -> h2::client::SendRequest<Bytes> {
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    let (client, connection) =
        h2::client::Builder::new().initial_window_size(window).handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

fn request(method: Method, target: &str) -> Request<()> {
    Request::builder().method(method).uri(format!("http://x{target}")).body(()).unwrap()
}

#[tokio::test]
async fn a_window_that_stays_shut_costs_the_stream() {
    let big = format!("[\"{}\"]", "x".repeat(1 << 20));
    let upstream = Upstream::with_feeds(big.clone(), "[]").await;
    let proxy = Proxy::start(&upstream).await;
    assert_eq!(get(proxy.address, "/api/v4/packages").await.text(), big);
    for window in [0, 1, 1000, 65_535] {
        let mut client = client(&proxy, window).await;
        let (answer, _) = client.send_request(request(Method::GET, "/api/v4/packages"), true).unwrap();
        let mut stalled = answer.await.unwrap().into_body();
        let mut taken = 0;
        while taken < window as usize {
            taken += stalled.data().await.unwrap().unwrap().len();
        }
        let clock = Clock::stop();
        let mut seconds = 0;
        let error = loop {
            let next = tokio::select! { biased; next = stalled.data() => next, () = std::future::ready(()) => {
                seconds += 1;
                assert!(seconds < 45, "it stays");
                clock.pass(Duration::from_secs(1)).await;
                // The connection goes on.
                let (answer, _) = client.send_request(request(Method::HEAD, "/livez"), true).unwrap();
                assert_eq!(answer.await.unwrap().status(), 200);
                continue;
            } };
            break next.unwrap().expect_err("a reset");
        };
        assert!(error.is_reset() && seconds >= 25, "{error} after {seconds} s");
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_reader_in_small_steps_gets_all() {
    let big = format!("[\"{}\"]", "x".repeat(300_000));
    let upstream = Upstream::with_feeds(big.clone(), "[]").await;
    let proxy = Proxy::start(&upstream).await;
    get(proxy.address, "/api/v4/packages").await;
    let mut client = client(&proxy, 65_535).await;
    let (answer, _) = client.send_request(request(Method::GET, "/api/v4/packages"), true).unwrap();
    let mut body = answer.await.unwrap().into_body();
    let clock = Clock::stop();
    let mut len = 0;
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        len += data.len();
        clock.pass(Duration::from_secs(2)).await;
        body.flow_control().release_capacity(data.len()).unwrap();
    }
    assert_eq!(len, big.len());
}

/// A stream's reset takes along what was not written yet; its head should not be among that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_breaks_off_begins_all_the_same() {
    let upstream = Upstream::start(|_| vec![head_of(200, "content-length: 9\r\n"), Step::Close]).await;
    let proxy = Proxy::start(&upstream).await;
    let mut client = client(&proxy, 65_535).await;
    for _ in 0..300 {
        let (answer, _) = client.send_request(request(Method::GET, "/download"), true).unwrap();
        let answer = answer.await.expect("a head");
        assert_eq!(answer.status(), 200);
        assert!(answer.into_body().data().await.unwrap().unwrap_err().is_reset());
    }
}

#[tokio::test]
async fn requests_that_are_taken_back_at_once_end_the_connection() {
    let upstream = Upstream::start(|_| vec![head_of(200, "content-length: 9\r\n"), Step::Close]).await;
    let proxy = Proxy::start(&upstream).await;
    let mut raw = Raw::connect(&proxy).await;
    let taken = raw
        .flood(20_000, |n| {
            let id = 2 * n + 1;
            let mut both = frame(HEADERS, END_STREAM | END_HEADERS, id, &fields(&GET_X));
            both.extend(frame(RST_STREAM, 0, id, &8u32.to_be_bytes()));
            both
        })
        .await;
    let code = raw.goodbye().await;
    assert!(taken < 20_000 || code == Some(ENHANCE_YOUR_CALM), "all taken, {code:?}");
    assert_eq!(get(proxy.address, "/livez").await.text(), "ok\n");
}

#[tokio::test]
async fn a_head_that_never_ends_ends_the_connection() {
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let proxy = Proxy::start(&upstream).await;
    for filler in [fields(&[("x-a", "1")]), Vec::new()] {
        let mut raw = Raw::connect(&proxy).await;
        raw.0.write_all(&frame(HEADERS, END_STREAM, 1, &fields(&GET_X))).await.unwrap();
        let taken = raw.flood(200_000, |_| frame(CONTINUATION, 0, 1, &filler)).await;
        let code = raw.goodbye().await;
        assert!(taken < 200_000 || code.is_some(), "all taken");
    }
    assert_eq!(get(proxy.address, "/livez").await.text(), "ok\n");
}

#[tokio::test]
async fn heads_have_a_largest_size_here_as_well() {
    let upstream = Upstream::start(|_| status(200, "text/plain", b"ok")).await;
    let proxy = Proxy::start(&upstream).await;
    let mut client = client(&proxy, 65_535).await;
    let mut ask = async |count: usize, len: usize| {
        let mut request = request(Method::GET, "/x");
        for n in 0..count {
            request.headers_mut().insert(
                http::HeaderName::try_from(format!("x-{n}")).unwrap(),
                "x".repeat(len).parse().unwrap(),
            );
        }
        let (answer, _) = client.send_request(request, true).unwrap();
        answer.await.map(|answer| answer.status().as_u16())
    };
    assert_eq!(ask(100, 10).await.unwrap(), 200);
    assert_eq!(ask(101, 10).await.unwrap(), 431);
    assert_eq!(ask(10, 5000).await.unwrap(), 200);
    assert!(ask(10, 10_000).await.is_ok_and(|status| status == 431));
}

#[tokio::test]
async fn floods_that_ask_for_answers_nobody_reads_are_cut() {
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let proxy = Proxy::start(&upstream).await;
    for (kind, payload) in [(PING, [0; 8].as_slice()), (SETTINGS, &[])] {
        let mut raw = Raw::connect(&proxy).await;
        let block: Vec<u8> = (0..1000).flat_map(|_| frame(kind, 0, 0, payload)).collect();
        // It stops reading when its answers are not read.
        let moment = Duration::from_secs(2);
        while let Ok(Ok(())) = tokio::time::timeout(moment, raw.0.write_all(&block)).await {}
        let clock = Clock::stop();
        for _ in 0..8 {
            clock.pass(Duration::from_secs(10)).await;
            get(proxy.address, "/livez").await;
        }
        tokio::time::resume();
        raw.goodbye().await;
    }
}

#[tokio::test]
async fn streams_have_a_most() {
    let upstream = Upstream::start(|_| vec![Step::Gate(std::sync::Arc::default())]).await;
    let proxy = Proxy::start(&upstream).await;
    let mut raw = Raw::connect(&proxy).await;
    for n in 0..200 {
        let head = frame(HEADERS, END_STREAM | END_HEADERS, 2 * n + 1, &fields(&GET_X));
        raw.0.write_all(&head).await.unwrap();
    }
    let mut refused = 0;
    while refused < 200 - 128 {
        let (kind, stream, payload) = raw.read().await.expect("a refusal of each");
        if kind == RST_STREAM {
            assert!(stream > 2 * 128 - 1 && payload == 7u32.to_be_bytes(), "{stream}: {payload:?}");
            refused += 1;
        }
    }
    until("all that are allowed", async || upstream.count() == 128).await;
}

#[tokio::test]
async fn what_has_no_place_in_http_2_goes_nowhere() {
    let upstream = Upstream::start(|_| status(200, "text/plain", b"ok")).await;
    let other = Upstream::start(|_| status(200, "text/plain", b"leaked")).await;
    let proxy = Proxy::start(&upstream).await;
    let elsewhere = other.address.to_string();
    let mut rows: Vec<Vec<(&str, &str)>> = Vec::new();
    for field in [
        ("transfer-encoding", "chunked"),
        ("connection", "close"),
        ("content-length", "5"),
        ("content-length", "-1"),
        ("te", "gzip"),
        ("x-a", "1\r\nx-b: 2"),
        ("x-a", "1\0"),
        ("X-Upper", "1"),
        ("x a", "1"),
        ("", "1"),
        (":path", "/y"),
        (":unknown", "1"),
    ] {
        rows.push(GET_X.into_iter().chain([field]).collect());
    }
    for path in ["x", "", "/x\r\nhost: a", "/x y", "http://a/x"] {
        rows.push(vec![GET_X[0], GET_X[1], (":path", path), GET_X[3]]);
    }
    rows.push(vec![(":method", "G T"), GET_X[1], GET_X[2], GET_X[3]]);
    rows.push(vec![(":method", "CONNECT"), (":authority", &elsewhere)]);
    rows.push(GET_X.into_iter().chain([("host", "b")]).collect());
    rows.push(GET_X.into_iter().chain([("host", "a"), ("host", "a")]).collect());
    rows.push(vec![GET_X[1], GET_X[2], GET_X[3]]);
    for row in &rows {
        let mut raw = Raw::connect(&proxy).await;
        raw.0.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &fields(row))).await.unwrap();
        let refused = loop {
            match raw.read().await {
                None => break true,
                Some((RST_STREAM | GOAWAY, ..)) => break true,
                // Entry 12 of the static table is `:status 400`; 501 is none, so it is a literal with the name of entry 8.
                Some((HEADERS, _, payload)) => break [0x80 | 12, 0x40 | 8].contains(&payload[0]),
                _ => {}
            }
        };
        assert!(refused, "{row:?}");
    }
    assert_eq!(upstream.count(), 0, "{:?}", upstream.requests());
    // A foreign authority is only a name.
    let mut raw = Raw::connect(&proxy).await;
    let foreign = [GET_X[0], GET_X[1], GET_X[2], (":authority", &*elsewhere), ("host", &*elsewhere)];
    raw.0.write_all(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &fields(&foreign))).await.unwrap();
    until("the request", async || upstream.count() == 1).await;
    assert_eq!(upstream.requests()[0].header("host"), Some(&*upstream.address.to_string()));
    assert_eq!(other.count(), 0);
}

#[tokio::test]
async fn methods_and_hosts_are_judged_as_over_http_1() {
    let upstream = Upstream::start(|_| status(200, "application/json", b"[]")).await;
    let proxy = Proxy::start(&upstream).await;
    let mut client = client(&proxy, 1 << 20).await;
    let mut ask = async |method: Method, path: &str, host: &str, expected: u16| {
        let target = Uri::builder().scheme("http").authority("x").path_and_query(path).build().unwrap();
        let mut request = Request::builder().method(&method).uri(target);
        if !host.is_empty() {
            request = request.header("host", host);
        }
        let (answer, _) = client.send_request(request.body(()).unwrap(), true).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), expected, "{method} {path} {host}");
        assert_eq!(answer.headers().contains_key("allow"), expected == 405, "{method} {path}: {answer:?}");
    };
    let feeds = ["/api/v4/packages", "/api/v4/categories?a"];
    ask(Method::OPTIONS, "*", "", 405).await;
    ask(Method::TRACE, "/", "", 501).await;
    for feed in feeds {
        for method in [Method::OPTIONS, Method::TRACE, Method::POST, Method::DELETE] {
            ask(method, feed, "", 405).await;
        }
    }
    for target in feeds.into_iter().chain(["/file", "/livez"]) {
        ask(Method::GET, target, "y", 400).await;
        ask(Method::GET, target, "x:81", 400).await;
    }
    assert_eq!(upstream.count(), 0);
    for target in feeds.into_iter().chain(["/file", "/livez"]) {
        ask(Method::GET, target, "X:80", 200).await;
    }
}
