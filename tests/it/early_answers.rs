//! Responses that arrive before the end of the request's body: the body is never read as a request, and every response
//! belongs to one request.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};

use crate::client::{PATIENCE, get, raw, until};
use crate::clock::Clock;
use crate::https::Pair;
use crate::proxy::Proxy;

/// A body that looks like a request.
const BODY: &str = "GET /livez HTTP/1.1\r\nhost: x\r\n\r\n";

/// The proxy's response to `BODY` if it takes it for a request.
const ANSWER_TO_BODY: &str = "\r\n\r\nok\n";

/// A request that may follow on the same connection.
const NEXT: &str = "GET /next HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";

/// An upstream that responds as soon as it has read a head, and keeps its connections open.
struct Early {
    address: SocketAddr,
    /// Bytes received on each connection.
    received: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Early {
    /// Starts one that gives `answer` to requests with a body and their own target to those without.
    async fn start(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let all = Arc::clone(&received);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let index = {
                    let mut all = all.lock().unwrap();
                    all.push(Vec::new());
                    all.len() - 1
                };
                tokio::spawn(converse(stream, answer, Arc::clone(&all), index));
            }
        });
        Self { address, received }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the bytes received on each connection.
    fn received(&self) -> Vec<String> {
        let all = self.received.lock().unwrap();
        all.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
    }
}

async fn converse(mut stream: TcpStream, answer: &str, all: Arc<Mutex<Vec<Vec<u8>>>>, index: usize) {
    let mut block = vec![0; 64 << 10];
    // Where the next request begins; none after one with a body, of which the rest is that body.
    let mut next = Some(0);
    loop {
        match stream.read(&mut block).await {
            Ok(0) | Err(_) => return,
            Ok(len) => all.lock().unwrap()[index].extend_from_slice(&block[..len]),
        }
        let text = String::from_utf8_lossy(&all.lock().unwrap()[index]).into_owned();
        while let Some(start) = next
            && let Some(len) = text[start..].find("\r\n\r\n")
        {
            let head = &text[start..start + len];
            let has_body = head.contains("content-length: ") || head.contains("transfer-encoding: ");
            let target = head.split(' ').nth(1).unwrap_or_default();
            let usual = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{target}", target.len());
            next = (!has_body).then_some(start + len + 4);
            let answer = if has_body { answer } else { &*usual };
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    }
}

/// Checks that nothing but one body follows a request with a body.
fn assert_one_message(received: &[String]) {
    for text in received {
        let (before, after) = text.split_once("POST /x ").unwrap_or((text, ""));
        assert!(!before.contains("/livez"), "{text}");
        let heads = after.matches(" HTTP/1.1\r\n").count();
        assert!(heads <= 1 && !after.contains("POST ") && !after.contains("/next"), "{text}");
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

async fn connect(proxy: &Proxy, tls: Option<&Pair>) -> Box<dyn Stream> {
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    match tls {
        None => Box::new(stream),
        Some(pair) => {
            let name = "localhost".try_into().unwrap();
            Box::new(pair.connector(&["http/1.1"]).connect(name, stream).await.unwrap())
        }
    }
}

/// Reads until the input ends with `end`, or the peer closes.
async fn read_until(stream: &mut (impl AsyncRead + Unpin), end: &str) -> String {
    let mut answer = Vec::new();
    let mut block = [0; 4096];
    while !answer.ends_with(end.as_bytes()) {
        match timeout(PATIENCE, stream.read(&mut block)).await.expect("an answer in time") {
            Ok(0) | Err(_) => break,
            Ok(len) => answer.extend_from_slice(&block[..len]),
        }
    }
    String::from_utf8_lossy(&answer).into_owned()
}

async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut rest = Vec::new();
    // A reset is an end as well; what came before it stays.
    let _ = timeout(PATIENCE, stream.read_to_end(&mut rest)).await.expect("an end in time");
    String::from_utf8_lossy(&rest).into_owned()
}

#[derive(Debug, Clone, Copy)]
enum Framing {
    Length,
    Chunked,
}

/// Manner in which a client sends its body.
#[derive(Debug, Clone, Copy)]
struct Manner {
    framing: Framing,
    /// Further header fields.
    fields: &'static str,
    /// Number of bytes of the body that are sent with the head.
    before: usize,
    pause: Duration,
}

impl Manner {
    fn head(&self) -> String {
        let framing = match self.framing {
            Framing::Length => format!("content-length: {}", BODY.len()),
            Framing::Chunked => "transfer-encoding: chunked".to_owned(),
        };
        format!("POST /x HTTP/1.1\r\nhost: x\r\n{framing}\r\n{}\r\n", self.fields)
    }

    /// The parts of the body before and after the pause, as they are sent.
    fn parts(&self) -> [String; 2] {
        let (before, after) = BODY.split_at(self.before);
        let chunk = |part: &str| match part.len() {
            0 => String::new(),
            len => format!("{len:x}\r\n{part}\r\n"),
        };
        match self.framing {
            Framing::Length => [before.to_owned(), after.to_owned()],
            Framing::Chunked => [chunk(before), format!("{}0\r\n\r\n", chunk(after))],
        }
    }
}

/// Sends a POST whose answer ends with `end` before its body is sent, then the body and another request.
async fn check(mut stream: Box<dyn Stream>, manner: Manner, answer: &str, end: &str) {
    let [before, after] = manner.parts();
    stream.write_all(format!("{}{before}", manner.head()).as_bytes()).await.unwrap();
    let first = read_until(&mut stream, end).await;
    let first = first.trim_start_matches("HTTP/1.1 100 Continue\r\n\r\n");
    assert!(first.starts_with(answer) && first.ends_with(end), "{manner:?}: {first:?}");
    sleep(manner.pause).await;
    // It may be closed, which is one way to keep the body from being taken for a request.
    let _ = stream.write_all(after.as_bytes()).await;
    let _ = stream.flush().await;
    sleep(Duration::from_millis(20)).await;
    let _ = stream.write_all(NEXT.as_bytes()).await;
    let _ = stream.flush().await;
    let rest = read_to_end(&mut stream).await;
    assert!(!rest.contains(ANSWER_TO_BODY), "{manner:?}: the body was taken for a request: {rest}");
    assert!(rest.matches("HTTP/1.1 ").count() <= 1, "{manner:?}: {rest}");
    assert!(rest.is_empty() || rest.ends_with("/next"), "{manner:?}: {rest}");
}

fn manners() -> Vec<Manner> {
    let mut manners = Vec::new();
    for framing in [Framing::Length, Framing::Chunked] {
        for fields in ["", "expect: 100-continue\r\n"] {
            for before in [0, 10] {
                for pause in [0, 150, 1200].map(Duration::from_millis) {
                    manners.push(Manner { framing, fields, before, pause });
                }
            }
        }
    }
    manners
}

/// Runs all manners at once, over plain HTTP and TLS.
async fn check_all(upstream: &str, target_answer: &'static str, end: &'static str) {
    let pair = Pair::new();
    let plain = Proxy::start_with(upstream, |_| ()).await;
    let secure = Proxy::start_with(upstream, |config| config.tls = Some(pair.files())).await;
    let mut checks = tokio::task::JoinSet::new();
    for (proxy, tls) in [(&plain, None), (&secure, Some(&pair))] {
        for manner in manners() {
            let stream = connect(proxy, tls).await;
            checks.spawn(check(stream, manner, target_answer, end));
        }
    }
    while let Some(done) = checks.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn the_body_of_an_answered_request_is_no_request() {
    for (answer, start) in [
        ("HTTP/1.1 413 X\r\ncontent-length: 5\r\n\r\nearly", "HTTP/1.1 413 "),
        ("HTTP/1.1 401 X\r\ncontent-length: 5\r\n\r\nearly", "HTTP/1.1 401 "),
        ("HTTP/1.1 302 X\r\nlocation: /y\r\ncontent-length: 5\r\n\r\nearly", "HTTP/1.1 302 "),
        ("HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n5\r\nearly\r\n0\r\n\r\n", "HTTP/1.1 200 "),
    ] {
        let upstream = Early::start(answer).await;
        let end = if answer.contains("chunked") { "early\r\n0\r\n\r\n" } else { "early" };
        check_all(&upstream.url(), start, end).await;
        assert_one_message(&upstream.received());
    }
}

#[tokio::test]
async fn what_the_proxy_answers_itself_ends_the_connection_as_well() {
    // Nobody is there to be asked.
    let nowhere = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    check_all(&format!("http://{nowhere}"), "HTTP/1.1 502 ", "}\n").await;
}

#[tokio::test]
async fn a_413_arrives_while_the_client_still_sends() {
    let upstream = Early::start("").await;
    let pair = Pair::new();
    for tls in [None, Some(&pair)] {
        let proxy = Proxy::start_with(&upstream.url(), |config| {
            *config.limits.request_body = 100_000;
            config.tls = tls.map(Pair::files);
        })
        .await;
        for head in ["transfer-encoding: chunked", "content-length: 10000000000"] {
            let (mut reader, mut writer) = tokio::io::split(connect(&proxy, tls).await);
            let head = format!("POST /x HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n");
            let sender = tokio::spawn(async move {
                let chunk = format!("2000\r\n{}\r\n", "x".repeat(0x2000));
                writer.write_all(head.as_bytes()).await.unwrap();
                // Until it is told to stop.
                while writer.write_all(chunk.as_bytes()).await.is_ok() {}
            });
            let answer = read_to_end(&mut reader).await;
            assert!(answer.starts_with("HTTP/1.1 413 ") && answer.ends_with("}\n"), "{answer}");
            timeout(PATIENCE, sender).await.expect("the connection is closed").unwrap();
        }
    }
}

#[tokio::test]
async fn plain_http_with_a_large_body_is_told_so() {
    let pair = Pair::new();
    let upstream = Early::start("").await;
    let proxy = Proxy::start_with(&upstream.url(), |config| config.tls = Some(pair.files())).await;
    let request = format!("POST /x HTTP/1.1\r\ncontent-length: 100000\r\n\r\n{}", "x".repeat(100_000));
    for _ in 0..20 {
        let answer = raw(proxy.address, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("}\n"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_sends_on_for_ever_after_its_answer_is_cut() {
    let upstream = Early::start("HTTP/1.1 200 X\r\ncontent-length: 5\r\n\r\nearly").await;
    let proxy = Proxy::start_with(&upstream.url(), |_| ()).await;
    for piece in ["1\r\nx\r\n".to_owned(), format!("400\r\n{}\r\n", "x".repeat(0x400))] {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        let head = "POST /x HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        assert!(read_until(&mut stream, "early").await.starts_with("HTTP/1.1 200 "));
        let clock = Clock::stop();
        let mut seconds = 0;
        while stream.write_all(piece.as_bytes()).await.is_ok() {
            seconds += 1;
            assert!(seconds <= 60, "it goes on");
            clock.pass(Duration::from_secs(1)).await;
            get(proxy.address, "/livez").await;
        }
        tokio::time::resume();
    }
}

#[tokio::test]
async fn streams_of_http_2_are_apart() {
    let upstream = Early::start("HTTP/1.1 413 X\r\ncontent-length: 5\r\n\r\nearly").await;
    let proxy = Proxy::start_with(&upstream.url(), |_| ()).await;
    let stream = TcpStream::connect(proxy.address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let request = |method: Method, target: &str| {
        Request::builder().method(method).uri(format!("http://x{target}")).body(()).unwrap()
    };
    for _ in 0..3 {
        let (answer, mut body) = client.send_request(request(Method::POST, "/x"), false).unwrap();
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), 413);
        let mut data = answer.into_body();
        assert_eq!(data.data().await.unwrap().unwrap(), "early");
        sleep(Duration::from_millis(150)).await;
        // The stream may have been reset meanwhile.
        let _ = body.send_data(Bytes::from(BODY), true);
        let (next, _) = client.send_request(request(Method::GET, "/next"), true).unwrap();
        let mut next = next.await.unwrap().into_body();
        assert_eq!(next.data().await.unwrap().unwrap(), "/next");
    }
    assert_one_message(&upstream.received());
}

#[tokio::test]
async fn a_connection_to_the_upstream_with_an_unfinished_body_is_not_used_again() {
    let upstream = Early::start("HTTP/1.1 200 X\r\ncontent-length: 5\r\n\r\nearly").await;
    let proxy = Proxy::start_with(&upstream.url(), |_| ()).await;
    for framing in [Framing::Length, Framing::Chunked] {
        let manner = Manner { framing, fields: "", before: 10, pause: Duration::ZERO };
        let [before, after] = manner.parts();
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        stream.write_all(format!("{}{before}", manner.head()).as_bytes()).await.unwrap();
        read_until(&mut stream, "early").await;
        for n in 0..5 {
            assert_eq!(proxy.get(&format!("/{n}")).await.text(), format!("/{n}"));
        }
        stream.write_all(after.as_bytes()).await.unwrap();
        for n in 5..10 {
            assert_eq!(proxy.get(&format!("/{n}")).await.text(), format!("/{n}"));
        }
        // The end of either framing.
        let is_whole = |text: &String| text.ends_with("host: x\r\n\r\n") || text.ends_with("0\r\n\r\n");
        until("the rest of the body", async || {
            upstream.received().iter().filter(|text| text.contains("POST /x ")).all(is_whole)
        })
        .await;
        assert_one_message(&upstream.received());
    }
}

/// Time at which an upstream sends more than one response.
#[derive(Debug, Clone, Copy)]
enum Surplus {
    /// In the same packet as the response.
    WithTheAnswer,
    /// A moment after it.
    Later,
}

#[tokio::test]
async fn what_an_upstream_says_unasked_is_nobodys_answer() {
    const POISON: &str = "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\npoison";
    for surplus in [Surplus::WithTheAnswer, Surplus::Later] {
        for extra in [POISON, "HTTP/1.1 408 X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", "x", "\r\n"]
        {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}", listener.local_addr().unwrap());
            let sent = Arc::new(AtomicUsize::new(0));
            let counted = Arc::clone(&sent);
            tokio::spawn(async move {
                loop {
                    let (mut stream, _) = listener.accept().await.unwrap();
                    let sent = Arc::clone(&counted);
                    tokio::spawn(async move {
                        loop {
                            let head = read_until(&mut stream, "\r\n\r\n").await;
                            let Some(target) = head.split(' ').nth(1) else { return };
                            let answer = format!(
                                "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{target}",
                                target.len()
                            );
                            let (now, later) = match surplus {
                                Surplus::WithTheAnswer => (answer + extra, ""),
                                Surplus::Later => (answer, extra),
                            };
                            if stream.write_all(now.as_bytes()).await.is_err() {
                                return;
                            }
                            sleep(Duration::from_millis(5)).await;
                            let _ = stream.write_all(later.as_bytes()).await;
                            sent.fetch_add(1, Ordering::SeqCst);
                        }
                    });
                }
            });
            let proxy = Proxy::start_with(&url, |_| ()).await;
            for n in 0..20 {
                let answer = proxy.get(&format!("/{n}")).await;
                assert_eq!((answer.status.as_u16(), answer.text()), (200, &*format!("/{n}")), "{surplus:?}");
                // The next request comes when the surplus has arrived.
                until("the surplus", async || sent.load(Ordering::SeqCst) > n).await;
            }
        }
    }
}
