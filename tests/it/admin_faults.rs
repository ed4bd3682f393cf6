//! Edits over the admin port while the machine fails: a process that is killed, a disk that is full.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::time::Duration;

use http::Request;
use rustix::process::{Pid, Resource, Rlimit, geteuid, prlimit};
use serde_json::{Value, json};

use crate::admin_port::{EDITOR, body, catalog, token_line};
use crate::client::{self, Answer, until};
use crate::process::{Process, copy_program};
use crate::proxy::{array, list, plesk};
use crate::upstream::Upstream;

fn digest(path: &Path) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, &fs::read(path).unwrap());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn edit_request(based_on: &str, wanted: &Value) -> Request<http_body_util::Full<bytes::Bytes>> {
    Request::post("/api/v1/edits")
        .header("authorization", format!("Bearer {EDITOR}"))
        .header("content-type", "application/json")
        .header("if-match", format!("\"{based_on}\""))
        .body(wanted.to_string().into())
        .unwrap()
}

async fn edit(admin: SocketAddr, based_on: &str, wanted: &Value) -> Answer {
    client::request(admin, edit_request(based_on, wanted)).await
}

/// Starts the binary with the shop gold and a cache directory in `files`.
fn start(upstream: &Upstream, files: &Path) -> Process {
    Process::start_with(&upstream.url(), |command| {
        for (flag, name) in
            [("--shops", "shops"), ("--cache-dir", "cache"), ("--admin-tokens", "tokens.toml")]
        {
            command.arg(flag).arg(files.join(name));
        }
    })
}

fn files(gold: &str) -> tempfile::TempDir {
    let files = tempfile::tempdir().unwrap();
    for directory in ["shops", "cache"] {
        fs::create_dir(files.path().join(directory)).unwrap();
    }
    fs::write(files.path().join("shops/gold.toml"), gold).unwrap();
    fs::write(files.path().join("tokens.toml"), format!("[editors]\n{}", token_line("alice", EDITOR)))
        .unwrap();
    files
}

fn log(files: &Path) -> Vec<Value> {
    let text = fs::read_to_string(files.join("cache/edits.jsonl")).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Killed at any moment, the process leaves a list that is whole, and a log that agrees with it.
#[tokio::test]
async fn a_process_that_is_killed_leaves_file_and_log_in_agreement() {
    let codes: Vec<String> = (0..200).map(|n| format!("code-{n}")).collect();
    let catalog = array(&codes.iter().map(|code| plesk(code)).collect::<Vec<_>>());
    let upstream = Upstream::with_feeds(catalog, "[]".to_owned()).await;
    let files = files("extensions = []\n");
    let gold = files.path().join("shops/gold.toml");
    let mut codes = codes.iter();
    for round in 0..6 {
        let mut process = start(&upstream, files.path());
        let admin = process.admin;
        // Edits one after the other until the process is gone; what was answered must last.
        let mut answered = Vec::new();
        let mut current = digest(&gold);
        let kill = tokio::time::sleep(Duration::from_millis(40 + 37 * round));
        tokio::pin!(kill);
        loop {
            let code = codes.next().unwrap();
            let wanted = json!({ "shop": "gold", "show": [code] });
            tokio::select! {
                () = &mut kill, if !answered.is_empty() => break,
                answer = edit(admin, &current, &wanted) => match answer.status.as_u16() {
                    200 => {
                        current = body(&answer)["digest"].as_str().unwrap().to_owned();
                        answered.push(code);
                    }
                    // The directory is claimed a moment after the start.
                    503 => tokio::time::sleep(Duration::from_millis(5)).await,
                    other => panic!("{other}: {answer:?}"),
                },
            }
        }
        process.kill();
        let text = fs::read_to_string(&gold).unwrap();
        for code in answered {
            assert!(text.contains(&format!("{code:?}")), "{code} is lost: {text}");
        }
        // The next process puts the log right with its first look.
        let process = start(&upstream, files.path());
        let token = format!("Bearer {EDITOR}");
        until("the log is read", async || {
            let request = Request::get("/api/v1/edits?shop=gold").header("authorization", &token);
            let answer = client::request(process.admin, request.body(Default::default()).unwrap()).await;
            let edits = body(&answer)["edits"].as_array().unwrap().clone();
            let last = edits.last().map(|edit| edit["after"].as_str().unwrap().to_owned());
            // An edit that was not answered may have been made or not.
            last.is_none_or(|last| last == digest(&gold))
                && edits.windows(2).all(|pair| pair[0]["after"] == pair[1]["before"])
        })
        .await;
    }
    assert!(log(files.path()).len() > 3, "{:?}", log(files.path()));
}

/// A disk without room leaves the list and the log as they were, and the proxy serves on.
#[tokio::test]
async fn a_full_disk_loses_nothing() {
    let upstream = Upstream::with_feeds(catalog(), "[]".to_owned()).await;
    let padding = "# padding\n".repeat(3000);
    let files = files(&format!("{padding}{}", list(&["docker"])));
    let gold = files.path().join("shops/gold.toml");
    let process = start(&upstream, files.path());
    let before = fs::read(&gold).unwrap();
    let wanted = json!({ "shop": "gold", "show": ["xovi"] });
    let current = digest(&gold);
    // Files of that process may have 16 KiB at most: the list has more, the log less.
    let pid = Pid::from_raw(process.id().cast_signed()).unwrap();
    let unlimited =
        prlimit(Some(pid), Resource::Fsize, Rlimit { current: Some(16 << 10), maximum: None }).unwrap();
    until("the edit is refused", async || {
        let answer = edit(process.admin, &current, &wanted).await;
        // The directory is claimed a moment after the start.
        assert!([409, 503].contains(&answer.status.as_u16()), "{answer:?}");
        answer.status == 409
    })
    .await;
    assert_eq!(fs::read(&gold).unwrap(), before);
    assert_eq!(log(files.path()), Vec::<Value>::new());
    let shown = client::get(process.address, "/gold/api/v4/packages").await;
    assert!(shown.text().contains("docker") && !shown.text().contains("xovi"));
    prlimit(Some(pid), Resource::Fsize, unlimited).unwrap();
    assert_eq!(edit(process.admin, &current, &wanted).await.status, 200);
    assert!(fs::read_to_string(&gold).unwrap().starts_with(&padding));
    assert_eq!(log(files.path()).len(), 1);
}

/// A user that nothing else runs as.
const NOBODY: u32 = 65_534;

/// A list in a directory that the proxy cannot write, as in a ConfigMap, can be read and tried, not edited.
#[tokio::test]
async fn a_list_that_is_kept_elsewhere_is_read_only() {
    let upstream = Upstream::with_feeds(catalog(), "[]".to_owned()).await;
    let files = files(&list(&["docker"]));
    // Permissions bind everybody but root, who runs it as somebody else.
    let program = files.path().join("catalog-proxy");
    copy_program(&program);
    for (path, mode) in [
        ("", 0o755),
        ("catalog-proxy", 0o755),
        ("cache", 0o777),
        ("shops", 0o555),
        ("shops/gold.toml", 0o444),
    ] {
        fs::set_permissions(files.path().join(path), PermissionsExt::from_mode(mode)).unwrap();
    }
    let process = Process::start_program(&program, &upstream.url(), |command| {
        for (flag, name) in
            [("--shops", "shops"), ("--cache-dir", "cache"), ("--admin-tokens", "tokens.toml")]
        {
            command.arg(flag).arg(files.path().join(name));
        }
        if geteuid().is_root() {
            command.uid(NOBODY);
        }
    });
    let gold = files.path().join("shops/gold.toml");
    let wanted = json!({ "shop": "gold", "show": ["xovi"] });
    let answer = edit(process.admin, &digest(&gold), &wanted).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    assert!(body(&answer)["detail"].as_str().unwrap().contains("read-only"), "{answer:?}");
    let preview = Request::post("/api/v1/preview").header("content-type", "application/json");
    let preview = client::request(process.admin, preview.body(wanted.to_string().into()).unwrap()).await;
    assert_eq!(body(&preview)["changes"][0]["code"], "xovi");
    let status = body(&client::get(process.admin, "/api/v1/status").await);
    let shops = status["status"]["shops"].as_array().unwrap();
    let gold_state = shops.iter().find(|shop| shop["shop"] == "gold").unwrap();
    assert!(gold_state["read_only"].is_string(), "{gold_state}");
    assert_eq!(fs::read_to_string(&gold).unwrap(), list(&["docker"]));
    assert_eq!(log(files.path()), Vec::<Value>::new());
    // So that they can be removed.
    fs::set_permissions(files.path().join("shops"), PermissionsExt::from_mode(0o755)).unwrap();
}
