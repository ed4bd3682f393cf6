//! Settings without guessing: what is in force, what is wrong, and whether the proxy answers where it should.

use std::ffi::OsStr;
use std::fs;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::process::Output;
use std::sync::Arc;

use catalog_proxy::config::Tls;
use serde_json::{Value, json};

use crate::client::get;
use crate::proxy::{Proxy, array, free, list, plesk};
use crate::tls::Authority;
use crate::tools::{Session, text};
use crate::upstream::{Upstream, ok, status};

/// Every setting with a value that is not its default, as it is typed.
const SAMPLES: [(&str, &str); 29] = [
    ("listen", "127.0.0.1:1,[::1]:2"),
    ("tls-cert", "/etc/cert.pem"),
    ("tls-key", "/etc/key.pem"),
    ("trusted-proxy", "10.0.0.0/8,::1/128"),
    ("upstream", "http://127.0.0.1:9000"),
    ("upstream-ca", "/etc/ca.pem"),
    ("whitelist", "/etc/whitelist.toml"),
    ("shops", "/etc/shops"),
    ("cache-dir", "/var/cache/x"),
    ("cache-size", "1GiB"),
    ("min-fresh-for", "1m"),
    ("fresh-for", "5m"),
    ("stale-for", "2days"),
    ("client-max-age", "5s"),
    ("max-feed-size", "32MiB"),
    ("max-connections", "100"),
    ("max-connections-per-address", "99"),
    ("max-request-body", "1MiB"),
    ("admin-listen", "off"),
    ("admin-tokens", "/etc/tokens.toml"),
    ("admin-tls", "true"),
    ("admin-host", "proxy.example"),
    ("admin-user-header", "x-user"),
    ("admin-trusted-proxy", "127.0.0.1/32"),
    ("notify-url", "http://127.0.0.1:9/"),
    ("notify-format", "teams"),
    ("log-format", "json"),
    ("access-log", "text"),
    ("log-level", "debug"),
];

fn variable(key: &str) -> String {
    format!("CATALOG_PROXY_{}", key.to_uppercase().replace('-', "_"))
}

/// Returns the values of `config --format json` by key, each with its source.
fn printed(output: &Output) -> Vec<(String, Value, String)> {
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let settings = printed["settings"].as_array().unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let source = |setting: &Value| format!("{} {}", text(&setting["source"]), text(&setting["name"]));
    settings
        .iter()
        .map(|setting| (text(&setting["key"]), setting["value"].clone(), source(setting)))
        .collect()
}

fn values(settings: &[(String, Value, String)]) -> Vec<(String, Value)> {
    settings.iter().map(|(key, value, _)| (key.clone(), value.clone())).collect()
}

/// Runs a command on a thread of its own, while tasks of the test answer it.
async fn run(session: &Arc<Session>, line: &str) -> (String, Option<i32>) {
    let (session, line) = (Arc::clone(session), line.to_owned());
    let output = tokio::task::spawn_blocking(move || session.run(&line)).await.unwrap();
    ([text(&output.stdout), text(&output.stderr)].concat(), output.status.code())
}

/// Returns a port on which nobody listens just now.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn flags_variables_and_a_file_print_the_same() {
    let session = Session::new("extensions = []\n");
    let flags: String = SAMPLES.iter().map(|(key, value)| format!(" --{key}={value}")).collect();
    let by_flags = printed(&session.run(&format!("config --format json{flags}")));
    assert_eq!(by_flags.len(), SAMPLES.len());
    for (key, value, source) in &by_flags {
        assert!(!value.is_null() && *source == format!("flag --{key}"), "{key}: {value} by {source}");
    }

    // A line break at the end of each variable, as a secret from a file has one, is harmless.
    let mut command = session.command("config --format json");
    command.envs(SAMPLES.map(|(key, value)| (variable(key), format!("{value}\r\n"))));
    let by_variables = printed(&command.output().unwrap());
    assert_eq!(values(&by_variables), values(&by_flags));
    for (key, _, source) in &by_variables {
        assert_eq!(*source, format!("variable {}", variable(key)));
    }

    // What is printed as a file is a file with the same settings.
    let file = session.run(&format!("config{flags}"));
    session.write("printed.toml", text(&file.stdout));
    let by_file = printed(&session.run("config --format json --config printed.toml"));
    assert_eq!(values(&by_file), values(&by_flags));
    assert!(by_file.iter().all(|(.., source)| source == "file printed.toml"), "{by_file:?}");
}

#[test]
fn sources_are_named_and_secrets_are_not_shown() {
    let session = Session::new("extensions = []\n");
    session.write("proxy.toml", "# x\nfresh-for = \"5m\"\nstale-for = \"1d\"\n");
    let mut command = session.command("config --config proxy.toml --stale-for 2d");
    command
        .env("CATALOG_PROXY_NOTIFY_URL", "https://user:s3cret@hooks.example/s3cret\n")
        .env("CATALOG_PROXY_LISTEN", "")
        .env("HTTPS_PROXY", "http://user:s3cret@127.0.0.1:3128\n");
    let output = command.output().unwrap();
    let toml = text(&output.stdout);
    let has = |key: &str, value: &str, source: &str| {
        let line = toml.lines().find(|line| line.starts_with(key)).unwrap();
        assert!(line.contains(value) && line.ends_with(source), "{line}");
    };
    has("fresh-for", "\"5m\"", "# proxy.toml:2:13");
    has("stale-for", "\"2days\"", "# --stale-for");
    has("listen", "[\"0.0.0.0:8080\"]", "# default");
    has("# cache-dir", "", "# not set");
    has("log-level", "\"info\"", "# default");
    has("notify-url", "\"https://hooks.example/***\"", "; not all of it is shown, and this is refused");
    has("# It is reached through the proxy", "http://127.0.0.1:3128/", "by the environment.");
    assert!(!toml.contains("s3cret"), "{toml}");
    session.write("again.toml", toml);
    let refused = session.run("config --config again.toml");
    assert_eq!(refused.status.code(), Some(2));
    assert!(text(&refused.stderr).contains("in place of a secret"), "{refused:?}");
    // This variable means other crates as well, so it is no value of the setting.
    let output = session.command("config").env("RUST_LOG", "debug").output().unwrap();
    assert!(text(&output.stdout).contains("# cannot be written here: RUST_LOG"), "{output:?}");
}

#[test]
fn all_wrong_variables_are_told_at_once() {
    let session = Session::new("extensions = []\n");
    let wrong = [("LISTEN", "x"), ("FRESH_FOR", "10"), ("MAX_CONNECTIONS", "0"), ("LOG_FORMAT", "xml")];
    let variables = wrong.map(|(name, value)| (format!("CATALOG_PROXY_{name}"), value));
    for line in ["serve", "check", "config", "healthcheck"] {
        let output = session.command(line).envs(variables.clone()).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 4), "{said}");
        for part in [
            "CATALOG_PROXY_LISTEN: \"x\": expected an address like",
            "CATALOG_PROXY_FRESH_FOR: \"10\": a duration needs a unit, such as \"10m\"",
            "CATALOG_PROXY_MAX_CONNECTIONS: \"0\": expected a whole number, at least 1",
            "CATALOG_PROXY_LOG_FORMAT: \"xml\": expected one of text, json",
        ] {
            assert!(said.contains(part), "{part}: {said}");
        }
    }
    // A flag that is wrong as well is told too, and one that was typed makes its variable harmless.
    let output = session.command("serve --listen y --fresh-for 1m").envs(variables).output().unwrap();
    let said = text(&output.stderr);
    assert!(said.contains("'--listen <ADDR>'") && said.contains("CATALOG_PROXY_LOG_FORMAT: "), "{said}");
    assert!(!said.contains("CATALOG_PROXY_LISTEN") && !said.contains("CATALOG_PROXY_FRESH_FOR"), "{said}");
}

#[test]
fn misspelt_variables_are_warned_about() {
    let session = Session::new("extensions = []\n");
    let warned = |line: &str| {
        let mut command = session.command(line);
        command
            .env("CATALOG_PROXY_LISTN", "x")
            .env("CATALOG_PROXY_SERVICE_HOST", "10.0.0.1")
            .env("CATALOG_PROXY_PORT", "tcp://10.0.0.1:8080")
            .env("CATALOG_PROXY_ADMIN_TOKEN", "x")
            .env(OsStr::from_bytes(b"CATALOG_PROXY_\xff"), OsStr::from_bytes(b"\xff"));
        let output = command.output().unwrap();
        let said = [text(&output.stdout), text(&output.stderr)].concat();
        assert!(said.contains("did you mean CATALOG_PROXY_LISTEN?"), "{line}: {said}");
        assert_eq!(said.matches("no setting has this variable").count(), 2, "{line}: {said}");
        assert!(!said.contains("SERVICE_HOST") && !said.contains("panicked"), "{line}: {said}");
        output.status.code()
    };
    assert_eq!(warned("config"), Some(0));
    assert_eq!(warned("check --feed packages.json"), Some(1));
    assert_eq!(warned("check --feed packages.json --lenient"), Some(0));
    assert_eq!(warned("serve --whitelist no-such.toml"), Some(2));
    // A value that is not UTF-8 is refused by name.
    let output =
        session.command("serve").env("CATALOG_PROXY_UPSTREAM", OsStr::from_bytes(b"\xff")).output().unwrap();
    let said = text(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("CATALOG_PROXY_UPSTREAM"), "{said}");
}

#[test]
fn warnings_fail_unless_they_need_not() {
    let session = Session::new("extensions = []\n");
    let check = |more: &str, code: i32, part: &str| {
        let output = session.run(&format!("check --feed packages.json {more}"));
        let said = [text(&output.stdout), text(&output.stderr)].concat();
        assert!(output.status.code() == Some(code) && said.contains(part), "{more}: {said}");
    };
    check("", 0, "--cache-dir: note: no --cache-dir");
    check("--strict", 0, "note: ");
    check("--stale-for 0s", 1, "--stale-for: warning: 0s: when the upstream fails");
    check("--stale-for 0s --strict", 1, "warning");
    check("--stale-for 0s --lenient", 0, "warning");
    check("--max-connections 1 --lenient", 0, "--max-connections: warning: 1: a handful of servers");
    check("--cache-size 1MiB --lenient", 0, "cannot hold one feed");
    check("--whitelist no-such.toml --lenient", 1, "error");
    check("--lenient --strict", 2, "cannot be used with");
}

#[test]
fn all_mistakes_of_a_file_are_shown_with_their_lines() {
    let session = Session::new("extensions = []\n");
    session.write("proxy.toml", "fresh-for = 10\nlisten = “:1”\nnotify-url = \"s3cret\"\n");
    let lines = [
        "1 | fresh-for = 10\n  |             ^^\n",
        "2 | listen = “:1”\n  |          ^^^^\n",
        "3 | notify-url = \"******\"\n",
    ];
    for line in ["serve", "config", "list --feed packages.json"] {
        let output = session.run(&format!("{line} --config proxy.toml"));
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.starts_with("catalog-proxy: 3 mistakes in the settings\nproxy.toml:1:13: "), "{said}");
        assert!(lines.iter().all(|line| said.contains(line)) && !said.contains("s3cret"), "{said}");
    }
    let output = session.run("check --config proxy.toml");
    let said = text(&output.stdout);
    assert!(lines.iter().all(|line| said.contains(line)) && !said.contains("s3cret"), "{said}");

    // Whitelists and tokens show their lines as well, the latter without what may be a token.
    session.write("broken.toml", "extensions = [\n  1\n]\n");
    let output = session.run("serve --whitelist broken.toml");
    assert!(text(&output.stderr).ends_with("\n2 |   1\n  |   ^\n"), "{output:?}");
    session.write("tokens.toml", "[editors]\nbob = \"s3cret\"\n");
    let output = session.run("serve --listen 127.0.0.1:0 --admin-tokens tokens.toml");
    let said = text(&output.stderr);
    assert!(said.ends_with("\n2 | bob = \"******\"\n  |       ^\n"), "{said}");
}

#[test]
fn a_busy_port_names_the_flag() {
    let session = Session::new("extensions = []\n");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap();
    let check = |line: &str, flag: &str| {
        let output = session.run(line);
        let said = text(&output.stderr);
        let expected = format!("another program listens there: choose another with {flag}\n");
        assert_eq!(output.status.code(), Some(1), "{line}: {said}");
        assert!(said.contains(&format!("cannot listen on {taken}: ")) && said.ends_with(&expected), "{said}");
    };
    check(&format!("serve --listen {taken}"), "--listen");
    check(&format!("serve --listen 127.0.0.1:0 --admin-listen {taken}"), "--admin-listen");
    check(&format!("demo --listen {taken}"), "--listen");
}

#[tokio::test]
async fn check_asks_the_address() {
    let packages = array(&[plesk("wp-toolkit"), plesk("docker"), plesk("xovi"), free("git")]);
    let upstream = Upstream::with_feeds(packages.clone(), "[]").await;
    let proxy = Proxy::start_with(&upstream.url(), |_| ()).await;
    let session = Arc::new(Session::new(&list(&["wp-toolkit", "docker"])));
    session.write("feed.json", &packages);
    fs::create_dir(session.path("shops")).unwrap();
    session.write("shops/gold.toml", &list(&["xovi"]));
    let url = format!("http://{}", proxy.address);
    let check = |line: String, code: i32, expected: String| {
        let session = Arc::clone(&session);
        async move {
            let (said, status) = run(&session, &format!("check --feed feed.json {line}")).await;
            assert!(said.lines().any(|line| line == expected), "{line}: no {expected:?} in\n{said}");
            assert_eq!(status, Some(code), "{line}: {said}");
        }
    };
    let same = "good: catalog-proxy answers with shop default: 3 packages, as the list here says";
    check(format!("--url {url}/"), 0, format!("{url}: {same}")).await;
    session.write("other.toml", &list(&["wp-toolkit", "xovi"]));
    let differs = "warning: catalog-proxy answers with shop default, but not as the list here says: it also shows docker, \
                   it lacks xovi; it may have another list, or an older copy of the catalog";
    check(format!("--url {url} --whitelist other.toml"), 1, format!("{url}: {differs}")).await;
    check(format!("--url {url} --whitelist other.toml --lenient"), 0, format!("{url}: {differs}")).await;
    // The proxy has no such shop.
    let missing = "error: catalog-proxy answers with status 404: no feeds are served under `/gold`";
    check(
        format!("--url {url} --whitelist whitelist.toml --shops shops"),
        1,
        format!("{url}/gold: {missing}"),
    )
    .await;
    // Another server, and none.
    let other = "error: something else answers there, with status 200";
    check(format!("--url {}", upstream.url()), 1, format!("{}: {other}", upstream.url())).await;
    let nobody = format!("http://127.0.0.1:{}", free_port());
    check(
        format!("--url {nobody}"),
        1,
        format!("{nobody}: error: nothing listens there: the connection is refused"),
    )
    .await;
    let https = format!("https://{}", proxy.address);
    let (said, _) = run(&session, &format!("check --feed feed.json --url {https}")).await;
    assert!(said.contains(&format!("{https}: error: no TLS is spoken there")), "{said}");
    proxy.stop().await;

    // A proxy whose upstream fails.
    let failing = Upstream::start(|_| status(500, "text/html", b"")).await;
    let proxy = Proxy::start_with(&failing.url(), |_| ()).await;
    let url = format!("http://{}", proxy.address);
    let failed = "error: catalog-proxy answers with status 502: the upstream answered with status 500";
    check(format!("--url {url}"), 1, format!("{url}: {failed}")).await;
    proxy.stop().await;
}

#[tokio::test]
async fn check_asks_each_shop_over_https() {
    let packages = array(&[plesk("wp-toolkit"), plesk("docker"), plesk("xovi")]);
    let upstream = Upstream::with_feeds(packages.clone(), "[]").await;
    let session = Arc::new(Session::new(&list(&["wp-toolkit", "docker"])));
    session.write("feed.json", &packages);
    fs::create_dir(session.path("shops")).unwrap();
    session.write("shops/gold.toml", &list(&["xovi"]));
    let authority = Authority::new();
    let (certificate, key) = authority.sign("localhost", |_| ());
    session.write("cert.pem", &certificate.pem());
    session.write("key.pem", &key.serialize_pem());
    let proxy = Proxy::start_with(&upstream.url(), |config| {
        config.shops = Some(session.path("shops").into());
        config.tls = Some(Tls { cert: session.path("cert.pem").into(), key: session.path("key.pem").into() });
    })
    .await;
    let url = format!("https://localhost:{}", proxy.address.port());
    let line = format!("check --feed feed.json --whitelist whitelist.toml --shops shops --url {url}");
    let (said, code) = run(&session, &format!("{line} --url-ca {}", authority.file().display())).await;
    assert_eq!(code, Some(0), "{said}");
    for expected in [
        format!("{url}: good: catalog-proxy answers with shop default: 2 packages, as the list here says"),
        format!("{url}/gold: good: catalog-proxy answers with shop gold: 1 package, as the list here says"),
    ] {
        assert!(said.lines().any(|line| line == expected), "{said}");
    }
    let (said, code) = run(&session, &line).await;
    let untrusted = format!("{url}: error: the certificate there is not trusted");
    assert!(code == Some(1) && said.contains(&untrusted) && said.contains("--url-ca"), "{said}");
    proxy.stop().await;
}

#[tokio::test]
async fn a_proxy_that_is_its_own_upstream_says_so() {
    let port = free_port();
    let own = format!("http://127.0.0.1:{port}");
    let address = format!("127.0.0.1:{port}").parse().unwrap();
    let proxy = Proxy::start_with(&own, |config| config.listen = vec![address].into()).await;
    let feed = get(address, "/api/v4/packages").await;
    feed.assert_problem(502);
    assert!(feed.text().contains("status 508, so it leads back to this proxy"), "{}", feed.text());
    let other = get(address, "/media/logo.png").await;
    other.assert_problem(508);
    assert_eq!(
        other.header("proxy-status").split(';').nth(1),
        Some(" error=proxy_loop_detected"),
        "{other:?}"
    );
    let session = Arc::new(Session::new("extensions = []\n"));
    let (said, _) = run(&session, &format!("check --upstream {own} --listen {address} --url {own}")).await;
    assert!(said.contains("--upstream: warning: ") && said.contains("leads back to this proxy"), "{said}");
    assert!(said.contains(&format!("{own}: error: catalog-proxy answers with status 502")), "{said}");
    proxy.stop().await;
}

#[tokio::test]
async fn one_proxy_behind_another_serves() {
    let upstream = Upstream::start(|request| match request.target.contains("packages") {
        true => ok(array(&[plesk("wp-toolkit"), plesk("xovi")]).as_bytes()),
        false => status(200, "text/plain", b"logo"),
    })
    .await;
    let inner = Proxy::start(&upstream).await;
    let outer = Proxy::start_with(&format!("http://{}", inner.address), |_| ()).await;
    let feed = outer.get("/api/v4/packages").await;
    assert_eq!((feed.status.as_u16(), feed.text()), (200, array(&[plesk("wp-toolkit")]).as_str()));
    let other = outer.get("/media/logo.png").await;
    assert_eq!((other.status.as_u16(), other.text()), (200, "logo"));
    let seen = upstream.requests();
    let marks = seen.last().and_then(|request| request.header("cdn-loop").map(str::to_owned));
    // A field may stand twice, and then this is one of them.
    assert!(marks.is_some_and(|marks| marks.starts_with("catalog-proxy; id=")), "{seen:?}");
    outer.stop().await;
    inner.stop().await;
}

#[test]
fn json_has_a_place_only_for_a_file() {
    let session = Session::new("extensions = []\n");
    session.write("proxy.toml", "\nfresh-for = \"5m\"\n");
    let output = session.run("config --format json --config proxy.toml");
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let of = |key: &str| {
        let settings = printed["settings"].as_array().unwrap();
        settings.iter().find(|setting| setting["key"] == key).unwrap().clone()
    };
    let expected = json!({
        "key": "fresh-for", "value": "5m", "source": "file", "name": "proxy.toml", "line": 2, "column": 13,
        "masked": false,
    });
    assert_eq!((printed["format"].clone(), of("fresh-for")), (json!(2), expected));
    let expected = json!({
        "key": "shops", "value": null, "source": "default", "name": null, "line": null, "column": null,
        "masked": false,
    });
    assert_eq!(of("shops"), expected);
}
