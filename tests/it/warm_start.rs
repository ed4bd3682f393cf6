//! A process that starts has what the one before had in use, and is warm without a client.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::client::{get, until};
use crate::process::Process;
use crate::proxy::{array, plesk};
use crate::upstream::{Upstream, ok, status};

const UPDATES: &str = "/api/v4/packages?platform=unix&with-hidden&with-unstable";
const WINDOW: &str = "/api/v4/packages?with-details=link&platform=unix&locale=en-US";
const CATEGORIES: &str = "/api/v4/categories?platform=unix&locale=en-US";

fn start(upstream: &str, cache: &Path) -> Process {
    Process::start_with(upstream, |command| {
        command.arg("--cache-dir").arg(cache);
    })
}

async fn upstream() -> Upstream {
    Upstream::with_feeds(array(&[plesk("wp-toolkit")]), "[]").await
}

async fn is_warm(process: &Process) {
    until("warmth", async || get(process.address, "/readyz?warm").await.status == 200).await;
    assert_eq!(get(process.admin, "/readyz?warm").await.status, 200);
}

/// Returns the names of the copies.
fn copies(cache: &Path) -> Vec<String> {
    let files = fs::read_dir(cache).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    files.filter(|name| name.ends_with(".copy")).collect()
}

/// Fills a cache directory as a process does that clients ask.
async fn fill(upstream: &Upstream, cache: &Path, targets: &[&str]) {
    let mut process = start(&upstream.url(), cache);
    for target in targets {
        assert_eq!(get(process.address, target).await.status, 200);
    }
    // Categories bring their packages along.
    until("the copies", async || copies(cache).len() >= targets.len()).await;
    process.signal("TERM");
    assert_eq!(process.wait().await.code(), Some(0));
}

async fn stop(upstream: Upstream) -> String {
    format!("http://{}", upstream.stop().await)
}

#[tokio::test]
async fn copies_are_loaded_and_renewed_before_anybody_asks() {
    let (upstream, cache) = (upstream().await, tempfile::tempdir().unwrap());
    fill(&upstream, cache.path(), &[UPDATES, WINDOW]).await;
    let before = upstream.count();
    let process = start(&upstream.url(), cache.path());
    is_warm(&process).await;
    until("both renewed", async || upstream.count() == before + 2).await;
    let mut renewed: Vec<_> = upstream.requests()[before..].iter().map(|one| one.target.clone()).collect();
    renewed.sort();
    assert_eq!(renewed, [UPDATES, WINDOW]);
    until("the log", async || process.log().contains("\"copies\":2")).await;
}

#[tokio::test]
async fn an_outage_leaves_a_new_process_warm_by_its_copies() {
    let (upstream, cache) = (upstream().await, tempfile::tempdir().unwrap());
    // None that is fetched without copies.
    fill(&upstream, cache.path(), &[WINDOW, CATEGORIES]).await;
    let gone = stop(upstream).await;
    let process = start(&gone, cache.path());
    is_warm(&process).await;
    let answer = get(process.address, WINDOW).await;
    assert!(answer.status == 200 && answer.text().contains("wp-toolkit"), "{answer:?}");
}

#[tokio::test]
async fn a_broken_copy_is_dropped_and_the_others_serve() {
    let (upstream, cache) = (upstream().await, tempfile::tempdir().unwrap());
    fill(&upstream, cache.path(), &[UPDATES, WINDOW]).await;
    let broken = cache.path().join(&copies(cache.path())[0]);
    let bytes = fs::read(&broken).unwrap();
    fs::write(&broken, &bytes[..bytes.len() - 1]).unwrap();
    // One whose name is another key's.
    let strange = cache.path().join(format!("{}.copy", "0".repeat(32)));
    fs::write(&strange, &bytes).unwrap();
    fs::write(cache.path().join("other"), "none of ours").unwrap();
    let gone = stop(upstream).await;
    let process = start(&gone, cache.path());
    is_warm(&process).await;
    until("both dropped", async || process.log().matches("copy on disk dropped").count() == 2).await;
    assert!(!broken.exists() && !strange.exists());
    let served = [get(process.address, UPDATES).await.status, get(process.address, WINDOW).await.status];
    assert_eq!(served.iter().filter(|status| **status == 200).count(), 1, "{served:?}");
}

#[tokio::test]
async fn a_probe_without_copies_has_the_usual_feeds_fetched() {
    let upstream = upstream().await;
    let mut process = Process::start_with(&upstream.url(), |_| ());
    assert_eq!(get(process.address, "/readyz").await.status, 200);
    assert_eq!(upstream.count(), 0, "nobody has asked for anything");
    assert_eq!(get(process.admin, "/readyz?warm").await.status, 503);
    is_warm(&process).await;
    until("both", async || upstream.count() == 2).await;
    let asked: Vec<_> = upstream.requests().iter().map(|one| one.target.clone()).collect();
    assert_eq!(asked, [UPDATES, "/api/v4/packages"]);
    process.signal("TERM");
    assert_eq!(process.wait().await.code(), Some(0));
}

#[tokio::test]
async fn a_cold_process_waits_for_the_upstream_and_is_not_stuck() {
    let works = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&works);
    let upstream = Upstream::start(move |_| match flag.load(Ordering::SeqCst) {
        true => ok(b"[]"),
        false => status(503, "text/html", b"down"),
    })
    .await;
    let cache = tempfile::tempdir().unwrap();
    let process = start(&upstream.url(), cache.path());
    until("a try", async || {
        assert_eq!(get(process.admin, "/readyz?warm").await.status, 503);
        upstream.count() > 0
    })
    .await;
    assert_eq!(get(process.admin, "/readyz").await.status, 200);
    works.store(true, Ordering::SeqCst);
    is_warm(&process).await;
}
