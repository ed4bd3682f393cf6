//! Memory has a bound whatever clients invent.

use crate::client::get;
use crate::process::Process;
use crate::upstream::{Upstream, ok};

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
