//! The access log: one line a request, whatever the log level and the client do.

use std::sync::Arc;

use http::Request;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::client::{self, get_request, raw};
use crate::logs::Logged;
use crate::proxy::{array, free};
use crate::upstream::{Step, Upstream, head_of, ok};

const PACKAGES: &str = "/api/v4/packages?platform=unix&with-hidden";

/// The log has nothing but the line that tells the address.
const QUIET: [&str; 2] = ["--log-level", "off,catalog_proxy::app=info"];

fn request(method: &str, target: &str, id: &str) -> http::request::Builder {
    Request::builder()
        .method(method)
        .uri(target)
        .header("x-request-id", id)
        .header("user-agent", "Plesk 18.0")
}

/// Returns the line with this id.
async fn line(proxy: &Logged, id: &str) -> Value {
    let line = proxy.line(&format!("\"request_id\":\"{id}\"")).await;
    serde_json::from_str(&line).unwrap()
}

fn assert_has(line: &Value, expected: Value) {
    for (field, value) in expected.as_object().unwrap() {
        // What must not be there is null.
        assert_eq!(line.get(field).unwrap_or(&Value::Null), value, "{field} of {line}");
    }
}

#[tokio::test]
async fn each_request_has_its_line_at_any_log_level() {
    let gate = Arc::new(Notify::new());
    let opened = Arc::clone(&gate);
    let upstream = Upstream::start(move |request| match request.target.as_str() {
        "/slow" => vec![
            head_of(200, "content-length: 8\r\n"),
            Step::Send(b"1234".to_vec()),
            Step::Gate(Arc::clone(&opened)),
        ],
        "/never" => vec![Step::Gate(Arc::clone(&opened))],
        "/buy?kn=secret" => {
            vec![head_of(200, "etag: W/\"x\"\r\ncontent-length: 2\r\n"), Step::Send(b"ok".to_vec())]
        }
        _ => ok(array(&[free("git")]).as_bytes()),
    })
    .await;
    let proxy = Logged::start(&upstream, &[&QUIET[..], &["--access-log", "json"]].concat(), &[]).await;
    let send = async |request: http::request::Builder| {
        client::request(proxy.address, request.body(Full::default()).unwrap()).await
    };
    let first = send(request("GET", PACKAGES, "first")).await;
    let whitelist = std::fs::read(proxy.directory.path().join("whitelist.toml")).unwrap();
    let digest = ring::digest::digest(&ring::digest::SHA256, &whitelist);
    let list: String = digest.as_ref()[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    let told = line(&proxy, "first").await;
    assert_has(
        &told,
        json!({
            "message": "access", "level": "INFO", "client.addr": "127.0.0.1", "method": "GET",
            "path": "/api/v4/packages", "query": "platform=unix&with-hidden", "protocol": "HTTP/1.1", "tls": false,
            "status": 200, "bytes": first.body.len(), "end": "finished", "route": "packages", "shop": "default",
            "list": list, "cache": "miss", "user_agent": "Plesk 18.0",
        }),
    );
    assert!(told["elapsed_ms"].as_f64().unwrap() > 0.0, "{told}");
    let time = told["timestamp"].as_str().unwrap();
    assert!(humantime::parse_rfc3339(time).is_ok(), "{time}");

    let second = send(request("GET", PACKAGES, "second")).await;
    let etag = second.header("etag").to_owned();
    assert_has(
        &line(&proxy, "second").await,
        json!({"cache": "hit", "etag": etag, "bytes": second.body.len()}),
    );
    send(request("HEAD", PACKAGES, "head")).await;
    assert_has(
        &line(&proxy, "head").await,
        json!({"method": "HEAD", "status": 200, "bytes": 0, "etag": etag, "end": "finished"}),
    );
    send(request("GET", PACKAGES, "known").header("if-none-match", &etag)).await;
    assert_has(
        &line(&proxy, "known").await,
        json!({"status": 304, "bytes": 0, "etag": etag, "cache": "hit"}),
    );
    send(request("GET", "/buy?kn=secret", "passed")).await;
    assert_has(
        &line(&proxy, "passed").await,
        json!({
            "path": "/buy", "query": null, "route": "forward", "status": 200, "bytes": 2, "shop": null, "list": null,
            "etag": "W/\"x\"", "cache": "none",
        }),
    );
    send(request("GET", "/api/v4//packages?kn=secret", "refused")).await;
    assert_has(&line(&proxy, "refused").await, json!({"status": 400, "query": null, "route": "refused"}));

    // Clients that leave: in the middle of an answer, and before it.
    let slow = request("GET", "/slow", "left").body(Full::default()).unwrap();
    let mut slow = client::send(proxy.address, slow).await;
    slow.body_mut().frame().await.unwrap().unwrap();
    drop(slow);
    assert_has(&line(&proxy, "left").await, json!({"status": 200, "bytes": 4, "end": "dropped"}));
    let never = request("GET", "/never", "gone").body(Full::default()).unwrap();
    let asking = tokio::spawn(client::send(proxy.address, never));
    client::until("the request", async || upstream.requests().iter().any(|one| one.target == "/never")).await;
    asking.abort();
    assert_has(&line(&proxy, "gone").await, json!({"status": null, "bytes": 0, "end": "dropped"}));

    assert_eq!(proxy.with("secret"), [""; 0]);
    assert_eq!(proxy.with("\"access\"").len(), 8, "one for each");
}

#[tokio::test]
async fn no_user_agent_forges_a_line() {
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let arguments = ["--access-log", "text", "--log-level", "debug"];
    let proxy = Logged::start(&upstream, &arguments, &[]).await;
    let agents: [&[u8]; 5] = [
        b"a\" status=500 end=\"x",
        b"tab\tand \\n",
        b"bad \xff\xfe utf-8",
        "\u{9b}31m\u{85}\u{202e}\u{2028}".as_bytes(),
        &[b'x'; 5000],
    ];
    for agent in agents {
        let head = b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\nuser-agent: ";
        raw(proxy.address, &[head, agent, b"\r\n\r\n"].concat()).await;
    }
    // Those that HTTP does not allow get no further.
    for agent in [&b"a\nb"[..], b"a\rb", b"a\x1b[2J", b"a\0"] {
        let head = b"GET /livez HTTP/1.1\r\nhost: x\r\nconnection: close\r\nuser-agent: ";
        raw(proxy.address, &[head, agent, b"\r\n\r\n"].concat()).await;
    }
    client::request(proxy.address, get_request("/livez?last")).await;
    client::until("the lines", async || proxy.with(" ACCESS ").len() > agents.len()).await;
    let lines = proxy.lines.lock().unwrap();
    let accessed: Vec<_> = lines.iter().filter(|line| line.contains(" ACCESS ")).collect();
    let expected = [
        r#" user_agent="a\" status=500 end=\"x" request_id="#,
        r#" user_agent="tab\tand \\n" request_id="#,
        " user_agent=\"bad \u{fffd}\u{fffd} utf-8\" request_id=",
        r" user_agent=\u{9b}31m\u{85}\u{202e}\u{2028} request_id=",
    ];
    for (line, expected) in accessed.iter().zip(expected) {
        assert!(line.contains(expected), "{line}");
    }
    assert!(
        accessed[4].contains(&format!(" user_agent={}… request_id=", "x".repeat(256))),
        "{}",
        accessed[4]
    );
    for line in lines.iter() {
        let odd = |c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{202e}');
        assert!(!line.contains(odd) && line.starts_with("20"), "{line:?}");
    }
    // At `debug` it would be said twice.
    assert!(!lines.iter().any(|line| line.contains("DEBUG request ")), "{lines:?}");
}

#[tokio::test]
async fn there_is_none_unless_asked_for() {
    let upstream = Upstream::with_feeds("[]", "[]").await;
    for arguments in [&[][..], &["--access-log", "off"]] {
        let proxy = Logged::start(&upstream, arguments, &[]).await;
        client::get(proxy.address, PACKAGES).await;
        proxy.line("fetched").await;
        std::fs::write(proxy.directory.path().join("whitelist.toml"), "extensions = [\"x\"]").unwrap();
        proxy.line("whitelist reloaded").await;
        assert_eq!((proxy.with("ACCESS"), proxy.with("request_id")), (vec![], vec![]));
    }
}

#[tokio::test]
async fn the_line_has_the_list_that_decided() {
    let upstream = Upstream::with_feeds("[]", "[]").await;
    let arguments = ["--access-log", "json"];
    let proxy = Logged::start(&upstream, &arguments, &[("CATALOG_PROXY_LOG_FORMAT", "json")]).await;
    let asked = async |id: &str| {
        client::request(proxy.address, request("GET", PACKAGES, id).body(Full::default()).unwrap()).await;
        line(&proxy, id).await["list"].as_str().unwrap().to_owned()
    };
    let before = asked("before").await;
    std::fs::write(proxy.directory.path().join("whitelist.toml"), "extensions = [\"x\"]").unwrap();
    proxy.line("whitelist reloaded").await;
    let after = asked("after").await;
    assert!(before != after && after.len() == 12, "{before} {after}");
}
