//! Who may read and edit over the admin port, and from where: a row for each rule and its neighbours.

use std::fs;

use catalog_proxy::config::UserHeader;
use serde_json::json;

use crate::admin_port::{AdminPort, EDITOR, VIEWER, body, show, token_line};
use crate::client::until;
use crate::proxy::list;

const JSON: (&str, &str) = ("content-type", "application/json");

/// The fields of a good change but for its condition.
fn good() -> Vec<(&'static str, String)> {
    vec![("authorization", format!("Bearer {EDITOR}")), ("content-type", "application/json".to_owned())]
}

#[tokio::test]
async fn every_rule_of_a_change() {
    let port = AdminPort::start_with(|config, _| {
        config.access.hosts = vec!["panel.example".to_owned()];
        config.access.user_header = Some(UserHeader {
            name: "x-user".parse().unwrap(),
            trusted: vec!["127.0.0.1/32".parse().unwrap()],
        });
    })
    .await;
    let digest = port.digest("default").await;
    let before = port.list();
    let tag = format!("\"{digest}\"");
    // Each row changes one thing of a good change. What is accepted changes nothing: the code is listed already.
    let check = async |changed: &[(&str, Option<&str>)], wanted: &str, expected: u16| {
        let mut fields = good();
        fields.push(("if-match", tag.clone()));
        let mut fields: Vec<(&str, String)> = fields;
        for (name, value) in changed {
            fields.retain(|(field, _)| field != name);
            if let Some(value) = value {
                fields.push((name, (*value).to_owned()));
            }
        }
        let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, &**value)).collect();
        let answer = port.call("POST", "/api/v1/edits", &fields, wanted).await;
        assert_eq!(answer.status, expected, "{changed:?} {wanted}: {answer:?}");
        if expected != 200 {
            assert_eq!(answer.header("content-type"), "application/problem+json", "{answer:?}");
        }
        if expected == 401 {
            assert!(answer.header("www-authenticate").starts_with("Bearer "), "{answer:?}");
        }
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("access-control-allow-origin"), "");
        assert!(answer.header("content-security-policy").contains("default-src 'none'"));
    };
    let nothing = show("docker").to_string();
    let row =
        async |field: &str, value: Option<&str>, expected| check(&[(field, value)], &nothing, expected).await;
    row("x", None, 200).await;
    // Who.
    row("authorization", None, 401).await;
    row("authorization", Some("Bearer x"), 401).await;
    row("authorization", Some(&format!("Bearer {EDITOR}x")), 401).await;
    row("authorization", Some("Basic YWxpY2U6eA=="), 401).await;
    check(&[("authorization", None), ("x-user", Some("bob"))], &nothing, 200).await;
    check(&[("authorization", None), ("x-user", Some("alice"))], &nothing, 403).await;
    check(&[("authorization", None), ("cookie", Some("token=x"))], &nothing, 401).await;
    // From where.
    row("host", Some("localhost:1"), 200).await;
    row("host", Some("panel.example"), 200).await;
    row("host", Some("rebound.example"), 421).await;
    row("host", Some("localhost.rebound.example"), 421).await;
    row("sec-fetch-site", Some("same-origin"), 200).await;
    for site in ["cross-site", "same-site", "none"] {
        row("sec-fetch-site", Some(site), 403).await;
    }
    let own = format!("http://{}", port.proxy.admin);
    row("origin", Some(&own), 200).await;
    row("origin", Some("https://panel.example"), 200).await;
    for origin in ["null", "http://rebound.example", "http://127.0.0.1", "https://panel.example.evil.example"]
    {
        row("origin", Some(origin), 403).await;
    }
    check(&[("origin", Some("null")), ("sec-fetch-site", Some("same-origin"))], &nothing, 403).await;
    // What.
    row("content-type", None, 415).await;
    row("content-type", Some("text/plain"), 415).await;
    row("content-type", Some("application/json; charset=utf-8"), 200).await;
    row("if-match", None, 428).await;
    row("if-match", Some("*"), 428).await;
    row("if-match", Some("\"0\""), 412).await;
    row("if-match", Some(&digest), 412).await;
    row("if-match", Some(&format!("W/{tag}")), 200).await;
    row("if-match", Some(&format!("\"0\", {tag}")), 200).await;
    for wrong in
        ["[]", "{", "{\"show\":\"docker\"}", "{\"sho\":[]}", "{\"show\":[1]}", "{\"show\":[],\"show\":[]}"]
    {
        check(&[], wrong, 400).await;
    }
    check(&[], &json!({ "show": ["x".repeat(70_000)] }).to_string(), 413).await;
    check(&[], &json!({ "shop": "silver", "show": ["docker"] }).to_string(), 404).await;
    check(&[], &json!({ "show": ["dokcer"] }).to_string(), 422).await;
    check(&[], &json!({ "show": ["docker"], "hide": ["docker"] }).to_string(), 422).await;
    check(&[], &json!({ "show": ["a*b"] }).to_string(), 422).await;
    let many: Vec<String> = (0..1001).map(|n| format!("c{n}")).collect();
    check(&[], &json!({ "show": many }).to_string(), 422).await;
    check(&[], "", 200).await;
    // How.
    let fields: Vec<_> = good();
    let fields: Vec<_> = fields.iter().map(|(name, value)| (*name, &**value)).collect();
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer = port.call(method, "/api/v1/edits", &fields, &show("xovi").to_string()).await;
        assert_eq!(answer.status, 405, "{method}");
    }
    for target in ["/api/v1/edits?show=xovi", "/api/v1/preview?show=xovi", "/api/v1/edits/x/undo"] {
        port.call("GET", target, &fields, "").await;
    }
    assert_eq!(port.list(), before);
    assert_eq!(port.log(), Vec::<serde_json::Value>::new());
}

#[tokio::test]
async fn a_preview_needs_what_reading_needs_and_comes_from_our_page() {
    let port = AdminPort::start().await;
    let wanted = json!({ "show": ["xovi"], "hide": ["git"] }).to_string();
    let answer = port.call("POST", "/api/v1/preview", &[JSON], &wanted).await;
    let preview = body(&answer);
    assert_eq!(answer.status, 200);
    let rows: Vec<_> = preview["changes"].as_array().unwrap().iter().collect();
    assert_eq!(
        (&rows[0]["code"], &rows[0]["state"], &rows[1]["was"]),
        (&json!("xovi"), &json!("shown"), &json!("shown"))
    );
    assert_eq!(preview["digest"], json!(port.digest("default").await));
    assert!(preview["lines"].as_array().unwrap().contains(&json!("+hidden = [")), "{preview}");
    assert_eq!(preview["warnings"][0]["code"], "git");
    assert_eq!(port.call("POST", "/api/v1/preview", &[], &wanted).await.status, 415);
    let foreign = [JSON, ("origin", "http://evil.example")];
    assert_eq!(port.call("POST", "/api/v1/preview", &foreign, &wanted).await.status, 403);
    assert_eq!(port.list(), list(&["docker"]));
}

#[tokio::test]
async fn reading_is_open_unless_there_are_viewers() {
    let port = AdminPort::start().await;
    let editor = format!("Bearer {EDITOR}");
    let status = async |target: &str, token: Option<&str>| {
        let fields: Vec<_> = token.map(|token| ("authorization", token)).into_iter().collect();
        port.call("GET", target, &fields, "").await.status.as_u16()
    };
    let open = ["shops", "packages", "categories", "news", "status"];
    for name in open {
        assert_eq!(status(&format!("/api/v1/{name}"), None).await, 200, "{name}");
    }
    for name in ["servers", "edits"] {
        assert_eq!(status(&format!("/api/v1/{name}"), None).await, 401, "{name}");
        assert_eq!(status(&format!("/api/v1/{name}"), Some(&editor)).await, 200, "{name}");
    }
    // With viewers everything but the probes and metrics needs a token.
    let tokens =
        format!("[editors]\n{}[viewers]\n{}", token_line("alice", EDITOR), token_line("ann", VIEWER));
    fs::write(port.path("tokens.toml"), tokens).unwrap();
    until("reading is restricted", async || status("/api/v1/packages", None).await == 401).await;
    let viewer = format!("Bearer {VIEWER}");
    for name in open.into_iter().chain(["servers", "edits"]) {
        let target = format!("/api/v1/{name}");
        let statuses = (
            status(&target, None).await,
            status(&target, Some(&viewer)).await,
            status(&target, Some(&editor)).await,
        );
        assert_eq!(statuses, (401, 200, 200), "{name}");
    }
    let fields = [("authorization", &*viewer), JSON, ("if-match", "\"x\"")];
    let answer = port.call("POST", "/api/v1/edits", &fields, "{}").await;
    assert_eq!(answer.status, 403, "{answer:?}");
    for probe in ["/metrics", "/livez", "/readyz"] {
        let answer = port.call("GET", probe, &[("host", "any.example")], "").await;
        assert_eq!(answer.status, 200, "{probe}");
    }
    assert_eq!(
        port.call("GET", "/api/v1/shops", &[("host", "any.example"), ("authorization", &viewer)], "")
            .await
            .status,
        421
    );
}

#[tokio::test]
async fn a_revoked_token_does_not_live_on_behind_a_typo() {
    let port = AdminPort::start().await;
    let digest = port.digest("default").await;
    let edit = async || port.edit(&digest, &show("docker")).await.status.as_u16();
    assert_eq!(edit().await, 200);
    fs::write(port.path("tokens.toml"), "[editors]\nalice = \"sha256:").unwrap();
    until("editing is off", async || edit().await == 403).await;
    let status = body(&port.get("/api/v1/status").await);
    assert_eq!(status["status"]["editing"], false);
    assert!(status["status"]["locked"].as_str().unwrap().contains("--admin-tokens"), "{status}");
    fs::write(port.path("tokens.toml"), format!("[editors]\n{}", token_line("alice", EDITOR))).unwrap();
    until("editing is on", async || edit().await == 200).await;
    fs::remove_file(port.path("tokens.toml")).unwrap();
    until("editing is off", async || edit().await == 403).await;
    fs::write(port.path("tokens.toml"), format!("[editors]\n{}", token_line("carl", EDITOR))).unwrap();
    until("editing is on", async || edit().await == 200).await;
    fs::write(port.path("tokens.toml"), format!("[editors]\n{}", token_line("carl", VIEWER))).unwrap();
    until("the token is revoked", async || edit().await == 401).await;
}

#[tokio::test]
async fn without_tokens_everybody_reads_and_nobody_edits() {
    let port = AdminPort::start_with(|config, _| config.access.tokens = None).await;
    for name in ["shops", "packages", "news", "status", "servers", "edits"] {
        assert_eq!(port.get(&format!("/api/v1/{name}")).await.status, 200, "{name}");
    }
    let digest = port.digest("default").await;
    let answer = port.edit(&digest, &show("xovi")).await;
    assert_eq!(answer.status, 403);
    assert!(body(&answer)["detail"].as_str().unwrap().contains("--admin-tokens"), "{answer:?}");
    assert_eq!(port.list(), list(&["docker"]));
}
