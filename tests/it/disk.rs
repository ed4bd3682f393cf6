//! Copies on disk: they survive a restart, are never wrong, and never make a request fail.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::client::{finish, get, get_request, send, until};
use crate::process::Process;
use crate::proxy::{Proxy, array, free, plesk};
use crate::upstream::{Step, Upstream, head_of, ok, status};

const PACKAGES: &str = "/api/v4/packages?q";
const CATEGORIES: &str = "/api/v4/categories?q";

fn feed() -> String {
    array(&[plesk("wp-toolkit"), plesk("xovi"), free("git")])
}

fn shown() -> String {
    array(&[plesk("wp-toolkit"), free("git")])
}

async fn start(upstream: &str, directory: &Path) -> Proxy {
    let directory = directory.to_owned();
    Proxy::start_with(upstream, |config| config.cache_dir = Some(directory.into())).await
}

/// Returns the value of a metric without labels, if there is one.
async fn metric(proxy: &Proxy, name: &str) -> Option<f64> {
    let text = get(proxy.admin, "/metrics").await.text().to_owned();
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

async fn until_usable(proxy: &Proxy, usable: f64) {
    until(&format!("a directory that is usable: {usable}"), async || {
        metric(proxy, "catalog_proxy_cache_directory_usable").await == Some(usable)
    })
    .await;
}

pub fn copies(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "copy")).collect()
}

/// Fills a cache directory; returns it with the address of an upstream that has been stopped.
async fn filled() -> (tempfile::TempDir, String, String) {
    let directory = tempfile::tempdir().unwrap();
    let upstream =
        Upstream::with_feeds(feed(), r#"[{"top_packages":[{"code":"xovi"},{"code":"git"}]}]"#).await;
    let url = upstream.url();
    let proxy = start(&url, directory.path()).await;
    get(proxy.address, CATEGORIES).await;
    let etag = get(proxy.address, PACKAGES).await.header("etag").to_owned();
    proxy.stop().await;
    upstream.stop().await;
    assert_eq!(copies(directory.path()).len(), 2);
    (directory, url, etag)
}

#[tokio::test]
async fn a_restart_during_an_outage_serves_the_last_copies() {
    let (directory, url, etag) = filled().await;
    let proxy = start(&url, directory.path()).await;
    let answer = get(proxy.address, PACKAGES).await;
    assert_eq!((answer.text(), answer.header("etag")), (shown().as_str(), etag.as_str()));
    assert!(answer.header("cache-status").starts_with("catalog-proxy; hit; ttl=5"), "{answer:?}");
    let answer = get(proxy.address, CATEGORIES).await;
    assert_eq!(answer.text(), r#"[{"top_packages":[{"code":"git"}]}]"#);
    get(proxy.address, "/api/v4/packages?other").await.assert_problem(502);
}

#[tokio::test]
async fn a_damaged_file_is_dropped_and_never_served() {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 6] = [
        ("a changed letter", |file| {
            let at = file.windows(3).position(|word| word == b"git" || word == b"top").unwrap();
            file[at] = b'x';
        }),
        ("a flipped bit in the body", |file| *file.last_mut().unwrap() ^= 1),
        ("a flipped bit in the header", |file| file[120] ^= 1),
        ("a cut-off end", |file| file.truncate(file.len() - 1)),
        ("nothing in it", |file| file.clear()),
        ("something else", |file| *file = b"hello\nworld\n".to_vec()),
    ];
    for (name, damage) in damages {
        let (directory, url, _) = filled().await;
        for path in copies(directory.path()) {
            let mut file = fs::read(&path).unwrap();
            damage(&mut file);
            fs::write(&path, file).unwrap();
        }
        let proxy = start(&url, directory.path()).await;
        let answer = get(proxy.address, PACKAGES).await;
        assert_eq!(answer.status, 502, "{name}");
        assert_eq!(copies(directory.path()).len(), 1, "{name}: only the one asked for is dropped");
    }
}

#[tokio::test]
async fn a_file_of_another_key_is_not_taken_for_this_one() {
    let (directory, url, _) = filled().await;
    let paths = copies(directory.path());
    let swap = fs::read(&paths[0]).unwrap();
    fs::write(&paths[0], fs::read(&paths[1]).unwrap()).unwrap();
    fs::write(&paths[1], swap).unwrap();
    let proxy = start(&url, directory.path()).await;
    get(proxy.address, PACKAGES).await.assert_problem(502);
}

/// Replaces all copies by something that cannot be read.
fn hide(directory: &Path, replace: impl Fn(&Path)) {
    for path in copies(directory) {
        fs::rename(&path, path.with_extension("hidden")).unwrap();
        replace(&path);
    }
}

#[tokio::test]
async fn a_copy_that_cannot_be_read_just_now_is_left_alone() {
    type Obstacle = fn(&Path);
    let obstacles: [(&str, Obstacle); 3] = [
        // ELOOP, as good as EACCES, which root never gets.
        ("a link to itself", |path| symlink(path, path).unwrap()),
        ("a directory", |path| fs::create_dir(path).unwrap()),
        // Reading one waits for a writer: for ever.
        ("a pipe", |path| {
            rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        }),
    ];
    for (name, obstacle) in obstacles {
        let (directory, url, _) = filled().await;
        hide(directory.path(), obstacle);
        let proxy = start(&url, directory.path()).await;
        get(proxy.address, PACKAGES).await.assert_problem(502);
        assert_eq!(copies(directory.path()).len(), 2, "{name}: both are still there");
        for path in copies(directory.path()) {
            let restored = path.with_extension("hidden");
            if path.is_dir() {
                fs::remove_dir(&path).unwrap();
            }
            fs::rename(restored, path).unwrap();
        }
        until("the copy", async || get(proxy.address, PACKAGES).await.status == 200).await;
        proxy.stop().await;
    }
}

#[tokio::test]
async fn a_file_of_another_version_is_neither_dropped_nor_overwritten() {
    let (directory, url, _) = filled().await;
    let newer: Vec<_> = copies(directory.path())
        .into_iter()
        .map(|path| {
            let mut file = fs::read(&path).unwrap();
            file[19] = b'2';
            fs::write(&path, &file).unwrap();
            (path, file)
        })
        .collect();
    let unchanged = || newer.iter().all(|(path, file)| fs::read(path).unwrap() == *file);
    let proxy = start(&url, directory.path()).await;
    get(proxy.address, PACKAGES).await.assert_problem(502);
    assert!(unchanged());
    proxy.stop().await;
    // What this version fetches is kept beside it.
    let upstream = Upstream::with_feeds(feed(), "[]").await;
    let url = upstream.url();
    let proxy = start(&url, directory.path()).await;
    assert_eq!(get(proxy.address, PACKAGES).await.text(), shown());
    proxy.stop().await;
    upstream.stop().await;
    assert!(unchanged());
    let proxy = start(&url, directory.path()).await;
    assert_eq!(get(proxy.address, PACKAGES).await.text(), shown());
    proxy.stop().await;
    assert!(unchanged());
}

#[tokio::test]
async fn left_overs_of_a_crash_are_removed() {
    let (directory, url, _) = filled().await;
    let left = directory.path().join(".tmp-abc");
    fs::write(&left, "half").unwrap();
    start(&url, directory.path()).await.stop().await;
    assert!(!left.exists());
    assert_eq!(copies(directory.path()).len(), 2);
}

#[tokio::test]
async fn a_disk_that_cannot_be_used_costs_no_request() {
    let upstream = Upstream::with_feeds(feed(), "[]").await;
    // A file where the directory should be.
    let file = tempfile::NamedTempFile::new().unwrap();
    let proxy = start(&upstream.url(), file.path()).await;
    assert_eq!(get(proxy.address, PACKAGES).await.text(), shown());
    proxy.stop().await;
    // A directory that vanishes.
    let directory = tempfile::tempdir().unwrap();
    let proxy = start(&upstream.url(), &directory.path().join("cache")).await;
    fs::remove_dir(directory.path().join("cache")).unwrap();
    for _ in 0..3 {
        assert_eq!(get(proxy.address, PACKAGES).await.text(), shown());
    }
    proxy.stop().await;
    // The device that is always full.
    let proxy = start(&upstream.url(), Path::new("/dev/full")).await;
    assert_eq!(get(proxy.address, PACKAGES).await.text(), shown());
    proxy.stop().await;
}

#[tokio::test]
async fn a_directory_that_can_be_used_later_is_used_then() {
    let upstream = Upstream::with_feeds(feed(), "[]").await;
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("cache");
    fs::write(&directory, "in its way").unwrap();
    let proxy = start(&upstream.url(), &directory).await;
    assert_eq!(get(proxy.address, PACKAGES).await.text(), shown());
    until_usable(&proxy, 0.0).await;
    fs::remove_file(&directory).unwrap();
    // What was fetched before is written once there is a directory.
    until("the copy", async || directory.is_dir() && copies(&directory).len() == 1).await;
    until_usable(&proxy, 1.0).await;
    // It vanishes, and another one comes, as at an unmount; then the first one is back.
    let away = parent.path().join("away");
    fs::rename(&directory, &away).unwrap();
    until("another directory", async || directory.is_dir()).await;
    until_usable(&proxy, 1.0).await;
    fs::remove_dir_all(&directory).unwrap();
    fs::rename(&away, &directory).unwrap();
    get(proxy.address, "/api/v4/packages?another").await;
    until("the copy that was there and the new one", async || copies(&directory).len() == 2).await;
    proxy.stop().await;
    let url = upstream.stop().await;
    let proxy = start(&format!("http://{url}"), &directory).await;
    for target in [PACKAGES, "/api/v4/packages?another"] {
        assert_eq!(get(proxy.address, target).await.text(), shown());
    }
}

#[tokio::test]
async fn a_process_that_drains_hands_its_directory_over() {
    let directory = tempfile::tempdir().unwrap();
    let (gate, outage) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let (opened, fails) = (Arc::clone(&gate), Arc::clone(&outage));
    let upstream = Upstream::start(move |request| match request.target.as_str() {
        _ if fails.load(Ordering::Relaxed) => status(503, "text/plain", b"down"),
        "/slow" => vec![
            head_of(200, "content-length: 1\r\n"),
            Step::Gate(Arc::clone(&opened)),
            Step::Send(b"x".to_vec()),
        ],
        _ => ok(feed().as_bytes()),
    })
    .await;
    let old = start(&upstream.url(), directory.path()).await;
    get(old.address, PACKAGES).await;
    let new = start(&upstream.url(), directory.path()).await;
    // It serves without.
    assert_eq!(get(new.address, "/api/v4/packages?new").await.text(), shown());
    until_usable(&new, 0.0).await;
    until_usable(&old, 1.0).await;
    let ready = get(new.admin, "/readyz").await;
    let ready: serde_json::Value = serde_json::from_slice(&ready.body).unwrap();
    assert_eq!(ready["cache_directory"], "another process uses it");
    // The old one has an answer to finish when it is told to stop.
    let running = send(old.address, get_request("/slow")).await;
    let stopping = tokio::spawn(old.stop());
    until_usable(&new, 1.0).await;
    until("what the new one fetched before", async || copies(directory.path()).len() == 2).await;
    assert!(!stopping.is_finished());
    // What the old one wrote serves the new one.
    outage.store(true, Ordering::Relaxed);
    let answer = get(new.address, PACKAGES).await;
    assert_eq!(answer.text(), shown());
    gate.notify_one();
    assert_eq!(finish(running).await.text(), "x");
    stopping.await.unwrap();
}

#[tokio::test]
async fn a_copy_of_before_is_renewed_when_the_upstream_is_back() {
    let (directory, _, _) = filled().await;
    let upstream = Upstream::with_feeds("[\"new\",\"er\"]", "[]").await;
    let proxy = Proxy::start_with(&upstream.url(), |config| {
        config.cache_dir = Some(directory.path().to_owned().into());
        *config.cache.fresh_for = Duration::from_millis(1);
        config.cache.max_fresh_for = Some(*config.cache.fresh_for);
    })
    .await;
    // The bound of now counts, not that of then.
    let answer = get(proxy.address, PACKAGES).await;
    assert_eq!(answer.text(), shown());
    assert!(answer.header("cache-status").starts_with("catalog-proxy; hit; ttl=-"), "{answer:?}");
    until("the new feed", async || get(proxy.address, PACKAGES).await.text() == "[\"new\",\"er\"]").await;
}

#[tokio::test]
async fn a_confirmed_copy_is_as_good_as_new_after_a_restart() {
    const STALE_FOR: Duration = Duration::from_secs(3);
    let directory = tempfile::tempdir().unwrap();
    let upstream = Upstream::start(|request| match request.header("if-none-match") {
        Some("\"v1\"") => vec![head_of(304, "")],
        _ => {
            let fields = format!("etag: \"v1\"\r\ncontent-length: {}\r\n", feed().len());
            vec![head_of(200, &fields), Step::Send(feed().into_bytes())]
        }
    })
    .await;
    let url = upstream.url();
    let run = async || {
        Proxy::start_with(&url, |config| {
            config.cache_dir = Some(directory.path().to_owned().into());
            *config.cache.fresh_for = Duration::from_millis(1);
            config.cache.max_fresh_for = Some(*config.cache.fresh_for);
            *config.cache.stale_for = STALE_FOR;
        })
        .await
    };
    let proxy = run().await;
    let stored = Instant::now();
    // Confirmed for longer than it could be served without.
    until("confirmations", async || {
        assert_eq!(get(proxy.address, PACKAGES).await.text(), shown());
        stored.elapsed() > STALE_FOR + Duration::from_secs(1)
    })
    .await;
    proxy.stop().await;
    upstream.stop().await;
    let proxy = run().await;
    assert_eq!(get(proxy.address, PACKAGES).await.text(), shown());
}

#[tokio::test]
async fn a_kill_at_any_moment_leaves_a_whole_file() {
    let directory = tempfile::tempdir().unwrap();
    let cache = directory.path().to_str().unwrap();
    // Large enough that a write takes a while, and different each time.
    let n = std::sync::atomic::AtomicUsize::new(0);
    let upstream = Upstream::start(move |_| {
        let n = n.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        ok(format!("[{n},\"{}\"]", "x".repeat(1 << 20)).as_bytes())
    })
    .await;
    let gone = Upstream::start(|_| Vec::new()).await.stop().await;
    for round in 0..12 {
        let mut process = Process::start_with(&upstream.url(), |command| {
            command.args(["--cache-dir", cache, "--fresh-for", "1ms"]);
        });
        until("a copy", async || {
            !copies(directory.path()).is_empty() || get(process.address, PACKAGES).await.status != 200
        })
        .await;
        for _ in 0..round {
            get(process.address, PACKAGES).await;
        }
        process.kill();
        let process = Process::start_with(&format!("http://{gone}"), |command| {
            command.args(["--cache-dir", cache]);
        });
        let answer = get(process.address, PACKAGES).await;
        assert_eq!(answer.status, 200, "round {round}: {answer:?}");
        let feed: Vec<serde_json::Value> = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(feed.len(), 2);
    }
}
