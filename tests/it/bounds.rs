//! Memory has a bound whatever clients invent.

use std::sync::Arc;

use http::Request;
use http_body_util::Full;
use tokio::sync::Semaphore;

use crate::client::{self, get, until};
use crate::metrics::value;
use crate::process::Process;
use crate::proxy::Proxy;
use crate::upstream::{Step, Upstream, head_of, ok};

#[tokio::test]
async fn invented_queries_stay_within_the_cache_size() {
    const QUERIES: usize = 1500;
    let filler = "x".repeat(200 << 10);
    let upstream =
        Upstream::start(move |request| ok(format!("[{:?},\"{filler}\"]", request.target).as_bytes())).await;
    let process = Process::start_with(&upstream.url(), |command| {
        command.args(["--cache-size", "64MiB"]);
    });
    for n in 0..QUERIES {
        let target = format!("/api/v4/packages?n={n}");
        assert_eq!(get(process.address, &target).await.status, 200);
        // Encoded forms are made behind the answers, and count as well.
        let request =
            Request::get(target).header("accept-encoding", "gzip, br").body(Full::default()).unwrap();
        assert_eq!(client::request(process.address, request).await.status, 200);
    }
    assert_eq!(upstream.count(), QUERIES);
    let metrics = get(process.admin, "/metrics").await;
    let used = value(metrics.text(), "catalog_proxy_cache_bytes");
    assert!((32 << 20..=64 << 20).contains(&(used as u64)), "{used} bytes");
    // What was asked last is still there.
    get(process.address, &format!("/api/v4/packages?n={}", QUERIES - 1)).await;
    assert_eq!(upstream.count(), QUERIES);
}

#[tokio::test]
async fn a_feed_of_crumbs_is_refused() {
    use std::io::Write;
    let encode = |body: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(body).unwrap();
        encoder.finish().unwrap()
    };
    let crumbs = "1,".repeat(15 << 20);
    let packages = encode(format!("[{crumbs}1]").as_bytes());
    let categories = encode(format!("[{{\"top_packages\":[{crumbs}1]}}]").as_bytes());
    let upstream = Upstream::start(move |request| {
        let body = if request.target.contains("packages") { &packages } else { &categories };
        let head = format!("content-encoding: gzip\r\ncontent-length: {}\r\n", body.len());
        vec![head_of(200, &head), Step::Send(body.clone())]
    })
    .await;
    let process = Process::start_with(&upstream.url(), |command| {
        command.args(["--max-feed-size", "64MiB"]);
    });
    for target in ["/api/v4/packages", "/api/v4/categories"] {
        let answer = get(process.address, target).await;
        assert!(answer.cut || answer.status == 502, "{target}: {}", answer.status);
        assert_ne!(get(process.address, target).await.status, 200);
    }
}

#[tokio::test]
async fn sixteen_fetches_run_at_once_and_the_rest_wait() {
    let gate = Arc::new(Semaphore::new(0));
    let closed = Arc::clone(&gate);
    let upstream = Upstream::start(move |request| {
        let mut script = ok(format!("[{:?}]", request.target).as_bytes());
        script.insert(0, Step::Turnstile(Arc::clone(&closed)));
        script
    })
    .await;
    let proxy = Proxy::start(&upstream).await;
    let target = |n: usize| format!("/api/v4/packages?n={n}");
    let crowd: Vec<_> = (0..40)
        .map(|n| {
            let address = proxy.address;
            tokio::spawn(async move { get(address, &target(n)).await })
        })
        .collect();
    until("sixteen fetches", async || upstream.count() == 16).await;
    for done in 1..=24 {
        gate.add_permits(1);
        until("the next fetch", async || upstream.count() == 16 + done).await;
    }
    gate.add_permits(16);
    for (n, client) in crowd.into_iter().enumerate() {
        assert_eq!(client.await.unwrap().text(), format!("[{:?}]", target(n)));
    }
    assert_eq!(upstream.count(), 40);
}

#[tokio::test]
async fn equal_bodies_are_kept_once() {
    const QUERIES: usize = 300;
    let feed = format!("[\"{}\"]", "x".repeat(1 << 20));
    let upstream = Upstream::with_feeds(feed, "[]").await;
    let process = Process::start_with(&upstream.url(), |command| {
        command.args(["--cache-size", "64MiB"]);
    });
    for _ in 0..2 {
        for n in 0..QUERIES {
            get(process.address, &format!("/api/v4/packages?n={n}")).await;
        }
    }
    assert_eq!(upstream.count(), QUERIES, "300 keys of a megabyte fit into 64");
}
