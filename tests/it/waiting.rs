//! Limits of waiting: of clients, of queued fetches, and of fetches that no client waits for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::Notify;

use crate::client::{get, until};
use crate::clock::Clock;
use crate::proxy::Proxy;
use crate::upstream::{Step, Upstream, ok};

const RUNNING: usize = 16;
const WAITING: usize = 256;

/// An upstream that is silent, but for targets with `honest` in them.
async fn silent() -> Upstream {
    Upstream::start(|request| match request.target.contains("honest") {
        true => ok(b"[1]"),
        false => vec![Step::Gate(Arc::new(Notify::new()))],
    })
    .await
}

/// Requests a key of its own and keeps the connection.
async fn ask(address: SocketAddr, n: usize) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET /api/v4/packages?n={n} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

async fn metric(proxy: &Proxy, name: &str) -> usize {
    let metrics = get(proxy.admin, "/metrics").await;
    let line = metrics.text().lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name}")).parse().unwrap()
}

#[tokio::test]
async fn a_slow_upstream_costs_one_client_a_timeout_and_the_next_one_nothing() {
    let gate = Arc::new(Notify::new());
    let closed = Arc::clone(&gate);
    let upstream = Upstream::start(move |_| {
        let mut script = ok(b"[1]");
        script.insert(0, Step::Gate(Arc::clone(&closed)));
        script
    })
    .await;
    let proxy = Proxy::start(&upstream).await;
    let clock = Clock::stop();
    let waiting = tokio::spawn(get(proxy.address, "/api/v4/packages"));
    until("the fetch", async || upstream.count() == 1).await;
    clock.pass(Duration::from_secs(11)).await;
    let answer = waiting.await.unwrap();
    answer.assert_problem(504);
    assert!(answer.text().contains("the upstream did not answer within 10 s"), "{answer:?}");
    assert_eq!(answer.header("proxy-status"), "catalog-proxy; error=http_response_timeout");
    assert_eq!(answer.header("retry-after"), "5");
    gate.notify_one();
    until("the copy", async || metric(&proxy, "catalog_proxy_cached_keys").await == 1).await;
    assert!(proxy.get("/api/v4/packages").await.header("cache-status").starts_with("catalog-proxy; hit"));
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn one_more_than_may_wait_is_told_to_come_back() {
    let upstream = silent().await;
    let proxy =
        Proxy::start_with(&upstream.url(), |config| *config.limits.connections_per_address = 1000).await;
    let _clock = Clock::stop();
    let mut crowd = Vec::new();
    for n in 0..RUNNING + WAITING {
        crowd.push(ask(proxy.address, n).await);
    }
    until("a full queue", async || metric(&proxy, "catalog_proxy_fetches_waiting").await == WAITING).await;
    assert_eq!(metric(&proxy, "catalog_proxy_fetches_running").await, RUNNING);
    let answer = proxy.get("/api/v4/packages?honest").await;
    answer.assert_problem(503);
    assert_eq!(answer.header("retry-after"), "5");
    assert_eq!(metric(&proxy, "catalog_proxy_fetches_refused_total").await, 1);
    // It is not held against the key.
    drop(crowd);
    until("an empty queue", async || metric(&proxy, "catalog_proxy_fetches_waiting").await == 0).await;
    assert_eq!(proxy.get("/api/v4/packages?honest").await.text(), "[1]");
}

#[tokio::test]
async fn a_crowd_that_hung_up_keeps_nobody_waiting() {
    let upstream = silent().await;
    let proxy =
        Proxy::start_with(&upstream.url(), |config| *config.limits.connections_per_address = 1000).await;
    let clock = Clock::stop();
    for batch in 0..4 {
        let mut crowd = Vec::new();
        for n in 0..300 {
            crowd.push(ask(proxy.address, batch * 300 + n).await);
        }
        until("a full queue", async || metric(&proxy, "catalog_proxy_fetches_waiting").await == WAITING)
            .await;
    }
    // A busy machine may not have noticed yet that anybody hung up.
    until("a place", async || proxy.get("/api/v4/packages?honest").await.text() == "[1]").await;
    until("an empty queue", async || metric(&proxy, "catalog_proxy_fetches_waiting").await == 0).await;
    // What still runs ends by itself, and nothing is left of any of it but the honest copy.
    clock.pass(Duration::from_secs(61)).await;
    until("the last end", async || metric(&proxy, "catalog_proxy_fetches_running").await == 0).await;
    assert_eq!(metric(&proxy, "catalog_proxy_cached_keys").await, 1);
}

#[tokio::test]
async fn what_the_cache_cannot_hold_is_not_said_to_be_stored() {
    let upstream = Upstream::start(|_| ok(b"[1]")).await;
    let proxy = Proxy::start_with(&upstream.url(), |config| *config.cache.size = 256).await;
    for _ in 0..2 {
        let answer = proxy.get("/api/v4/packages").await;
        assert_eq!(answer.text(), "[1]");
        let status = answer.header("cache-status").split("; ttl=").next().unwrap().to_owned();
        assert_eq!(status, "catalog-proxy; fwd=miss");
    }
    assert_eq!(upstream.count(), 2);
}
