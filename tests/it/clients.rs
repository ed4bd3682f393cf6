//! Slow clients, greedy clients, and too many clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Semaphore;

use crate::client::{self, get, raw, until};
use crate::clock::Clock;
use crate::proxy::Proxy;
use crate::upstream::{Step, Upstream, status};

/// Sends a request on a kept connection and returns the response.
async fn ask(stream: &mut TcpStream, target: &str) -> std::io::Result<String> {
    stream.write_all(format!("GET {target} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    // All answers here end like this.
    while !answer.ends_with(b"ok\n") {
        let mut block = [0; 1024];
        let read = tokio::time::timeout(client::PATIENCE, stream.read(&mut block));
        match read.await.expect("an answer in time")? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            len => answer.extend_from_slice(&block[..len]),
        }
    }
    Ok(String::from_utf8(answer).unwrap())
}

/// Reads until the peer closes.
async fn end(stream: &mut TcpStream) -> String {
    let mut rest = Vec::new();
    // A reset is an end as well.
    let _ =
        tokio::time::timeout(client::PATIENCE, stream.read_to_end(&mut rest)).await.expect("an end in time");
    String::from_utf8_lossy(&rest).into_owned()
}

async fn is_open(stream: &TcpStream) -> bool {
    let mut byte = [0];
    // Whoever is not closed has nothing to say.
    tokio::select! {
        biased;
        _ = stream.peek(&mut byte) => false,
        () = std::future::ready(()) => true,
    }
}

#[tokio::test]
async fn half_requests_are_gone_within_half_a_minute() {
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let proxy = Proxy::start(&upstream).await;
    let clock = Clock::stop();
    let mut crowd = Vec::new();
    for n in 0..300 {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        let half: &[u8] = match n % 5 {
            0 => b"",
            1 => b"G",
            2 => b"GET /api/v4/packages HTTP/1.1\r\nhost: x\r\nx-a: ",
            3 => b"PRI * HTTP/2.0\r\n",
            _ => {
                ask(&mut stream, "/livez").await.unwrap();
                b"GET /livez HTTP/1.1\r\n"
            }
        };
        stream.write_all(half).await.unwrap();
        crowd.push(stream);
    }
    assert_eq!(get(proxy.address, "/api/v4/packages").await.text(), "[]");
    // The clock stands still, but bytes need a moment.
    for _ in 0..20 {
        clock.pass(Duration::from_secs(1)).await;
        get(proxy.address, "/livez").await;
    }
    clock.pass(Duration::from_secs(5)).await;
    for mut stream in crowd {
        assert_eq!(end(&mut stream).await, "");
    }
}

#[tokio::test]
async fn a_drip_of_a_head_is_no_progress() {
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let proxy = Proxy::start(&upstream).await;
    let clock = Clock::stop();
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    stream.write_all(b"GET /livez HTTP/1.1\r\nx-a: ").await.unwrap();
    let mut seconds = 0;
    while stream.write_all(b"a").await.is_ok() && is_open(&stream).await {
        seconds += 1;
        assert!(seconds <= 30, "it goes on");
        clock.pass(Duration::from_secs(1)).await;
        get(proxy.address, "/livez").await;
    }
    assert!(seconds >= 15, "closed after {seconds} s");
}

#[tokio::test]
async fn an_idle_connection_outlives_a_minute() {
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let proxy = Proxy::start(&upstream).await;
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    ask(&mut stream, "/livez").await.unwrap();
    let clock = Clock::stop();
    for _ in 0..2 {
        clock.pass(Duration::from_secs(70)).await;
        assert!(is_open(&stream).await);
        ask(&mut stream, "/livez").await.unwrap();
    }
    clock.pass(Duration::from_secs(80)).await;
    assert_eq!(end(&mut stream).await, "");
}

#[tokio::test]
async fn a_body_that_stalls_or_drips_is_the_clients_fault() {
    let upstream = Upstream::start(|_| status(200, "text/plain", b"ok")).await;
    for drips in [false, true] {
        let proxy = Proxy::start(&upstream).await;
        let clock = Clock::stop();
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        stream.write_all(b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\nhalf").await.unwrap();
        let mut seconds = 0;
        while is_open(&stream).await {
            seconds += 1;
            assert!(seconds <= 50, "it goes on");
            if drips {
                stream.write_all(b".").await.unwrap();
            }
            // The body is looked at only once there is a connection to pass it to.
            get(proxy.address, "/livez").await;
            clock.pass(Duration::from_secs(1)).await;
        }
        assert!(seconds >= 20, "cut after {seconds} s");
        let answer = end(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("problem+json"), "{answer}");
        assert!(answer.contains("within 30 s"), "{answer}");
        tokio::time::resume();
    }
    assert_eq!(upstream.count(), 0, "no request was whole");
}

#[tokio::test]
async fn bodies_have_a_largest_size() {
    let upstream = Upstream::start(|_| status(200, "text/plain", b"ok")).await;
    let proxy = Proxy::start_with(&upstream.url(), |config| *config.limits.request_body = 1000).await;
    let post = async |framing: &str, body: &str| {
        let head = format!("POST /x HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{framing}\r\n\r\n");
        raw(proxy.address, format!("{head}{body}").as_bytes()).await
    };
    let chunked = |len: usize| {
        let chunk = format!("{:x}\r\n{}\r\n", len / 4, ".".repeat(len / 4));
        format!("{chunk}{chunk}{chunk}{chunk}0\r\n\r\n")
    };
    let problem = "\"detail\":\"the body of a request may have 1000 bytes at most\"";
    for answer in [
        post("content-length: 1001", "").await,
        post("content-length: 1001\r\nexpect: 100-continue", "").await,
        post("transfer-encoding: chunked", &chunked(1004)).await,
        post("transfer-encoding: chunked\r\nexpect: 100-continue", &chunked(4000)).await,
    ] {
        let answer = answer.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(&answer);
        assert!(answer.starts_with("HTTP/1.1 413 ") && answer.contains(problem), "{answer}");
    }
    assert_eq!(upstream.count(), 0, "none was whole");
    assert!(post("content-length: 1000", &".".repeat(1000)).await.starts_with("HTTP/1.1 200 "));
    assert!(post("transfer-encoding: chunked", &chunked(1000)).await.starts_with("HTTP/1.1 200 "));
    assert_eq!(upstream.requests().iter().map(|seen| seen.body_len).collect::<Vec<_>>(), [1000, 1000]);
}

#[tokio::test]
async fn heads_have_a_largest_size() {
    let upstream = Upstream::start(|_| status(200, "text/plain", b"ok")).await;
    let proxy = Proxy::start(&upstream).await;
    let ask = async |target: &str, fields: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{fields}\r\n");
        raw(proxy.address, request.as_bytes()).await
    };
    let many = |n: usize| (0..n).map(|n| format!("x-{n}: 1\r\n")).collect::<String>();
    let long = |n: usize| format!("/{}", "x".repeat(n - 1));
    let large = |n: usize| format!("x-a: {}\r\n", "x".repeat(n));
    assert!(ask("/x", &many(98)).await.starts_with("HTTP/1.1 200 "));
    assert!(ask("/x", &many(99)).await.starts_with("HTTP/1.1 431 "));
    assert!(ask("/x", &large(60 << 10)).await.starts_with("HTTP/1.1 200 "));
    assert!(ask("/x", &large(70 << 10)).await.starts_with("HTTP/1.1 431 "));
    assert!(ask(&long(8 << 10), "").await.starts_with("HTTP/1.1 200 "));
    let answer = ask(&long((8 << 10) + 1), "").await;
    assert!(answer.starts_with("HTTP/1.1 414 ") && answer.contains("problem+json"), "{answer}");
    assert!(ask(&long(70 << 10), "").await.starts_with("HTTP/1.1 4"));
    assert_eq!(upstream.count(), 3);
}

/// An upstream that responds to each request only when it gets a pass.
async fn turnstile() -> (Upstream, Arc<Semaphore>) {
    let gate = Arc::new(Semaphore::new(0));
    let closed = Arc::clone(&gate);
    let upstream = Upstream::start(move |_| {
        let mut script = status(200, "text/plain", b"ok\n");
        script.insert(0, Step::Turnstile(Arc::clone(&closed)));
        script
    })
    .await;
    (upstream, gate)
}

#[tokio::test]
async fn the_connection_that_is_idle_for_longest_makes_room() {
    let (upstream, gate) = turnstile().await;
    let proxy = Proxy::start_with(&upstream.url(), |config| {
        *config.limits.connections = 3;
        *config.limits.connections_per_address = 3;
    })
    .await;
    let mut kept = Vec::new();
    for _ in 0..3 {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        ask(&mut stream, "/livez").await.unwrap();
        kept.push(stream);
    }
    ask(&mut kept[0], "/livez").await.unwrap();
    assert_eq!(get(proxy.address, "/livez").await.text(), "ok\n");
    assert_eq!(end(&mut kept.remove(1)).await, "");
    for stream in &mut kept {
        ask(stream, "/livez").await.unwrap();
    }
    // All busy: the next one waits until one is done.
    let address = proxy.address;
    let busy: Vec<_> = (0..3).map(|_| tokio::spawn(async move { get(address, "/slow").await })).collect();
    until("three requests", async || upstream.count() == 3).await;
    let next = tokio::spawn(async move { get(address, "/livez").await });
    for stream in &mut kept {
        assert_eq!(end(stream).await, "");
    }
    assert!(!next.is_finished());
    gate.add_permits(1);
    assert_eq!(next.await.unwrap().text(), "ok\n");
    gate.add_permits(2);
    for busy in busy {
        assert_eq!(busy.await.unwrap().text(), "ok\n");
    }
}

#[tokio::test]
async fn one_address_cannot_have_them_all() {
    let (upstream, gate) = turnstile().await;
    let proxy = Proxy::start_with(&upstream.url(), |config| {
        *config.limits.connections = 10;
        *config.limits.connections_per_address = 2;
    })
    .await;
    let address = proxy.address;
    let busy: Vec<_> = (0..2).map(|_| tokio::spawn(async move { get(address, "/slow").await })).collect();
    until("two requests", async || upstream.count() == 2).await;
    assert_eq!(raw(address, b"").await, "", "closed at once");
    let elsewhere = connect_from("127.0.0.2:0", address).await;
    let mut elsewhere = elsewhere.unwrap();
    assert!(ask(&mut elsewhere, "/livez").await.unwrap().starts_with("HTTP/1.1 200 "));
    gate.add_permits(2);
    for busy in busy {
        assert_eq!(busy.await.unwrap().text(), "ok\n");
    }
    assert_eq!(get(address, "/livez").await.text(), "ok\n");
}

async fn connect_from(source: &str, address: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(source.parse().unwrap())?;
    socket.connect(address).await
}

#[tokio::test]
async fn no_task_is_left_of_a_storm() {
    let upstream = Upstream::start(|request| match request.target.as_str() {
        "/big" => {
            vec![crate::upstream::head_of(200, "content-length: 100000000\r\n"), Step::Fill(100_000_000)]
        }
        _ => [status(200, "text/plain", b"ok\n"), vec![Step::Close]].concat(),
    })
    .await;
    let proxy = Proxy::start(&upstream).await;
    ask(&mut TcpStream::connect(proxy.address).await.unwrap(), "/livez").await.unwrap();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    for n in 0..200 {
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        let request: &[u8] = match n % 4 {
            0 => b"GET /livez HTTP/1.1\r\nhost",
            1 => b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n",
            2 => b"POST /x HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nha",
            _ => b"GET /x HTTP/1.1\r\nhost: x\r\n\r\n",
        };
        stream.write_all(request).await.unwrap();
    }
    until("as many tasks as before", async || tasks() <= before).await;
}

/// Lets a client pause between two requests.
async fn pause(clock: &Clock) {
    clock.pass(Duration::from_secs(2)).await;
}

#[tokio::test]
async fn a_connection_goes_on_after_a_pause() {
    let upstream = Upstream::start(|_| status(200, "text/plain", b"ok\n")).await;
    let proxy = Proxy::start(&upstream).await;
    let clock = Clock::stop();
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    for round in 0..3 {
        let answer = ask(&mut stream, &format!("/{round}")).await.expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        pause(&clock).await;
    }
    // The start of a request may have come with the one before.
    stream.write_all(b"GET /a HTTP/1.1\r\nhost: x\r\n\r\nGET /b HTT").await.unwrap();
    let read = async |stream: &mut TcpStream| {
        let mut answer = vec![0; 1024];
        let len = stream.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..len]).into_owned()
    };
    assert!(read(&mut stream).await.ends_with("ok\n"));
    pause(&clock).await;
    stream.write_all(b"P/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let last = end(&mut stream).await;
    assert!(last.ends_with("ok\n"), "{last:?}");
    let targets: Vec<_> = upstream.requests().into_iter().map(|seen| seen.target).collect();
    assert_eq!(targets, ["/0", "/1", "/2", "/a", "/b"]);
}

#[tokio::test]
async fn a_connection_stays_with_its_protocol() {
    let upstream = Upstream::start(|_| status(200, "text/plain", b"ok\n")).await;
    let proxy = Proxy::start(&upstream).await;
    let clock = Clock::stop();
    let mut stream = TcpStream::connect(proxy.address).await.unwrap();
    ask(&mut stream, "/").await.expect("an answer");
    pause(&clock).await;
    // A proxy in front may have let a client's strange request through.
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    // No frames.
    assert_eq!(end(&mut stream).await, "");
}
