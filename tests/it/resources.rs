//! Failing resources of the machine: a full disk, missing directories, a wrong clock, rapid reloads.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::client::{get, until};
use crate::clock::Clock;
use crate::process::Process;
use crate::proxy::{Proxy, list};
use crate::support::{Feed, Shape};
use crate::upstream::{Upstream, head_of, ok};

fn files(directory: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Lets a process write no file of more than 64 blocks (32 or 64 KiB): writes fail halfway, as on a full disk.
fn with_small_files(command: &mut Command) {
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"trap '' XFSZ; ulimit -f 64; exec "$0" "$@""#]);
    shell.arg(command.get_program()).args(command.get_args()).stderr(Stdio::piped());
    *command = shell;
}

#[tokio::test]
async fn a_disk_that_fills_up_costs_a_copy_and_no_request() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("cache");
    let upstream = Upstream::start(|request| match request.target.contains("large") {
        true => ok(format!("[{:?}]", "x".repeat(200 << 10)).as_bytes()),
        false => ok(b"[\"small\"]"),
    })
    .await;
    let process = Process::start_with(&upstream.url(), |command| {
        command.args(["--fresh-for", "1ms", "--cache-dir"]).arg(&cache);
        with_small_files(command);
    });
    for n in 0..5 {
        for _ in 0..3 {
            let large = get(process.address, &format!("/api/v4/packages?large-{n}")).await;
            assert_eq!((large.status.as_u16(), large.body.len()), (200, (200 << 10) + 4));
        }
        assert_eq!(get(process.address, &format!("/api/v4/packages?{n}")).await.text(), "[\"small\"]");
    }
    // Nothing that was written halfway stays beside them; the last refresh may still be at it.
    until("the small ones alone on disk", async || {
        let files = files(&cache);
        files.len() == 5 && files.iter().all(|name| name.ends_with(".copy"))
    })
    .await;
}

#[tokio::test]
async fn a_cache_directory_that_vanished_is_made_again() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().join("cache");
    let n = AtomicUsize::new(0);
    let upstream =
        Upstream::start(move |_| ok(format!("[{}]", n.fetch_add(1, Ordering::SeqCst)).as_bytes())).await;
    let proxy = Proxy::start_with(&upstream.url(), |config| {
        config.cache_dir = Some(cache.clone().into());
        *config.cache.fresh_for = Duration::from_millis(1);
        config.cache.max_fresh_for = Some(*config.cache.fresh_for);
    })
    .await;
    for _ in 0..3 {
        until("a copy on disk", async || {
            assert_eq!(proxy.get("/api/v4/packages").await.status, 200);
            !files(&cache).is_empty()
        })
        .await;
        fs::remove_dir_all(&cache).unwrap();
    }
    proxy.stop().await;
}

#[tokio::test]
async fn when_to_ask_again_is_told_by_the_upstreams_clock() {
    let turn = Arc::new(AtomicUsize::new(0));
    let now = Arc::clone(&turn);
    let upstream = Upstream::start(move |_| match now.load(Ordering::SeqCst) {
        // Decades behind this machine's clock.
        1 => vec![head_of(
            503,
            "date: Sun, 06 Nov 1994 08:49:00 GMT\r\nretry-after: Sun, 06 Nov 1994 08:50:00 GMT\r\ncontent-length: 0\r\n",
        )],
        _ => ok(b"[1]"),
    })
    .await;
    let proxy = Proxy::start(&upstream).await;
    let clock = Clock::stop();
    proxy.get("/api/v4/packages").await;
    turn.store(1, Ordering::SeqCst);
    clock.jump(Duration::from_mins(11)).await;
    proxy.get("/api/v4/packages").await;
    until("the refusal", async || upstream.count() == 2).await;
    for _ in 0..5 {
        clock.pass(Duration::from_secs(10)).await;
        assert_eq!(proxy.get("/api/v4/packages").await.text(), "[1]");
    }
    assert_eq!(upstream.count(), 2);
    clock.pass(Duration::from_secs(20)).await;
    until("another fetch", async || upstream.count() == 3).await;
}

#[tokio::test]
async fn a_storm_of_edits_costs_bounded_work() {
    /// How long a file must stay as it is before it counts: no two reloads are closer.
    const SETTLE: Duration = Duration::from_millis(30);
    let feed = Feed::new(Shape::SMALL);
    let codes: Vec<String> = feed.plesk_codes().map(str::to_owned).collect();
    let upstream = Upstream::with_feeds(feed.json.clone(), "[]").await;
    let process = Process::start_with(&upstream.url(), |command| {
        command.args(["--cache-size", "16MiB"]);
    });
    let packages = async || get(process.address, "/api/v4/packages").await;
    packages().await;
    let generation = async || {
        let ready = get(process.admin, "/readyz").await;
        let state: serde_json::Value = serde_json::from_slice(&ready.body).unwrap();
        state["whitelist"]["generation"].as_u64().unwrap()
    };
    let (before, started) = (generation().await, Instant::now());
    for n in 0..1000 {
        process.edit(&list(&[&codes[n % codes.len()]]));
        if n % 10 == 0 {
            assert_eq!(packages().await.status, 200);
        }
    }
    let last: Vec<_> = codes.iter().step_by(2).map(String::as_str).collect();
    process.edit(&list(&last));
    let expected = feed.expected(|code| last.contains(&code));
    until("the last edit", async || packages().await.text() == expected).await;
    let (reloads, elapsed) = (generation().await - before, started.elapsed());
    let most = elapsed.as_millis() / SETTLE.as_millis() + 1;
    println!("{reloads} reloads in {elapsed:?}");
    assert!((1..=most).contains(&reloads.into()), "{reloads} reloads in {elapsed:?}");
    assert_eq!(upstream.count(), 1);
}
