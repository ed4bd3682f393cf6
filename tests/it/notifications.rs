//! Notifications as receivers get them: in their shape, through redirects, and tried with `check --notify-test`.

use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::client::{get, until};
use crate::news::Shop;
use crate::process::Process;
use crate::proxy::{free, plesk};
use crate::tls::{Authority, listen};
use crate::tools::{Session, assert_played, text};
use crate::upstream::{Request, Script, Step, Upstream, converse, head_of, status};

const PACKAGES: &str = "/api/v4/packages";

/// Runs `check --notify-test` with more arguments; `roots` are those that are trusted. Returns exit code and output.
async fn test_message(arguments: &str, roots: Option<&Authority>) -> (Option<i32>, String) {
    let session = Session::new("extensions = []\n");
    let mut command = session.command(&format!("check --feed packages.json --notify-test {arguments}"));
    if let Some(authority) = roots {
        command.env("SSL_CERT_FILE", authority.file());
    }
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    (output.status.code(), [text(&output.stdout), text(&output.stderr)].concat())
}

/// The test message that is sent to a receiver of a format, without what differs each time.
async fn sent_to(hook: &Upstream) -> String {
    let request = hook.requests().pop().unwrap();
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/hook?secret"));
    assert_eq!(request.header("content-type"), Some("application/json"));
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    pretty(&request).replace(host.trim(), "HOST")
}

/// The body of a request, without what differs each time.
fn pretty(request: &Request) -> String {
    let mut body: Value = serde_json::from_slice(&request.body).unwrap();
    for (member, value) in [("id", "ID"), ("at", "AT")] {
        if let Some(found) = body.get_mut(member) {
            *found = value.into();
        }
    }
    serde_json::to_string_pretty(&body).unwrap() + "\n"
}

#[tokio::test]
async fn a_test_message_has_the_shape_of_its_format() {
    let mut played = String::new();
    for (format, answer) in [("generic", 204), ("text", 200), ("discord", 204), ("teams", 202)] {
        let hook = Upstream::start(move |_| status(answer, "text/plain", b"ok")).await;
        let flags =
            format!("--notify-format {format} --notify-url http://user:secret@{}/hook?secret", hook.address);
        let (code, said) = test_message(&flags, None).await;
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains(&format!("http://{}: good: took the test message ({answer} ", hook.address)));
        assert!(!said.contains("secret"), "{said}");
        assert_eq!(hook.count(), 1);
        assert_eq!(hook.requests()[0].header("authorization"), Some("Basic dXNlcjpzZWNyZXQ="));
        played += &format!("$ --notify-format {format}\n{}\n", sent_to(&hook).await);
    }
    assert_played("notify-test", &played);
}

#[tokio::test]
async fn nothing_is_sent_without_being_asked_for() {
    let hook = Upstream::start(|_| status(204, "text/plain", b"")).await;
    let session = Session::new("extensions = []\n");
    let mut command =
        session.command(&format!("check --feed packages.json --notify-url {}/hook", hook.url()));
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    assert_eq!((output.status.code(), hook.count()), (Some(0), 0), "{output:?}");
    let (code, said) = test_message("", None).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("--notify-test: error: there is no --notify-url to send a message to"), "{said}");
}

#[tokio::test]
async fn who_does_not_take_a_test_message_is_told_why() {
    let cases: [(Script, &str, &str); 6] = [
        (status(404, "text/plain", b"no /hook?secret here"), "", "message: status 404 Not Found\n"),
        (status(400, "text/plain", b"empty"), "", "400 Bad Request: a chat wants --notify-format text,"),
        (status(400, "text/plain", b"empty"), "--notify-format text", "is that the right --notify-format"),
        (status(500, "text/plain", b"secret"), "", "message: status 500 Internal Server Error\n"),
        (vec![head_of(429, "retry-after: 2\r\ncontent-length: 0\r\n")], "", "status 429 Too Many Requests\n"),
        (vec![Step::Close], "", "message: "),
    ];
    for (answer, flags, part) in cases {
        let hook = Upstream::start(move |_| answer.clone()).await;
        let (code, said) =
            test_message(&format!("{flags} --notify-url {}/hook?secret", hook.url()), None).await;
        assert_eq!(code, Some(1), "{said}");
        let error = format!("{}: error: did not take the test message: ", hook.url());
        assert!(said.contains(&error) && said.contains(part) && !said.contains("secret"), "{said}");
        assert_eq!(hook.count(), 1, "one attempt");
    }
    // Nothing listens on the discard port.
    let (code, said) = test_message("--notify-url http://127.0.0.1:9/secret", None).await;
    assert!(
        code == Some(1) && said.contains("http://127.0.0.1:9: error: ") && !said.contains("secret"),
        "{said}"
    );
}

/// Serves over TLS as `localhost`, and returns the port with what was asked for.
async fn secure(authority: &Authority) -> (u16, Arc<Mutex<Vec<Request>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let requests = Arc::clone(&seen);
    let port = listen(authority.acceptor("localhost", &[], |_| ()), move |stream| {
        converse(stream, Arc::new(|_: &Request| status(200, "text/plain", b"ok")), Arc::clone(&seen))
    })
    .await;
    (port, requests)
}

#[tokio::test]
async fn receivers_over_tls_are_verified() {
    let authority = Authority::new();
    let (port, requests) = secure(&authority).await;
    let flags = format!("--notify-url https://localhost:{port}/hook?secret");
    let (code, said) = test_message(&flags, Some(&authority)).await;
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = test_message(&flags, Some(&Authority::new())).await;
    assert!(code == Some(1) && said.contains("certificate") && !said.contains("secret"), "{said}");
    assert_eq!(requests.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn redirects_are_followed_on_the_same_host() {
    let to = |code: u16, location: &str| {
        vec![head_of(code, &format!("location: {location}\r\ncontent-length: 0\r\n"))]
    };
    // Each kind leads one further: a new path, a slash at the end, the name spelled out.
    let hook = Upstream::start(move |request| match request.target.as_str() {
        "/hook?secret" => to(308, "/a"),
        "/a" => to(301, "a/"),
        "/a/" => to(302, &format!("http://{}/b", request.header("host").unwrap())),
        _ => status(204, "text/plain", b""),
    })
    .await;
    let flags = format!("--notify-url http://user:secret@{}/hook?secret", hook.address);
    let (code, said) = test_message(&flags, None).await;
    assert_eq!(code, Some(0), "{said}");
    let requests = hook.requests();
    let targets: Vec<_> = requests.iter().map(|request| request.target.as_str()).collect();
    assert_eq!(targets, ["/hook?secret", "/a", "/a/", "/b"]);
    for request in &requests {
        assert_eq!((request.method.as_str(), &request.body), ("POST", &requests[0].body));
        assert_eq!(request.header("authorization"), Some("Basic dXNlcjpzZWNyZXQ="));
        assert_eq!(request.header("content-type"), Some("application/json"));
    }

    let check = async |answer: Script, part: &str, count: usize| {
        let hook = Upstream::start(move |_| answer.clone()).await;
        let (code, said) = test_message(&format!("--notify-url {}/secret", hook.url()), None).await;
        assert!(code == Some(1) && said.contains(part) && !said.contains("secret"), "{said}");
        assert_eq!(hook.count(), count, "{said}");
    };
    check(to(307, "/secret"), "message: redirected more than 3 times\n", 4).await;
    check(to(303, "/secret"), "message: status 303 See Other\n", 1).await;
    check(to(307, "http://b.example/secret"), "it leads to http://b.example, which is another server", 1)
        .await;
    check(to(301, "https://localhost/secret"), "it leads to https://localhost, which is another server", 1)
        .await;
    check(vec![head_of(302, "content-length: 0\r\n")], "302 Found: it has no Location that is a URL\n", 1)
        .await;

    // From http to https of the same host, and not back.
    let authority = Authority::new();
    let (port, requests) = secure(&authority).await;
    let plain = Upstream::start(move |_| to(301, &format!("https://localhost:{port}/hook"))).await;
    let port = plain.address.port();
    let (code, said) =
        test_message(&format!("--notify-url http://localhost:{port}/hook"), Some(&authority)).await;
    assert_eq!(code, Some(0), "{said}");
    let requests = requests.lock().unwrap();
    assert_eq!((requests.len(), requests[0].target.as_str()), (1, "/hook"));
    assert_eq!(requests[0].body, plain.requests()[0].body);
}

#[tokio::test]
async fn a_change_arrives_in_the_shape_of_its_format() {
    let hostile = r#"{"code":"evil-tool","name":"<!channel> @here [x](https:\/\/evil.example) `& more","buy_url":"https:\/\/go.plesk.com\/x"}"#;
    let mut played = String::new();
    for format in ["text", "discord", "teams"] {
        let directory = tempfile::tempdir().unwrap();
        let shop = Shop::new(&[plesk("wp-toolkit"), free("git")]);
        let upstream = shop.open().await;
        let hook = Upstream::start(|request| match request.target.as_str() {
            "/hook?secret" => vec![head_of(308, "location: /moved?secret\r\ncontent-length: 0\r\n")],
            _ => status(204, "text/plain", b""),
        })
        .await;
        let process = Process::start_with(&upstream.url(), |command| {
            let url = format!("{}/hook?secret", hook.url());
            command.args(["--fresh-for", "1ms", "--notify-url", &url, "--notify-format", format]);
            command.arg("--cache-dir").arg(directory.path());
        });
        get(process.address, PACKAGES).await;
        shop.now_has(&[free("git"), hostile.to_owned()]);
        until("a delivery", async || {
            get(process.address, PACKAGES).await;
            process.log().contains("\"notified\"")
        })
        .await;
        assert_eq!(hook.count(), 2);
        assert!(!process.log().contains("secret"), "{}", process.log());
        played += &format!("$ --notify-format {format}\n{}\n", pretty(&hook.requests()[1]));
    }
    assert_played("notify-changed", &played);
}

#[tokio::test]
async fn a_redirect_to_another_host_ends_the_delivery() {
    let directory = tempfile::tempdir().unwrap();
    let shop = Shop::new(&[free("git")]);
    let upstream = shop.open().await;
    let hook = Upstream::start(|_| {
        vec![head_of(302, "location: https://b.example/secret\r\ncontent-length: 0\r\n")]
    })
    .await;
    let process = Process::start_with(&upstream.url(), |command| {
        let url = format!("{}/hook?secret", hook.url());
        command.args(["--fresh-for", "1ms", "--notify-url", &url, "--cache-dir"]).arg(directory.path());
        command.env("RUST_LOG", "trace");
    });
    get(process.address, PACKAGES).await;
    shop.now_has(&[]);
    until("the end", async || {
        get(process.address, PACKAGES).await;
        process.log().contains("notification given up")
    })
    .await;
    let log = process.log();
    assert!(
        log.contains("status 302 Found: it leads to https://b.example, which is another server"),
        "{log}"
    );
    assert!(!log.contains("secret"), "{log}");
    assert_eq!(hook.count(), 1);
}
