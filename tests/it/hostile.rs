//! A hostile upstream: each attack ends in bounded time and memory, with the documented response.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::Request;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};

use crate::client::{self, Answer, get, raw, until};
use crate::clock::Clock;
use crate::process::Process;
use crate::proxy::{Proxy, array, free, plesk};
use crate::upstream::{Script, Step, Upstream, chunk, head_of, ok, status};

const PACKAGES: &str = "/api/v4/packages";

fn bytes(text: impl Into<Vec<u8>>) -> Step {
    Step::Send(text.into())
}

/// Responses that are no HTTP, or whose framing is contradictory.
fn broken_heads() -> Vec<(&'static str, Script)> {
    let with = |fields: &str| vec![head_of(200, fields), bytes("[1]"), Step::Close];
    vec![
        ("a head that never ends", vec![bytes("HTTP/1.1 200 X\r\n"), Step::Flood(b"x-a: b\r\n".to_vec())]),
        ("a field that never ends", vec![bytes("HTTP/1.1 200 X\r\nx-a: "), Step::Flood(b"b".to_vec())]),
        ("a status line that never ends", vec![bytes("HTTP/1.1 200 "), Step::Flood(b"X".to_vec())]),
        ("100,000 fields", with(&"x-a: b\r\n".repeat(100_000))),
        ("200 fields", with(&"x-a: b\r\n".repeat(200))),
        ("no HTTP that never ends", vec![Step::Flood(b"220 mail.example ESMTP\r\n".to_vec())]),
        ("another version", vec![bytes("HTTP/3.0 200 X\r\ncontent-length: 3\r\n\r\n[1]"), Step::Close]),
        ("a status of letters", vec![bytes("HTTP/1.1 abc X\r\ncontent-length: 3\r\n\r\n[1]"), Step::Close]),
        ("a status of two digits", vec![bytes("HTTP/1.1 20 X\r\ncontent-length: 3\r\n\r\n[1]"), Step::Close]),
        ("two lengths", with("content-length: 3\r\ncontent-length: 4\r\n")),
        ("a list of lengths", with("content-length: 3, 4\r\n")),
        ("a length below zero", with("content-length: -3\r\n")),
        ("a length with a sign", with("content-length: +3\r\n")),
        ("a length beyond all numbers", with("content-length: 99999999999999999999999\r\n")),
        ("a length in letters", with("content-length: three\r\n")),
        ("an unknown transfer coding", with("transfer-encoding: rot13\r\n")),
        ("a field without a name", with(": x\r\ncontent-length: 3\r\n")),
        ("a NUL in a field", with("x-a: \0\r\ncontent-length: 3\r\n")),
        (
            "a switch of protocols",
            vec![bytes("HTTP/1.1 101 X\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n[1]")],
        ),
        (
            "interim answers, then the end",
            vec![bytes("HTTP/1.1 103 X\r\nlink: </x>\r\n\r\n".repeat(100)), Step::Close],
        ),
        ("nothing", vec![Step::Close]),
    ]
}

/// Responses whose head is valid.
fn broken_bodies() -> Vec<(&'static str, Script)> {
    let chunked = |body: &str| vec![head_of(200, "transfer-encoding: chunked\r\n"), bytes(body), Step::Close];
    let sized =
        |len: usize| vec![head_of(200, &format!("content-length: {len}\r\n")), bytes("[1]"), Step::Close];
    vec![
        ("a chunk size of letters", chunked("zz\r\n[1]\r\n0\r\n\r\n")),
        ("a chunk size beyond all numbers", chunked("fffffffffffffffff\r\n[1]\r\n0\r\n\r\n")),
        ("a chunk shorter than it says", chunked("9\r\n[1]\r\n0\r\n\r\n")),
        ("a chunk longer than it says", chunked("2\r\n[1]\r\n0\r\n\r\n")),
        ("no last chunk", chunked("3\r\n[1]\r\n")),
        ("no line after the chunk", chunked("3\r\n[1]0\r\n\r\n")),
        ("a length that is too long", sized(4)),
        ("a length that is too short", sized(2)),
        ("a chunk extension that never ends", {
            vec![head_of(200, "transfer-encoding: chunked\r\n"), bytes("3;"), Step::Flood(b"x".to_vec())]
        }),
        ("trailers that never end", {
            let start = bytes("3\r\n[1]\r\n0\r\n");
            vec![head_of(200, "transfer-encoding: chunked\r\n"), start, Step::Flood(b"x-a: b\r\n".to_vec())]
        }),
    ]
}

/// A proxy in front of an upstream that begins to misbehave when told to.
struct Turned {
    upstream: Upstream,
    proxy: Proxy,
    turn: Arc<AtomicUsize>,
}

impl Turned {
    async fn start(script: Script) -> Self {
        let turn = Arc::new(AtomicUsize::new(0));
        let now = Arc::clone(&turn);
        let upstream = Upstream::start(move |_| match now.load(Ordering::SeqCst) {
            0 => ok(b"[\"good\"]"),
            _ => script.clone(),
        })
        .await;
        let proxy = Proxy::start_with(&upstream.url(), |config| {
            *config.cache.fresh_for = Duration::from_millis(1);
            config.cache.max_fresh_for = Some(*config.cache.fresh_for);
            *config.cache.max_feed_size = 1 << 20;
        })
        .await;
        Self { upstream, proxy, turn }
    }

    /// Fills the cache and lets the upstream misbehave: the copy stays in service.
    async fn keeps_its_copy(&self, what: &str) {
        assert_eq!(self.proxy.get(PACKAGES).await.text(), "[\"good\"]", "{what}");
        self.turn.store(1, Ordering::SeqCst);
        let before = self.upstream.count();
        until("a failed refresh", async || {
            let answer = self.proxy.get(PACKAGES).await;
            assert_eq!(
                (answer.status.as_u16(), answer.text(), answer.cut),
                (200, "[\"good\"]", false),
                "{what}"
            );
            let ready = get(self.proxy.admin, "/readyz").await;
            let state: serde_json::Value = serde_json::from_slice(&ready.body).unwrap();
            self.upstream.count() > before && state["feeds"][0]["last_error"].is_string()
        })
        .await;
    }
}

#[tokio::test]
async fn a_broken_head_is_a_protocol_error() {
    for (what, script) in broken_heads() {
        let turned = Turned::start(script).await;
        turned.keeps_its_copy(what).await;
        for target in ["/api/v5/packages", "/file"] {
            let answer = turned.proxy.get(target).await;
            answer.assert_problem(502);
            let error = answer.header("proxy-status").trim_start_matches("catalog-proxy; error=");
            let cut = ["nothing", "interim answers, then the end"].contains(&what);
            let expected = if cut { "connection_terminated" } else { "http_protocol_error" };
            let expected = if what == "a switch of protocols" && target != "/file" {
                "http_protocol_error; received-status=101"
            } else {
                expected
            };
            assert_eq!(error, expected, "{what} at {target}");
        }
    }
}

#[tokio::test]
async fn a_broken_body_is_a_broken_transfer() {
    for (what, script) in broken_bodies() {
        let turned = Turned::start(script).await;
        turned.keeps_its_copy(what).await;
        let answer = turned.proxy.get("/api/v5/packages").await;
        assert!(answer.cut || answer.status == 502, "{what}: {answer:?}");
        let answer = turned.proxy.get("/file").await;
        // Less than it should be is all that is there, and cannot be told from a short file.
        let whole = what == "a length that is too short";
        assert!(answer.status == 502 || answer.cut != whole, "{what}: {answer:?}");
    }
}

#[tokio::test]
async fn a_length_beside_chunks_is_not_passed_on() {
    let upstream = Upstream::start(|_| {
        let head = head_of(200, "content-length: 30\r\ntransfer-encoding: chunked\r\n");
        vec![head, chunk(b"[1]"), chunk(b"")]
    })
    .await;
    let proxy = Proxy::start(&upstream).await;
    let answer = raw(proxy.address, b"GET /file HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    let refused = answer.starts_with("HTTP/1.1 502");
    let reframed = answer.contains("Transfer-Encoding: chunked") && !answer.contains("Content-Length");
    assert!(refused || reframed && answer.ends_with("\r\n3\r\n[1]\r\n0\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_flood_ends_with_the_time_for_a_head() {
    let flood = || vec![Step::Flood(b"HTTP/1.1 103 X\r\nlink: </x>\r\n\r\n".to_vec())];
    let drip = || vec![bytes("HTTP/1.1 200 X\r\nx-a: "), Step::Gate(Arc::new(Notify::new()))];
    let clock = Clock::stop();
    for script in [flood(), drip()] {
        let upstream = Upstream::start(move |_| script.clone()).await;
        let proxy = Proxy::start(&upstream).await;
        for (target, seconds) in [(PACKAGES, 11), ("/file", 61)] {
            let before = upstream.count();
            // A client of its own, for the others lose patience on the same clock.
            let mut stream = TcpStream::connect(proxy.address).await.unwrap();
            let head = format!("HEAD {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).await.unwrap();
            until("the request", async || upstream.count() > before).await;
            clock.jump(Duration::from_secs(seconds)).await;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 504"), "{target}: {answer}");
        }
    }
}

#[tokio::test]
async fn a_flood_that_decodes_to_nothing_ends_with_the_time_for_a_fetch() {
    let upstream =
        Upstream::start(|_| vec![head_of(200, "content-encoding: gzip\r\n"), Step::Flood(gzip(b""))]).await;
    let proxy = Proxy::start(&upstream).await;
    let clock = Clock::stop();
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    let head = format!("HEAD {PACKAGES} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    until("the request", async || upstream.count() == 1).await;
    let reading = tokio::spawn(async move {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    });
    // The flood keeps coming, so no pause is too long.
    until("an answer", async || {
        clock.jump(Duration::from_secs(1)).await;
        reading.is_finished()
    })
    .await;
    let answer = reading.await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
    // The fetch goes on without the client, but not for ever.
    until("the end of the fetch", async || {
        // Shorter than a pause that would end the fetch by itself.
        clock.jump(Duration::from_secs(4)).await;
        let ready = get(proxy.admin, "/readyz").await;
        ready.text().contains("did not finish its answer within 120 s")
    })
    .await;
}

#[tokio::test]
async fn a_byte_a_second_passes_through_and_silence_does_not() {
    let passes = Arc::new(Semaphore::new(0));
    let mut script = vec![head_of(200, "content-length: 100\r\n")];
    for _ in 0..100 {
        script.extend([Step::Turnstile(Arc::clone(&passes)), bytes("x")]);
    }
    let upstream = Upstream::start(move |_| script.clone()).await;
    let proxy = Proxy::start(&upstream).await;
    let clock = Clock::stop();
    // A client of its own, for the others lose patience on the same clock.
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.write_all(b"GET /file HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut got = String::new();
    while !got.contains("\r\n\r\n") {
        got.push(stream.read_u8().await.unwrap().into());
    }
    for _ in 0..90 {
        passes.add_permits(1);
        assert_eq!(stream.read_u8().await.unwrap(), b'x');
        clock.pass(Duration::from_secs(1)).await;
    }
    // The pause is timed from when it begins.
    clock.pass(Duration::from_secs(1)).await;
    clock.pass(Duration::from_secs(61)).await;
    assert!(stream.read_u8().await.is_err(), "nine bytes are missing");
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn brotli(body: &[u8]) -> Vec<u8> {
    let mut encoder = brotli::CompressorWriter::new(Vec::new(), 64 << 10, 2, 22);
    encoder.write_all(body).unwrap();
    encoder.into_inner()
}

#[tokio::test]
async fn bombs_and_endless_bodies_are_refused() {
    const LIMIT: usize = 8 << 20;
    let item = format!("\"{}\",", "x".repeat(1 << 20)).into_bytes();
    let items = |count: usize| [b"[".to_vec(), item.repeat(count)].concat();
    let plain = items(3 * (LIMIT >> 20));
    let coded = |coding: &str, body: Vec<u8>| {
        let head = format!("content-encoding: {coding}\r\ncontent-length: {}\r\n", body.len());
        vec![head_of(200, &head), Step::Send(body)]
    };
    let endless = |fields: &str, start: &str, more: &[u8]| {
        vec![head_of(200, fields), bytes(start), Step::Flood(more.to_vec())]
    };
    let many = zstd::encode_all(items(200).as_slice(), 3).unwrap();
    let codings = "http_response_content_coding";
    let size = "http_response_body_size";
    let bad = "http_protocol_error";
    let bombs = vec![
        ("gzip", size, coded("gzip", gzip(&plain))),
        ("br", size, coded("br", brotli(&plain))),
        ("zstd", size, coded("zstd", many.clone())),
        ("gzip in gzip", codings, coded("gzip, gzip", gzip(&gzip(&plain)))),
        ("zstd in br", codings, coded("zstd, br", brotli(&many))),
        ("two fields", codings, coded("gzip\r\ncontent-encoding: gzip", gzip(&gzip(&plain)))),
        ("many members of gzip", size, {
            let mut script = endless("content-encoding: gzip\r\n", "", &gzip(&item));
            script.insert(1, Step::Send(gzip(b"[")));
            script
        }),
        ("empty members of gzip", codings, coded("gzip", [gzip(b"").repeat(50_000), b"x".to_vec()].concat())),
        ("a large window of zstd", codings, {
            let mut encoder = zstd::Encoder::new(Vec::new(), 3).unwrap();
            encoder.window_log(27).unwrap();
            encoder.write_all(&plain).unwrap();
            coded("zstd", encoder.finish().unwrap())
        }),
        ("endless blanks", bad, endless("", "[", b" ")),
        ("an endless string", bad, endless("", "[\"", b"x")),
        ("an endless package", bad, endless("", "[{\"code\":\"x\",\"a\":[0", b",0")),
        ("endless packages", bad, endless("", "[0", b",0")),
        ("endless brackets", bad, endless("", "", b"[")),
        ("an endless number", bad, endless("", "[", b"1")),
        ("endless HTML", bad, endless("", "", b"<html>")),
    ];
    let scripts: std::collections::HashMap<_, _> =
        bombs.iter().map(|(what, _, script)| (what.replace(' ', "-"), script.clone())).collect();
    let upstream =
        Upstream::start(move |request| scripts[request.target.split('?').nth(1).unwrap()].clone()).await;
    let process = Process::start_with(&upstream.url(), |command| {
        command.args(["--max-feed-size", "8MiB"]);
    });
    for (what, expected, _) in &bombs {
        for kind in ["packages", "categories"] {
            let target = format!("/api/v4/{kind}?{}", what.replace(' ', "-"));
            // It waits for a whole copy, so there is a status to see.
            let head = Request::head(&target).body(Full::default()).unwrap();
            let answer = client::request(process.address, head).await;
            assert_eq!(answer.status, 502, "{target}: {answer:?}");
            assert_eq!(answer.header("proxy-status"), format!("catalog-proxy; error={expected}"), "{target}");
            let answer = get(process.address, &target).await;
            assert!(answer.status == 502 || answer.cut, "{target}: {}", answer.status);
        }
    }
    // Passed through, a bomb is the client's business and takes no memory here.
    let bomb = get(process.address, "/file?zstd").await;
    assert_eq!((bomb.header("content-encoding"), bomb.body.len()), ("zstd", many.len()));
}

#[tokio::test]
async fn a_bomb_does_not_hold_up_others() {
    // One thread serves everything here, so whatever it does at once delays the probe.
    let bomb = zstd::encode_all(vec![b' '; 63 << 20].as_slice(), 3).unwrap();
    assert!(bomb.len() < 16 << 10, "all of it is decoded from one piece");
    let upstream = Upstream::start(move |_| {
        let head = format!("content-encoding: zstd\r\ncontent-length: {}\r\n", bomb.len());
        vec![head_of(200, &head), Step::Send(bomb.clone())]
    })
    .await;
    let proxy = Proxy::start(&upstream).await;
    let feed = tokio::spawn(get(proxy.address, PACKAGES));
    until("the fetch", async || upstream.count() == 1).await;
    let mut probes = 0;
    while !feed.is_finished() {
        assert_eq!(get(proxy.address, "/livez").await.status, 200);
        probes += 1;
    }
    feed.await.unwrap().assert_problem(502);
    assert!(probes > 10, "only {probes} probes were answered meanwhile");
}

#[tokio::test]
async fn an_answer_before_the_request_was_read_is_passed_on() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (seen, release) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
    let (counted, released) = (Arc::clone(&seen), Arc::clone(&release));
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            let answer = "HTTP/1.1 413 X\r\ncontent-length: 9\r\n\r\ntoo large";
            stream.read_u8().await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
            released.notified().await;
        }
    });
    let proxy = Proxy::start_with(&format!("http://{address}"), |_| ()).await;
    for _ in 0..3 {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        // The rest of the body never comes.
        let head = b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nbegin";
        stream.write_all(head).await.unwrap();
        let mut answer = String::new();
        while !answer.ends_with("too large") {
            answer.push(stream.read_u8().await.unwrap().into());
        }
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        release.notify_one();
    }
    assert_eq!(seen.load(Ordering::SeqCst), 3, "each has a connection of its own");
}

#[tokio::test]
async fn a_pooled_connection_that_is_gone_costs_no_request() {
    let upstream = Upstream::start(|request| match request.nth {
        0 => status(200, "text/plain", request.target.as_bytes()),
        _ => vec![Step::Close],
    })
    .await;
    let proxy = Proxy::start(&upstream).await;
    for n in 0..20 {
        assert_eq!(proxy.get(&format!("/{n}")).await.text(), format!("/{n}"));
    }
    // What may have had an effect is not sent twice.
    let before = upstream.count();
    let answer = raw(proxy.address, b"DELETE /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    assert_eq!(upstream.count(), before + 1);
}

#[tokio::test]
async fn a_body_ends_its_connection_to_the_upstream() {
    let upstream = Upstream::start(|_| status(200, "text/plain", b"ok")).await;
    let proxy = Proxy::start(&upstream).await;
    let post = || Request::post("/x").body(Full::from("body")).unwrap();
    client::request(proxy.address, post()).await;
    proxy.get("/y").await;
    proxy.get("/z").await;
    let nth: Vec<_> = upstream.requests().iter().map(|request| request.nth).collect();
    assert_eq!(nth, [0, 0, 1]);
}

/// Actions of the storm, in turn.
fn stormy(n: usize) -> Script {
    match n % 8 {
        0 => vec![Step::Close],
        1 => vec![head_of(200, "content-length: 1000\r\n"), bytes("[1,"), Step::Close],
        2 => status(503, "text/html", b"down"),
        3 => vec![head_of(200, "transfer-encoding: chunked\r\n"), bytes("zz\r\n")],
        4 => vec![bytes("HTTP/1.1 200 X\r\n"), Step::Flood(b"x-a: b\r\n".to_vec())],
        5 => vec![head_of(302, "location: /elsewhere\r\ncontent-length: 0\r\n")],
        6 => ok("[".repeat(100_000).as_bytes()),
        _ => ok(b"[1]"),
    }
}

async fn storm(address: std::net::SocketAddr, requests: usize) {
    for n in 0..requests / 20 {
        let crowd: Vec<_> = (0..20)
            .map(|m| {
                let target = match m % 3 {
                    0 => format!("/api/v4/packages?{n}-{m}"),
                    1 => format!("/api/v4/categories?{n}-{m}"),
                    _ => format!("/file-{n}-{m}"),
                };
                tokio::spawn(async move { get(address, &target).await })
            })
            .collect();
        for client in crowd {
            let answer: Answer = client.await.unwrap();
            assert_ne!(answer.status, 500, "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_storm_of_faults_leaves_no_descriptors() {
    let n = AtomicUsize::new(0);
    let upstream = Upstream::start(move |_| stormy(n.fetch_add(1, Ordering::SeqCst))).await;
    let process = Process::start_with(&upstream.url(), |_| ());
    let before = process.descriptors();
    storm(process.address, 600).await;
    // A few connections are kept for later; far fewer than were made.
    until("the descriptors of before", async || process.descriptors() <= before + 24).await;
    get(process.address, "/livez").await;
}

#[tokio::test]
async fn a_storm_of_faults_leaves_no_tasks() {
    let n = AtomicUsize::new(0);
    let upstream = Upstream::start(move |_| stormy(n.fetch_add(1, Ordering::SeqCst))).await;
    let proxy = Proxy::start(&upstream).await;
    let tasks = || Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    storm(proxy.address, 400).await;
    // What is kept for later goes with the time for which it is kept. What the proxy always does are a few
    // fetches that renew copies, and a task for each pool.
    let clock = Clock::stop();
    until("the tasks of before", async || {
        clock.jump(Duration::from_secs(20)).await;
        tasks() <= before + 20
    })
    .await;
}

#[tokio::test]
async fn a_good_feed_after_all_is_believed() {
    let good = array(&[plesk("wp-toolkit"), free("git")]);
    let (n, feed) = (AtomicUsize::new(0), good.clone());
    let upstream = Upstream::start(move |_| match n.fetch_add(1, Ordering::SeqCst) {
        n @ 0..7 => stormy(n),
        _ => ok(feed.as_bytes()),
    })
    .await;
    let proxy = Proxy::start(&upstream).await;
    until("the feed", async || {
        let answer = proxy.get(PACKAGES).await;
        assert!(answer.cut || answer.status == 502 || answer.text() == good, "{answer:?}");
        answer.status == 200 && !answer.cut
    })
    .await;
}
