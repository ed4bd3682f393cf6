//! An edit of the whitelist shows in the next responses; no request fails, and none goes to the upstream.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::client::{get, until};
use crate::proxy::{Proxy, array, list, plesk};
use crate::upstream::Upstream;

const PACKAGES: &str = "/api/v4/packages";
const CODES: [&str; 4] = ["wp-toolkit", "docker", "xovi", "kolab"];

async fn start() -> (Upstream, Proxy) {
    let upstream = Upstream::with_feeds(array(&CODES.map(plesk)), "[]").await;
    let proxy = Proxy::start(&upstream).await;
    (upstream, proxy)
}

fn expected(codes: &[&str]) -> String {
    array(&CODES.iter().filter(|code| codes.contains(code)).map(|code| plesk(code)).collect::<Vec<_>>())
}

async fn sees(proxy: &Proxy, codes: &[&str]) {
    until(&format!("{codes:?}"), async || proxy.get(PACKAGES).await.text() == expected(codes)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_way_to_edit_shows_while_requests_run() {
    let (upstream, proxy) = start().await;
    sees(&proxy, &["wp-toolkit", "docker"]).await;
    let (stop, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (stop, served, address) = (Arc::clone(&stop), Arc::clone(&served), proxy.address);
            tokio::spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    let answer = get(address, PACKAGES).await;
                    assert_eq!(answer.status, 200);
                    assert!(serde_json::from_slice::<Vec<serde_json::Value>>(&answer.body).is_ok());
                    served.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    let path = proxy.whitelist();
    let beside = |name: &str| proxy.directory.path().join(name);

    // In place.
    fs::write(&path, list(&["xovi"])).unwrap();
    sees(&proxy, &["xovi"]).await;
    // A rename over it.
    fs::write(beside("new"), list(&["kolab"])).unwrap();
    fs::rename(beside("new"), &path).unwrap();
    sees(&proxy, &["kolab"]).await;
    // An editor's backup and write.
    fs::rename(&path, beside("whitelist.toml~")).unwrap();
    fs::write(&path, list(&["docker"])).unwrap();
    sees(&proxy, &["docker"]).await;
    // A ConfigMap's swap of links.
    config_map(&beside("..v1"), &["xovi", "kolab"]);
    symlink("..v1", beside("..data")).unwrap();
    symlink("..data/whitelist.toml", beside("link")).unwrap();
    fs::rename(beside("link"), &path).unwrap();
    sees(&proxy, &["xovi", "kolab"]).await;
    config_map(&beside("..v2"), &["wp-toolkit"]);
    symlink("..v2", beside("..data_tmp")).unwrap();
    fs::rename(beside("..data_tmp"), beside("..data")).unwrap();
    sees(&proxy, &["wp-toolkit"]).await;
    // Nothing at all.
    fs::remove_file(&path).unwrap();
    fs::write(&path, "extensions = []").unwrap();
    sees(&proxy, &[]).await;

    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.expect("no request may fail");
    }
    assert!(served.load(Ordering::SeqCst) > 0);
    assert_eq!(upstream.count(), 1, "an edit needs no fetch");
    proxy.stop().await;
}

fn config_map(directory: &Path, codes: &[&str]) {
    fs::create_dir(directory).unwrap();
    fs::write(directory.join("whitelist.toml"), list(codes)).unwrap();
}

#[tokio::test]
async fn a_broken_or_deleted_list_changes_nothing_and_is_told() {
    let (_upstream, proxy) = start().await;
    let last_error = async |part: &str| {
        until(part, async || {
            let ready = get(proxy.admin, "/readyz").await;
            assert_eq!(ready.status, 200);
            let state: serde_json::Value = serde_json::from_slice(&ready.body).unwrap();
            assert_eq!(state["whitelist"]["extensions"], 2);
            state["whitelist"]["last_error"].as_str().is_some_and(|error| error.contains(part))
        })
        .await;
        assert_eq!(proxy.get(PACKAGES).await.text(), expected(&["wp-toolkit", "docker"]));
    };
    fs::write(proxy.whitelist(), "extensions = [\n\"xovi\"\n").unwrap();
    last_error("whitelist.toml:").await;
    fs::write(proxy.whitelist(), "extension = [\"xovi\"]\n").unwrap();
    last_error("unknown key `extension`").await;
    fs::write(proxy.whitelist(), "").unwrap();
    last_error("missing key").await;
    fs::remove_file(proxy.whitelist()).unwrap();
    last_error("cannot read whitelist").await;
    let metrics = get(proxy.admin, "/metrics").await;
    assert!(
        metrics.text().contains("catalog_proxy_whitelist_reload_succeeded{shop=\"default\"} 0\n"),
        "{}",
        metrics.text()
    );
    proxy.allow(&["kolab"]);
    sees(&proxy, &["kolab"]).await;
    let state: serde_json::Value = serde_json::from_slice(&get(proxy.admin, "/readyz").await.body).unwrap();
    assert_eq!(state["whitelist"]["last_error"], serde_json::Value::Null);
}

#[tokio::test]
async fn a_storm_of_edits_ends_on_the_last() {
    let (_upstream, proxy) = start().await;
    for n in 0..1000 {
        proxy.allow(&[CODES[n % 3]]);
    }
    proxy.allow(&["kolab"]);
    sees(&proxy, &["kolab"]).await;
    proxy.stop().await;
}
