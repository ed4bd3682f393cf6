//! Upstreams that speak HTTP/2, correctly and not.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::client::{self, get, get_request, until};
use crate::clock::Clock;
use crate::frames::{
    CONTINUATION, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame,
};
use crate::proxy::Proxy;
use crate::tls::{Authority, listen};

/// `:status: 200` (RFC 7541 appendix A).
const OK: &[u8] = &[0x88];

/// An upstream that answers each request with the frames that `answer` makes for the number of its connection
/// and its stream; with none it says nothing ever again.
async fn start(answer: impl Fn(usize, u32) -> Vec<u8> + Send + Sync + 'static) -> (u16, PathBuf, Authority) {
    let authority = Authority::new();
    let acceptor = authority.acceptor("localhost", &["h2"], |_| ());
    let (answer, connections) = (Arc::new(answer), AtomicUsize::new(0));
    let port = listen(acceptor, move |stream| {
        let nth = connections.fetch_add(1, Ordering::SeqCst);
        converse(stream, nth, Arc::clone(&answer))
    })
    .await;
    let file = authority.file();
    (port, file, authority)
}

async fn converse(mut stream: TlsStream<TcpStream>, nth: usize, answer: Arc<impl Fn(usize, u32) -> Vec<u8>>) {
    let mut preface = [0; 24];
    if stream.read_exact(&mut preface).await.is_err() {
        return;
    }
    let _ = stream.write_all(&frame(SETTINGS, 0, 0, b"")).await;
    let mut head = [0; 9];
    while stream.read_exact(&mut head).await.is_ok() {
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        if stream.read_exact(&mut payload).await.is_err() {
            return;
        }
        let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let reply = match (head[3], head[4] & 1) {
            (SETTINGS, 0) => frame(SETTINGS, 1, 0, b""),
            (HEADERS, _) => answer(nth, id),
            _ => continue,
        };
        // An empty answer is a peer that is gone without a word.
        if reply.is_empty() || stream.write_all(&reply).await.is_err() {
            return std::future::pending().await;
        }
        let _ = stream.flush().await;
    }
}

fn feed(id: u32) -> Vec<u8> {
    [frame(HEADERS, END_HEADERS, id, OK), frame(0, END_STREAM, id, b"[\"good\"]")].concat()
}

async fn proxy(port: u16, roots: PathBuf) -> Proxy {
    Proxy::start_with(&format!("https://localhost:{port}"), |config| config.upstream_ca = Some(roots.into()))
        .await
}

#[tokio::test]
async fn each_way_to_fail_is_an_error_of_its_kind() {
    type Answer = fn(usize, u32) -> Vec<u8>;
    let ways: [(&str, Answer); 9] = [
        ("a reset", |_, id| frame(RST_STREAM, 0, id, &[0, 0, 0, 2])),
        ("a refusal", |_, id| frame(RST_STREAM, 0, id, &[0, 0, 0, 7])),
        ("a reset within the body", |_, id| {
            [
                frame(HEADERS, END_HEADERS, id, OK),
                frame(0, 0, id, b"[1,"),
                frame(RST_STREAM, 0, id, &[0, 0, 0, 2]),
            ]
            .concat()
        }),
        ("a farewell", |_, _| frame(GOAWAY, 0, 0, &[0; 8])),
        ("a farewell in anger", |_, _| frame(GOAWAY, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 11])),
        ("a header block that cannot be decoded", |_, id| frame(HEADERS, END_HEADERS, id, &[0xff; 9])),
        ("no status", |_, id| frame(HEADERS, END_HEADERS, id, b"\0\x01a\x01b")),
        ("a head that never ends", |_, id| {
            let field = b"\0\x01a\x7f\x81\x7e".iter().copied().chain([b'x'; 16_000]).collect::<Vec<_>>();
            [frame(HEADERS, 0, id, OK), frame(CONTINUATION, 0, id, &field).repeat(2_000)].concat()
        }),
        ("no HTTP/2", |_, _| b"HTTP/1.1 200 X\r\ncontent-length: 3\r\n\r\n[1]".repeat(10)),
    ];
    for (what, answer) in ways {
        let (port, roots, _authority) = start(answer).await;
        let proxy = proxy(port, roots).await;
        for target in ["/api/v4/packages", "/file"] {
            let answer = get(proxy.address, target).await;
            assert!(answer.cut || answer.status == 502, "{what} at {target}: {answer:?}");
            if !answer.cut {
                answer.assert_problem(502);
            }
        }
        assert_eq!(get(proxy.address, "/livez").await.status, 200);
    }
}

#[tokio::test]
async fn a_farewell_after_the_answer_costs_no_request() {
    let (port, roots, _authority) =
        start(|_, id| [feed(id), frame(GOAWAY, 0, 0, &[&id.to_be_bytes()[..], &[0; 4]].concat())].concat())
            .await;
    let proxy = proxy(port, roots).await;
    for n in 0..10 {
        assert_eq!(proxy.get(&format!("/api/v4/packages?{n}")).await.text(), "[\"good\"]");
        assert_eq!(proxy.get(&format!("/file-{n}")).await.text(), "[\"good\"]");
    }
}

#[tokio::test]
async fn a_flood_of_frames_ends_in_time() {
    let floods = [
        ("pings", frame(PING, 0, 0, &[0; 8])),
        ("settings", frame(SETTINGS, 0, 0, b"")),
        ("windows", frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("interim answers", frame(HEADERS, END_HEADERS, 1, b"\x08\x03103")),
        (
            "empty frames of a body",
            [frame(HEADERS, END_HEADERS, 1, OK), frame(0, 0, 1, b"").repeat(20_000)].concat(),
        ),
    ];
    let clock = Clock::stop();
    for (what, flood) in floods {
        let many = flood.repeat(20_000 / (flood.len() / 17).max(1));
        let (port, roots, _authority) = start(move |_, _| many.clone()).await;
        let proxy = proxy(port, roots).await;
        let waiting = tokio::spawn(get(proxy.address, "/api/v4/packages"));
        until(what, async || {
            clock.jump(Duration::from_secs(5)).await;
            waiting.is_finished()
        })
        .await;
        let answer = waiting.await.unwrap();
        assert!(answer.cut || [502, 504].contains(&answer.status.as_u16()), "{what}: {answer:?}");
    }
}

#[tokio::test]
async fn a_connection_that_died_without_a_word_is_replaced() {
    let connections = Arc::new(AtomicUsize::new(0));
    let most = Arc::clone(&connections);
    let requests = AtomicUsize::new(0);
    let (port, roots, _authority) = start(move |nth, id| {
        most.fetch_max(nth + 1, Ordering::SeqCst);
        match (nth, requests.fetch_add(1, Ordering::SeqCst)) {
            // The first connection answers once.
            (0, 1..) => Vec::new(),
            _ => feed(id),
        }
    })
    .await;
    let proxy = proxy(port, roots).await;
    assert_eq!(proxy.get("/api/v4/packages").await.text(), "[\"good\"]");
    let waiting = tokio::spawn(get(proxy.address, "/api/v4/packages?other"));
    let clock = Clock::stop();
    until("an answer", async || {
        clock.pass(Duration::from_secs(1)).await;
        // The sockets need time as well.
        tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(100))).await.unwrap();
        waiting.is_finished()
    })
    .await;
    // Found dead in time for another try.
    assert_eq!(waiting.await.unwrap().text(), "[\"good\"]");
    assert_eq!(connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn clients_that_do_not_read_hold_up_nobody() {
    const SIZE: usize = 32 << 20;
    let authority = Authority::new();
    let acceptor = authority.acceptor("localhost", &["h2"], |_| ());
    let port = listen(acceptor, |stream| async {
        let big = Bytes::from(vec![b'x'; SIZE]);
        let service = service_fn(move |request: Request<Incoming>| {
            let body = if request.uri().path() == "/big" { big.clone() } else { "[\"good\"]".into() };
            async { Ok::<_, std::convert::Infallible>(Response::new(Full::new(body))) }
        });
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        drop(server.serve_connection(TokioIo::new(stream), service).await);
    })
    .await;
    let proxy = proxy(port, authority.file()).await;
    let mut stalled = Vec::new();
    for _ in 0..20 {
        stalled.push(client::send(proxy.address, get_request("/big")).await);
    }
    for n in 0..5 {
        assert_eq!(proxy.get(&format!("/file-{n}")).await.text(), "[\"good\"]");
        assert_eq!(proxy.get(&format!("/api/v4/packages?{n}")).await.text(), "[\"good\"]");
    }
    // They were only slow.
    let last = stalled.pop().unwrap();
    drop(stalled);
    assert_eq!(last.into_body().collect().await.unwrap().to_bytes().len(), SIZE);
}
