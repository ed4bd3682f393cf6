//! Memory has a bound whatever clients invent.

use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::client::{get, until};
use crate::process::Process;
use crate::proxy::Proxy;
use crate::upstream::{Step, Upstream, ok};

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
        let answer = get(process.address, &format!("/api/v4/packages?n={n}")).await;
        assert_eq!(answer.status, 200);
    }
    assert_eq!(upstream.count(), QUERIES);
    assert!(process.peak_memory() < 150 << 20, "{} bytes", process.peak_memory());
    // What was asked last is still there.
    get(process.address, &format!("/api/v4/packages?n={}", QUERIES - 1)).await;
    assert_eq!(upstream.count(), QUERIES);
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
