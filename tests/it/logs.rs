//! What the log says, as text and as JSON.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tokio::sync::Notify;

use crate::client::{self, Answer, get, get_request, raw, until};
use crate::proxy::{Proxy, array, free, list};
use crate::upstream::{Step, Upstream, chunk, head_of, ok, status};

const PACKAGES: &str = "/api/v4/packages";

/// The real binary, and the lines that it wrote so far.
pub struct Logged {
    child: Child,
    pub address: std::net::SocketAddr,
    pub lines: Arc<Mutex<Vec<String>>>,
    pub directory: tempfile::TempDir,
}

impl Logged {
    pub async fn start(upstream: &Upstream, arguments: &[&str], variables: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let whitelist = directory.path().join("whitelist.toml");
        std::fs::write(&whitelist, list(&[])).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_catalog-proxy"))
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "off",
                "--upstream",
                &upstream.url(),
            ])
            .arg("--whitelist")
            .arg(&whitelist)
            .args(arguments)
            .env_remove("RUST_LOG")
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        let lines = Arc::new(Mutex::new(Vec::new()));
        let written = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in log.lines() {
                written.lock().unwrap().push(line.unwrap());
            }
        });
        let address = Mutex::new(None);
        until("the address", async || {
            let lines = lines.lock().unwrap();
            let line = lines.iter().find(|line| line.contains("serving"));
            *address.lock().unwrap() = line.and_then(|line| {
                let port = line.split_once("listen")?.1.split_once("127.0.0.1:")?.1;
                let port = port.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()?;
                Some(std::net::SocketAddr::from(([127, 0, 0, 1], port)))
            });
            address.lock().unwrap().is_some()
        })
        .await;
        let address = address.lock().unwrap().unwrap();
        Self { child, address, lines, directory }
    }

    pub fn with(&self, part: &str) -> Vec<String> {
        self.lines.lock().unwrap().iter().filter(|line| line.contains(part)).cloned().collect()
    }

    pub async fn line(&self, part: &str) -> String {
        until(part, async || !self.with(part).is_empty()).await;
        self.with(part).remove(0)
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn with_id(address: std::net::SocketAddr, target: &str, id: &str) -> Answer {
    let request = Request::get(target).header("x-request-id", id).body(Full::default()).unwrap();
    client::request(address, request).await
}

#[tokio::test]
async fn each_request_has_one_line_at_its_end() {
    let gate = Arc::new(Notify::new());
    let opened = Arc::clone(&gate);
    let upstream = Upstream::start(move |request| match request.target.as_str() {
        "/slow" => vec![
            head_of(200, "content-length: 8\r\n"),
            Step::Send(b"1234".to_vec()),
            Step::Gate(Arc::clone(&opened)),
            Step::Send(b"5678".to_vec()),
        ],
        "/breaks" => vec![head_of(200, "transfer-encoding: chunked\r\n"), chunk(b"1234"), Step::Close],
        _ => ok(array(&[free("git")]).as_bytes()),
    })
    .await;
    let arguments = ["--log-format", "json", "--log-level", "debug"];
    let proxy = Logged::start(&upstream, &arguments, &[]).await;
    let body = with_id(proxy.address, &format!("{PACKAGES}?a=b"), "first").await.body;
    with_id(proxy.address, &format!("{PACKAGES}?a=b"), "second").await;
    with_id(proxy.address, "/breaks", "broken").await;
    let request = Request::get("/slow").header("x-request-id", "left").body(Full::default()).unwrap();
    let mut left = client::send(proxy.address, request).await;
    left.body_mut().frame().await.unwrap().unwrap();
    let request = Request::get("/slow").header("x-request-id", "slow").body(Full::default()).unwrap();
    let slow = client::send(proxy.address, request).await;
    drop(left);
    let left = proxy.line("\"left\"").await;
    assert_eq!(proxy.with("\"slow\""), [""; 0], "it has not ended");
    gate.notify_waiters();
    client::finish(slow).await;
    let check = |line: String, expected: &[(&str, Value)]| {
        let line: Value = serde_json::from_str(&line).unwrap();
        for (field, value) in expected {
            assert_eq!(line[field], *value, "{field} of {line}");
        }
        assert_eq!(line["client.addr"], "127.0.0.1", "{line}");
        assert!(line["elapsed_ms"].as_f64().unwrap() > 0.0, "{line}");
    };
    check(
        proxy.line("\"first\"").await,
        &[
            ("message", "request".into()),
            ("level", "DEBUG".into()),
            ("method", "GET".into()),
            ("path", PACKAGES.into()),
            ("route", "packages".into()),
            ("status", 200.into()),
            ("cache", "miss".into()),
            ("bytes", body.len().into()),
            ("end", "finished".into()),
        ],
    );
    check(proxy.line("\"second\"").await, &[("cache", "hit".into()), ("bytes", body.len().into())]);
    check(proxy.line("\"broken\"").await, &[("end", "failed".into()), ("bytes", 4.into())]);
    check(left, &[("end", "dropped".into()), ("bytes", 4.into()), ("cache", "none".into())]);
    check(proxy.line("\"slow\"").await, &[("end", "finished".into()), ("bytes", 8.into())]);
    assert_eq!(proxy.with("\"request\"").len(), 5);
}

#[tokio::test]
async fn the_client_is_whom_a_trusted_proxy_names() {
    let upstream = Upstream::with_feeds("[]", "[]").await;
    for (trusted, client) in [("192.0.2.0/24", "127.0.0.1"), ("127.0.0.1", "198.51.100.7")] {
        let arguments = ["--log-format", "json", "--log-level", "debug", "--trusted-proxy", trusted];
        let proxy = Logged::start(&upstream, &arguments, &[]).await;
        let request = Request::get(PACKAGES)
            .header("x-request-id", "named")
            .header("x-forwarded-for", "203.0.113.9, 198.51.100.7")
            .body(Full::default())
            .unwrap();
        client::request(proxy.address, request).await;
        let line: Value = serde_json::from_str(&proxy.line("\"named\"").await).unwrap();
        assert_eq!(line["client.addr"], client, "{line}");
    }
}

#[tokio::test]
async fn levels_come_from_the_flag_or_the_variable() {
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let check = async |arguments: &[&str], variables: &[(&str, &str)], requests: bool| {
        let proxy = Logged::start(&upstream, arguments, variables).await;
        get(proxy.address, PACKAGES).await;
        proxy.line("fetched").await;
        if requests {
            proxy.line("request").await;
        }
        assert_eq!(proxy.with("route=").is_empty(), !requests, "{arguments:?} {variables:?}");
    };
    check(&[], &[], false).await;
    check(&[], &[("RUST_LOG", "")], false).await;
    check(&[], &[("RUST_LOG", "catalog_proxy=debug")], true).await;
    check(&["--log-level", "debug"], &[("RUST_LOG", "error")], true).await;
    check(&["--log-level", "info"], &[("RUST_LOG", "debug")], false).await;
    check(&[], &[("CATALOG_PROXY_LOG_LEVEL", "debug")], true).await;
    for (arguments, variables, message) in [
        (vec!["serve", "--log-level", "debg"], vec![], "--log-level: \"debg\" is no level"),
        (vec!["serve"], vec![("RUST_LOG", "info,hyper=loud")], "RUST_LOG: \"hyper=loud\" is no level"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_catalog-proxy"));
        let output = command.args(arguments).env_remove("RUST_LOG").envs(variables).output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(error.starts_with(&format!("catalog-proxy: {message}; expected ")), "{error}");
    }
}

#[tokio::test]
async fn nobody_writes_lines_of_his_own() {
    let elsewhere = "https://elsewhere.example/\u{85}forged\u{9b}31m\u{2028}";
    let upstream = Upstream::start(move |request| match request.target.as_str() {
        "/api/v4/packages?away" => {
            vec![head_of(302, &format!("location: {elsewhere}\r\ncontent-length: 0\r\n"))]
        }
        _ => ok(b"[]"),
    })
    .await;
    let proxy = Logged::start(&upstream, &["--log-level", "debug"], &[]).await;
    get(proxy.address, "/api/v4/packages?away").await.assert_problem(502);
    // Raw bytes that are no ASCII are in some clients' targets; others are refused.
    for target in [
        "/api/v4/packages?\u{85}\u{2028}key",
        "/x?\u{85}forged",
        "/x?\u{9b}31mforged",
        "/x?\u{2028}forged",
        "/x?\u{1b}forged",
        "/x\rforged",
    ] {
        raw(
            proxy.address,
            format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes(),
        )
        .await;
    }
    with_id(proxy.address, "/x", "forged\tid").await;
    get(proxy.address, "/last").await;
    proxy.line("/last").await;
    let lines = proxy.lines.lock().unwrap();
    assert!(lines.iter().any(|line| line.contains(r"\u{85}forged")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains(r"key=/api/v4/packages?\u{85}\u{2028}key")), "{lines:?}");
    assert!(
        !lines.iter().any(|line| line.contains("forged\tid") || line.contains("forged\\tid")),
        "{lines:?}"
    );
    for line in lines.iter() {
        let odd = |c: char| c.is_control() || c == '\u{2028}';
        assert!(!line.contains(odd) && line.starts_with("20"), "{line:?}");
    }
}

#[tokio::test]
async fn json_has_plain_values() {
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let arguments = ["--log-format", "json", "--log-level", "debug"];
    let proxy = Logged::start(&upstream, &arguments, &[("CATALOG_PROXY_ADMIN_LISTEN", "127.0.0.1:0")]).await;
    for target in ["/api/v4/packages?\u{9b}31m\u{202e}key", "/last"] {
        let request = format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        raw(proxy.address, request.as_bytes()).await;
    }
    std::fs::write(proxy.directory.path().join("whitelist.toml"), list(&["a", "b"])).unwrap();
    let reloaded: Value = serde_json::from_str(&proxy.line("whitelist reloaded").await).unwrap();
    assert_eq!((&reloaded["added"], &reloaded["removed"]), (&"a, b".into(), &"".into()));
    let fetched: Value = serde_json::from_str(&proxy.line("\"fetched\"").await).unwrap();
    assert_eq!(fetched["key"], "/api/v4/packages?\u{9b}31m\u{202e}key");
    proxy.line("/last").await;
    for line in proxy.lines.lock().unwrap().iter() {
        assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
        let values: serde_json::Map<String, Value> = serde_json::from_str(line).unwrap();
        for (name, value) in &values {
            let odd =
                value.as_str().is_some_and(|text| text.starts_with(['[', '"']) || text.contains("Some("));
            assert!(!odd && name != "elapsed", "{name} of {line}");
        }
    }
}

#[tokio::test]
async fn secrets_stay_out_of_the_log() {
    let upstream = Upstream::start(|_| status(200, "text/plain", b"ok")).await;
    let hook = Upstream::start(|_| status(204, "text/plain", b"")).await;
    let hook = format!("http://me:secret@{}/secret?secret", hook.address);
    let proxy = Logged::start(&upstream, &["--log-level", "trace", "--notify-url", &hook], &[]).await;
    let request = Request::get("/x")
        .header("authorization", "Bearer secret")
        .header("cookie", "session=secret")
        .header("proxy-authorization", "Basic secret")
        .body(Full::from("secret"))
        .unwrap();
    client::request(proxy.address, request).await;
    raw(proxy.address, b"GET http://me:secret@x/last HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    proxy.line("/last").await;
    assert_eq!(proxy.with("secret"), [""; 0]);
}

#[tokio::test]
async fn a_request_keeps_its_id_on_all_its_way() {
    let upstream = Upstream::start(|request| match request.target.as_str() {
        "/own" => vec![head_of(204, "x-request-id: theirs\r\n")],
        "/x" => status(200, "text/plain", b"x"),
        _ => vec![head_of(200, "x-request-id: cached\r\ncontent-length: 2\r\n"), Step::Send(b"[]".to_vec())],
    })
    .await;
    let proxy = Proxy::start(&upstream).await;
    let sent = |target: &str| {
        let requests = upstream.requests();
        let request = requests.iter().rev().find(|request| request.target == target).unwrap();
        request.header("x-request-id").map(str::to_owned)
    };
    assert_eq!(with_id(proxy.address, "/x", "mine-1").await.header("x-request-id"), "mine-1");
    assert_eq!(sent("/x").as_deref(), Some("mine-1"));
    let made = get(proxy.address, "/x").await.header("x-request-id").to_owned();
    assert_eq!((made.len(), sent("/x")), (32, Some(made)));
    let odd = with_id(proxy.address, "/x", "not an id").await.header("x-request-id").to_owned();
    assert!(odd != "not an id" && sent("/x") == Some(odd));
    assert_eq!(with_id(proxy.address, "/own", "mine-2").await.header("x-request-id"), "theirs");
    assert_eq!(sent("/own").as_deref(), Some("mine-2"));
    // A fetch belongs to nobody, and its copy has no id.
    let first = with_id(proxy.address, PACKAGES, "mine-3").await;
    let second = with_id(proxy.address, PACKAGES, "mine-4").await;
    let problem = with_id(proxy.address, "/api/v4/packages/../packages?q=1", "mine-5").await;
    assert_eq!((first.header("x-request-id"), second.header("x-request-id")), ("mine-3", "mine-4"));
    assert_eq!((sent(PACKAGES), problem.header("x-request-id")), (None, "mine-5"));
    let head = client::send(proxy.address, get_request("/livez")).await;
    assert_eq!(head.headers()["x-request-id"].len(), 32);
}

#[tokio::test]
async fn a_reload_tells_what_it_read_and_what_needs_a_restart() {
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join("proxy.toml");
    std::fs::write(&config, "stale-for = \"7d\"\n").unwrap();
    std::fs::create_dir(directory.path().join("shops")).unwrap();
    let shops = directory.path().join("shops").to_str().unwrap().to_owned();
    let arguments = ["--config", config.to_str().unwrap(), "--shops", &shops, "--log-format", "json"];
    let proxy = Logged::start(&upstream, &arguments, &[]).await;
    let hang_up = || {
        let kill = format!("kill -HUP {}", proxy.child.id());
        assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    };
    // What is in force, written otherwise, is no change.
    std::fs::write(&config, "stale-for = \"168h\" # a week\n").unwrap();
    hang_up();
    let read: Value = serde_json::from_str(&proxy.line("files read again").await).unwrap();
    let files = read["files"].as_str().unwrap();
    assert!(
        files.contains("whitelist (") && files.contains(&shops) && files.contains("upstream-roots"),
        "{files}"
    );
    std::fs::write(&config, "stale-for = \"1d\"\nlog-level = \"debug\"\n").unwrap();
    hang_up();
    let told: Value = serde_json::from_str(&proxy.line("have changed since the start").await).unwrap();
    assert_eq!((&told["settings"], &told["level"]), (&"--stale-for, --log-level".into(), &"WARN".into()));
    assert_eq!(told["path"], config.to_str().unwrap());
    std::fs::write(&config, "stale-for = 1\n").unwrap();
    hang_up();
    let told: Value = serde_json::from_str(&proxy.line("the configuration file is broken").await).unwrap();
    assert!(told["error"].as_str().unwrap().contains("proxy.toml:1:"), "{told}");
    assert_eq!(proxy.with("have changed since the start").len(), 1);
}
