//! Secrets that must never be logged: credentials, and the queries of pass-through requests.

use std::fs;
use std::process::Command;

use crate::admin_port::token_line;
use crate::client::{get, raw, until};
use crate::process::Process;
use crate::upstream::{Step, Upstream, head_of, status};

/// Part of every secret below.
const SECRET: &str = "s3cret";

/// Everything that is ever logged.
fn verbose(command: &mut Command) {
    command.env("RUST_LOG", "trace");
}

#[tokio::test]
async fn requests_and_answers_keep_their_secrets() {
    let upstream = Upstream::start(|request| match request.target.split('?').next().unwrap() {
        "/fails" => vec![Step::Close],
        "/cut" => vec![head_of(200, "content-length: 10\r\nset-cookie: s3cret=1\r\n"), Step::Close],
        "/api/v4/packages" => status(401, "text/html", b"s3cret"),
        _ => vec![head_of(200, "content-length: 0\r\nset-cookie: s3cret=1\r\nlocation: /?s3cret\r\n")],
    })
    .await;
    let process = Process::start_with(&upstream.url(), verbose);
    let fields = "authorization: Bearer s3cret\r\nproxy-authorization: Basic s3cret\r\ncookie: s3cret\r\n\
                  x-api-key: s3cret\r\nreferer: http://a.example/?s3cret\r\nconnection: close\r\n";
    for target in [
        "/fine?token=s3cret",
        "/fails?token=s3cret",
        "/cut?token=s3cret",
        "/api/v4/packages",
        "http://user:s3cret@a.example/fine?token=s3cret",
    ] {
        raw(process.address, format!("GET {target} HTTP/1.1\r\nhost: a.example\r\n{fields}\r\n").as_bytes())
            .await;
    }
    until("a line a request", async || process.log().matches("\"message\":\"request\"").count() == 5).await;
    assert!(process.log().contains("\"path\":\"/fails\""), "{}", process.log());
    assert!(!process.log().contains(SECRET), "{}", process.log());
}

#[tokio::test]
async fn the_outbound_proxy_keeps_its_password() {
    // Nothing listens on the discard port.
    let process = Process::start_with("https://ext.example", |command| {
        verbose(command);
        command.env("HTTPS_PROXY", "http://user:s3cret@127.0.0.1:9").env_remove("NO_PROXY");
    });
    get(process.address, "/api/v4/packages").await.assert_problem(502);
    get(process.address, "/other").await.assert_problem(502);
    until("the failures", async || process.log().matches("failed").count() >= 2).await;
    assert!(!process.log().contains(SECRET), "{}", process.log());
    // "user:s3cret" as Basic credentials.
    assert!(!process.log().contains("dXNlcjpzM2NyZXQ"), "{}", process.log());
}

#[tokio::test]
async fn tokens_of_the_admin_port_are_not_logged() {
    let upstream = Upstream::start(|_| status(200, "application/json", b"[]")).await;
    let files = tempfile::tempdir().unwrap();
    let tokens = files.path().join("tokens.toml");
    fs::write(&tokens, format!("[editors]\n{}[viewers]\n", token_line("alice", "s3cret-right"))).unwrap();
    let process = Process::start_with(&upstream.url(), |command| {
        verbose(command);
        command.arg("--admin-tokens").arg(&tokens);
    });
    let head =
        "host: localhost\r\nconnection: close\r\ncontent-type: application/json\r\ncontent-length: 2\r\n";
    for credentials in
        ["Bearer s3cret-right", "Bearer s3cret-wrong", "Basic YWxpY2U6czNjcmV0LXdyb25n", "s3cret"]
    {
        for target in ["POST /api/v1/edits", "GET /api/v1/packages", "GET /api/v1/status"] {
            let request = format!("{target} HTTP/1.1\r\n{head}authorization: {credentials}\r\n\r\n{{}}");
            let answer = raw(process.admin, request.as_bytes()).await;
            assert!(!answer.contains(SECRET), "{answer}");
        }
    }
    until("the failures", async || process.log().contains("a wrong token on the admin port")).await;
    assert!(!process.log().contains(SECRET), "{}", process.log());
    assert!(!process.log().contains("czNjcmV0"), "{}", process.log());
}
