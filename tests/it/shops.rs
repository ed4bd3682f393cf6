//! Several shops on one proxy: by prefix and by host, while their files come, change, break and go.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use catalog_proxy::app::App;
use catalog_proxy::config::{Config, Origin};
use http::{Request, StatusCode, Version};
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::client::{self, Answer, until};
use crate::logs::Logged;
use crate::proxy::{Proxy, array, list, plesk};
use crate::upstream::{Step, Upstream, head_of, ok, status};

const PACKAGES: &str = "/api/v4/packages";
const CODES: [&str; 4] = ["docker", "gold", "silver", "both"];

fn feed() -> String {
    array(&CODES.map(plesk))
}

fn only(codes: &[&str]) -> String {
    array(&CODES.iter().filter(|code| codes.contains(code)).map(|code| plesk(code)).collect::<Vec<_>>())
}

/// A proxy with shops in a directory.
struct Shops {
    proxy: Proxy,
    directory: tempfile::TempDir,
}

impl Shops {
    /// Starts it with a shop at `/` that sells docker, and the given ones.
    async fn start(upstream: &Upstream, shops: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in shops {
            fs::write(directory.path().join(format!("{name}.toml")), text).unwrap();
        }
        let path = directory.path().to_owned();
        let proxy = Proxy::start_with(&upstream.url(), move |config| {
            fs::write(config.whitelist.as_deref().unwrap(), list(&["docker"])).unwrap();
            config.shops = Some(path.into());
        })
        .await;
        Self { proxy, directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.toml"))
    }

    async fn on(&self, host: &str, target: &str) -> Answer {
        let request = Request::get(target).header("host", host).body(Full::default()).unwrap();
        client::request(self.proxy.address, request).await
    }

    async fn sees(&self, target: &str, codes: &[&str]) {
        until(target, async || self.proxy.get(target).await.text() == only(codes)).await;
    }
}

fn selling(codes: &[&str], hosts: &[&str]) -> String {
    format!("{}hosts = {hosts:?}\n", list(codes))
}

#[tokio::test]
async fn the_log_tells_what_became_of_each_file() {
    let upstream = Upstream::with_feeds(feed(), "[]").await;
    let shops = tempfile::tempdir().unwrap();
    let path = |name: &str| shops.path().join(format!("{name}.toml"));
    fs::write(path("old"), "broken").unwrap();
    let place = shops.path().to_str().unwrap();
    let proxy = Logged::start(&upstream, &["--shops", place, "--log-format", "json"], &[]).await;
    let told = async |message: &str, expected: Value| {
        let line: Value = serde_json::from_str(&proxy.line(message).await).unwrap();
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(line[field], *value, "{field} of {line}");
        }
    };
    told("whitelist not loaded: the shop's feeds are refused (503)", json!({"shop": "old", "level": "WARN"}))
        .await;
    fs::write(path("gold"), selling(&["gold", "both"], &[])).unwrap();
    told("shop added", json!({"shop": "gold", "entries": 2, "level": "INFO"})).await;
    fs::write(path("gold"), "extensions = [\"gold\"]\nretired = [\"silver\"]\n").unwrap();
    told("whitelist reloaded", json!({"shop": "gold", "added": "", "retired": "silver", "removed": "both"}))
        .await;
    fs::write(path("gold"), "extensions = [").unwrap();
    told("whitelist not reloaded, the last good one stays", json!({"shop": "gold", "generation": 2})).await;
    fs::remove_file(path("gold")).unwrap();
    told("the shop's file is gone, the last good list stays until SIGHUP", json!({"shop": "gold"})).await;
    // Told once, whatever happens to others.
    fs::write(path("late"), list(&["docker"])).unwrap();
    until("the other one", async || proxy.with("shop added").len() == 2).await;
    assert_eq!(proxy.with("file is gone").len(), 1);
}

#[tokio::test]
async fn each_shop_shows_its_own() {
    let tree = format!(r#"[{{"id":1,"top_packages":{}}}]"#, feed());
    let upstream = Upstream::with_feeds(feed(), tree).await;
    let gold = selling(&["gold", "both"], &["gold.example", "Gold.Test."]);
    let shops = Shops::start(&upstream, &[("gold", &gold), ("silver", &list(&["silver", "both"]))]).await;
    for _ in 0..2 {
        assert_eq!(shops.proxy.get(PACKAGES).await.text(), only(&["docker"]));
        assert_eq!(shops.proxy.get("/gold/api/v4/packages").await.text(), only(&["gold", "both"]));
        assert_eq!(shops.proxy.get("/silver/api/v4/packages").await.text(), only(&["silver", "both"]));
        let expected = format!(r#"[{{"id":1,"top_packages":{}}}]"#, only(&["silver", "both"]));
        assert_eq!(shops.proxy.get("/silver/api/v4/categories").await.text(), expected);
        for host in ["gold.example", "GOLD.example.", "gold.example:8080", "gold.test"] {
            assert_eq!(shops.on(host, PACKAGES).await.text(), only(&["gold", "both"]), "{host}");
        }
        assert_eq!(shops.on("gold.example", "/gold/api/v4/packages").await.text(), only(&["gold", "both"]));
        assert_eq!(shops.on("silver.example", PACKAGES).await.text(), only(&["docker"]));
    }
    // One feed for all: packages and categories were fetched once.
    assert_eq!(upstream.count(), 2);
    // SECURITY: whom a client says to have asked elsewhere decides nothing.
    let request = Request::get(PACKAGES).header("host", "proxy").header("x-forwarded-host", "gold.example");
    let answer = client::request(shops.proxy.address, request.body(Full::default()).unwrap()).await;
    assert_eq!(answer.text(), only(&["docker"]));
    // An absolute target names the host.
    let text =
        "GET http://gold.example/api/v4/packages HTTP/1.1\r\nhost: gold.example\r\nconnection: close\r\n\r\n";
    assert!(client::raw(shops.proxy.address, text.as_bytes()).await.ends_with(&only(&["gold", "both"])));
}

#[tokio::test]
async fn answers_are_the_same_as_at_the_root() {
    let upstream = Upstream::with_feeds(feed(), "[]").await;
    let shops = Shops::start(&upstream, &[("gold", &list(&["gold"])), ("same", &list(&["docker"]))]).await;
    let plain = shops.proxy.get(PACKAGES).await;
    assert_eq!(plain.header("vary"), "Accept-Encoding");
    let same = shops.proxy.get("/same/api/v4/packages").await;
    // Shops that decide the same share bytes and validator.
    assert_eq!(same.header("etag"), plain.header("etag"));
    assert_eq!(same.text(), plain.text());
    let gold = shops.proxy.get("/gold/api/v4/packages").await;
    assert_ne!(gold.header("etag"), plain.header("etag"));
    let ask = async |method: &str, target: &str, etag: &str| {
        let request = Request::builder().method(method).uri(target).header("host", "proxy");
        let request = request.header("if-none-match", etag).body(Full::default()).unwrap();
        client::request(shops.proxy.address, request).await
    };
    let known = ask("GET", "/gold/api/v4/packages", gold.header("etag")).await;
    assert_eq!(known.status, StatusCode::NOT_MODIFIED);
    assert_eq!(known.header("etag"), gold.header("etag"));
    assert_eq!(ask("GET", "/gold/api/v4/packages", plain.header("etag")).await.status, StatusCode::OK);
    let head = ask("HEAD", "/gold/api/v4/packages", "\"x\"").await;
    assert_eq!(
        (head.header("etag"), head.header("content-length")),
        (gold.header("etag"), &*gold.body.len().to_string())
    );
    assert!(head.body.is_empty());
    let refused = ask("POST", "/gold/api/v4/packages", "\"x\"").await;
    refused.assert_problem(405);
    assert_eq!(refused.header("allow"), "GET, HEAD");
}

#[tokio::test]
async fn over_http_2_the_authority_is_the_host() {
    let upstream = Upstream::with_feeds(feed(), "[]").await;
    let shops = Shops::start(&upstream, &[("gold", &selling(&["gold"], &["gold.example"]))]).await;
    let stream = tokio::net::TcpStream::connect(shops.proxy.address).await.unwrap();
    let executor = TokioExecutor::new();
    let io = TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
    tokio::spawn(connection);
    for (host, codes) in
        [("gold.example", &["gold"]), ("gold.example:80", &["gold"]), ("other.example", &["docker"])]
    {
        let request = Request::get(format!("http://{host}{PACKAGES}")).version(Version::HTTP_2);
        let request = request.body(Full::<Bytes>::default()).unwrap();
        let answer = client::finish(sender.send_request(request).await.unwrap()).await;
        assert_eq!(answer.text(), only(codes), "{host}");
        assert_eq!(answer.header("vary"), "Accept-Encoding, Host");
    }
}

#[tokio::test]
async fn no_way_to_write_a_prefix_leads_anywhere_else() {
    let upstream = Upstream::start(|_| ok(array(&CODES.map(plesk)).as_bytes())).await;
    let shops = Shops::start(
        &upstream,
        &[("gold", &selling(&["gold"], &["gold.example"])), ("silver", &list(&["silver"]))],
    )
    .await;
    let check = async |host: &str, target: &str, status: u16| {
        let text = format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        let answer = client::raw(shops.proxy.address, text.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host} {target}: {answer}");
        assert!(!answer.contains("go.plesk.com"), "{host} {target}: {answer}");
        assert!(!answer.contains("silver.toml") && !answer.contains("gold.toml"), "{answer}");
    };
    for target in [
        "/Gold/api/v4/packages",
        "/unknown/api/v4/packages",
        "/gold/x/api/v4/packages",
        "/gold/gold/api/v4/packages",
        "/gold/silver/api/v4/packages",
        "/gold/index.php/api/v4/packages",
        "/gold;x/api/v4/packages",
        "/gold./api/v4/packages",
        "/default/api/v4/packages",
        "/golden/api/v4/categories?x",
    ] {
        check("proxy", target, 404).await;
    }
    for target in [
        "/%67old/api/v4/packages",
        "//gold/api/v4/packages",
        "/./gold/api/v4/packages",
        "/gold/../api/v4/packages",
        "/gold%2fapi/v4/packages",
        "/gold/%61pi/v4/packages",
        "/gold\\api/v4/packages",
        "/gold/api%2fv4/packages",
    ] {
        check("proxy", target, 400).await;
    }
    for target in ["/silver/api/v4/packages", "/silver/icons/a.svg", "/silver", "/silver/"] {
        check("gold.example", target, 404).await;
    }
    assert_eq!(upstream.count(), 0, "nothing of it was passed on");
}

#[tokio::test]
async fn files_come_change_break_and_go_while_it_serves() {
    let upstream = Upstream::with_feeds(feed(), "[]").await;
    let shops = Shops::start(&upstream, &[("gold", &list(&["gold"]))]).await;
    let (gold, silver) = ("/gold/api/v4/packages", "/silver/api/v4/packages");
    shops.sees(gold, &["gold"]).await;
    assert_eq!(shops.proxy.get(silver).await.status, 404);
    fs::write(shops.path("silver"), list(&["silver"])).unwrap();
    shops.sees(silver, &["silver"]).await;
    fs::write(shops.path("gold"), list(&["both"])).unwrap();
    shops.sees(gold, &["both"]).await;
    // Broken: the last good list stays, and the admin port says why.
    fs::write(shops.path("gold"), "extensions = [").unwrap();
    let ready = async |part: &str| {
        until(part, async || client::get(shops.proxy.admin, "/readyz").await.text().contains(part)).await;
    };
    ready("gold.toml:1:15: ").await;
    assert_eq!(shops.proxy.get(gold).await.text(), only(&["both"]));
    let metrics = client::get(shops.proxy.admin, "/metrics").await;
    assert!(metrics.text().contains("catalog_proxy_whitelist_reload_succeeded{shop=\"gold\"} 0\n"));
    assert!(metrics.text().contains("catalog_proxy_shop_requests_total{shop=\"silver\"} "));
    // Gone: so does it.
    fs::remove_file(shops.path("silver")).unwrap();
    ready("\"gone\": true").await;
    assert_eq!(shops.proxy.get(silver).await.text(), only(&["silver"]));
    // One that was never good has no feeds, but passes everything else through.
    fs::write(shops.path("new"), "extension = []").unwrap();
    until("503", async || shops.proxy.get("/new/api/v4/packages").await.status == 503).await;
    let answer = shops.proxy.get("/new/api/v4/packages").await;
    answer.assert_problem(503);
    assert!(!answer.header("retry-after").is_empty() && !answer.text().contains("toml"), "{answer:?}");
    fs::write(shops.path("new"), list(&["docker", "gold"])).unwrap();
    shops.sees("/new/api/v4/packages", &["docker", "gold"]).await;
    assert_eq!(upstream.count(), 1, "edits ask nobody");
}

#[tokio::test]
async fn a_host_that_two_shops_claim_is_nobodys() {
    let upstream = Upstream::with_feeds(feed(), "[]").await;
    let shops = Shops::start(
        &upstream,
        &[("gold", &selling(&["gold"], &["h.example"])), ("silver", &selling(&["silver"], &["h.example"]))],
    )
    .await;
    let answer = shops.on("h.example", PACKAGES).await;
    answer.assert_problem(503);
    assert!(!answer.text().contains("gold") && !answer.text().contains("silver"), "{answer:?}");
    // Their prefixes serve on, there and elsewhere.
    assert_eq!(shops.on("h.example", "/gold/api/v4/packages").await.text(), only(&["gold"]));
    assert_eq!(shops.on("proxy", "/silver/api/v4/packages").await.text(), only(&["silver"]));
    assert_eq!(shops.on("proxy", PACKAGES).await.text(), only(&["docker"]));
    assert!(
        client::get(shops.proxy.admin, "/metrics").await.text().contains("catalog_proxy_disputed_hosts 1\n")
    );
    // A shop that is renamed takes its host along, without a reload.
    fs::rename(shops.path("silver"), shops.path("bronze")).unwrap();
    fs::write(shops.path("gold"), selling(&["gold"], &[])).unwrap();
    until("the new name", async || {
        let answer = shops.on("h.example", "/bronze/api/v4/packages").await;
        answer.status == 200 && answer.text() == only(&["silver"])
    })
    .await;
    until("the host", async || shops.on("h.example", PACKAGES).await.status == 200).await;
    assert_eq!(shops.on("h.example", PACKAGES).await.text(), only(&["silver"]));
    assert_eq!(shops.on("h.example", "/silver/api/v4/packages").await.status, 404);
}

#[tokio::test]
async fn without_a_shop_at_the_root_its_feeds_are_nowhere() {
    let upstream = Upstream::start(|request| match request.target.as_str() {
        "/icons/a.svg" => ok(b"icon"),
        target if target.starts_with(PACKAGES) => ok(array(&CODES.map(plesk)).as_bytes()),
        _ => status(404, "text/html", b"no"),
    })
    .await;
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("gold.toml"), list(&["gold"])).unwrap();
    let path = directory.path().to_owned();
    let proxy = Proxy::start_with(&upstream.url(), move |config| {
        config.whitelist = None;
        config.shops = Some(path.into());
    })
    .await;
    proxy.get(PACKAGES).await.assert_problem(404);
    assert_eq!(proxy.get("/gold/api/v4/packages").await.text(), only(&["gold"]));
    for target in ["/icons/a.svg", "/gold/icons/a.svg"] {
        assert_eq!(proxy.get(target).await.text(), "icon", "{target}");
    }
    assert_eq!(proxy.get("/readyz").await.text(), "ready\n");
    // Under a prefix there are no probes: these are the upstream's.
    assert_eq!(proxy.get("/gold/readyz").await.text(), "no");
}

#[tokio::test]
async fn what_passes_through_loses_the_prefix_and_feeds_in_locations_get_it() {
    let upstream = Upstream::start(|request| {
        let location = match request.target.as_str() {
            "/to-feed" => "/api/v4/packages?platform=unix",
            "/to-other" => "/icons/b.svg",
            "/to-host" => "//elsewhere.example/api/v4/packages",
            "/to-url" => "https://elsewhere.example/api/v4/packages",
            "/gold" | "/" => return ok(request.target.as_bytes()),
            target => return ok(target.as_bytes()),
        };
        vec![head_of(302, &format!("location: {location}\r\ncontent-length: 0\r\n"))]
    })
    .await;
    let shops = Shops::start(&upstream, &[("gold", &list(&["gold"]))]).await;
    let location = async |target: &str| shops.proxy.get(target).await.header("location").to_owned();
    assert_eq!(location("/gold/to-feed").await, "/gold/api/v4/packages?platform=unix");
    assert_eq!(location("/to-feed").await, "/api/v4/packages?platform=unix");
    assert_eq!(location("/gold/to-other").await, "/icons/b.svg");
    assert_eq!(location("/gold/to-host").await, "//elsewhere.example/api/v4/packages");
    assert_eq!(location("/gold/to-url").await, "https://elsewhere.example/api/v4/packages");
    for (target, rest) in [("/gold", "/"), ("/gold/", "/"), ("/gold?x=1", "/?x=1"), ("/gold/a/b?c", "/a/b?c")]
    {
        assert_eq!(shops.proxy.get(target).await.text(), rest, "{target}");
    }
}

#[tokio::test]
async fn a_crowd_over_many_shops_is_one_fetch() {
    let upstream = Upstream::with_feeds(feed(), "[]").await;
    let names: Vec<_> = (0..8).map(|n| format!("shop-{n}")).collect();
    let texts: Vec<_> = (0..8).map(|n| list(&[CODES[n % 4]])).collect();
    let files: Vec<_> = names.iter().zip(&texts).map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let shops = Shops::start(&upstream, &files).await;
    let crowd = (0..200).map(|n| {
        let (address, target) = (shops.proxy.address, format!("/shop-{}/api/v4/packages", n % 8));
        tokio::spawn(async move { (n % 4, client::get(address, &target).await) })
    });
    for asked in crowd.collect::<Vec<_>>() {
        let (n, answer) = asked.await.unwrap();
        assert_eq!(answer.text(), only(&[CODES[n]]));
    }
    assert_eq!(upstream.count(), 1);
}

#[tokio::test]
async fn a_request_keeps_the_list_that_it_began_with() {
    let gate = Arc::new(Semaphore::new(0));
    let closed = Arc::clone(&gate);
    let tree = |codes: &str| format!(r#"[{{"id":1,"top_packages":{codes}}}]"#);
    let upstream = Upstream::start(move |request| {
        let is_packages = request.target.starts_with(PACKAGES);
        let mut script = ok(if is_packages { feed() } else { tree(&feed()) }.as_bytes());
        script.insert(0, Step::Turnstile(Arc::clone(&closed)));
        script
    })
    .await;
    let shops = Shops::start(&upstream, &[("gold", &list(&["gold"]))]).await;
    let ask = |feed: &str| {
        let (address, target) = (shops.proxy.address, format!("/gold/api/v4/{feed}"));
        tokio::spawn(async move { client::get(address, &target).await })
    };
    let asked = [ask("packages"), ask("categories")];
    until("two fetches", async || upstream.count() == 2).await;
    fs::write(shops.path("gold"), list(&["both"])).unwrap();
    until("the edit", async || {
        let ready = client::get(shops.proxy.admin, "/readyz").await;
        let ready: serde_json::Value = serde_json::from_slice(&ready.body).unwrap();
        let generations = ready["shops"].as_array().unwrap().iter().map(|shop| shop["generation"].as_u64());
        generations.max().flatten() == Some(2)
    })
    .await;
    gate.add_permits(2);
    let [packages, categories] = asked;
    assert_eq!(packages.await.unwrap().text(), only(&["gold"]));
    assert_eq!(categories.await.unwrap().text(), tree(&only(&["gold"])));
    assert_eq!(shops.proxy.get("/gold/api/v4/categories").await.text(), tree(&only(&["both"])));
}

#[tokio::test]
async fn starts_only_with_something_to_serve() {
    let directory = tempfile::tempdir().unwrap();
    let any = "127.0.0.1:0".parse().unwrap();
    let config = Config {
        listen: vec![any].into(),
        upstream: "http://127.0.0.1:1".parse::<Origin>().unwrap().into(),
        whitelist: None,
        shops: Some(directory.path().to_owned().into()),
        ..Config::default()
    };
    let error = App::bind(&config).await.expect_err("no shop").to_string();
    assert_eq!(error, "no shop has a whitelist that can be used");
    let config = Config { shops: Some(directory.path().join("none").into()), ..config };
    let error = App::bind(&config).await.expect_err("no directory").to_string();
    assert!(error.contains("cannot read the shops' directory") && error.contains("none"), "{error}");
}
