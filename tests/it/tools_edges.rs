//! The commands with odd settings, feeds and files.

use std::fs;
use std::process::Output;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::process::Process;
use crate::proxy::{array, plesk};
use crate::tls::Authority;
use crate::tools::{Session, on_a_terminal, text};
use crate::upstream::Upstream;

const DAY: Duration = Duration::from_secs(86_400);

/// Checks the output of a command on both streams, and its exit code.
fn said(output: &Output) -> (String, Option<i32>) {
    ([text(&output.stdout), text(&output.stderr)].concat(), output.status.code())
}

#[track_caller]
fn assert_says(session: &Session, line: &str, code: i32, parts: &[&str]) -> String {
    let (said, status) = said(&session.run(line));
    assert_eq!(status, Some(code), "{line}: {said}");
    for part in parts {
        assert!(said.contains(part), "{line}: no {part:?} in\n{said}");
    }
    said
}

#[test]
fn wrong_settings_are_told_by_where_they_are() {
    let session = Session::new("extensions = []\n");
    for (text, place, part) in [
        ("upstream = \"nowhere\"", "1:12", "has no scheme or host"),
        ("\nlog-level = \"loud\"", "2:13", "\"loud\" is no level"),
        ("notify-url = \"x\"", "1:14", "not an http or https URL"),
        ("tls-cert = \"x\"", "1:12", "--tls-cert and --tls-key belong together"),
    ] {
        session.write("proxy.toml", text);
        let expected = format!("proxy.toml:{place}: error: ");
        assert_says(&session, "check --config proxy.toml --feed packages.json", 1, &[&expected, part]);
        assert_says(&session, "serve --config proxy.toml", 2, &[&format!("proxy.toml:{place}: "), part]);
    }
    let json = session.run("check --config proxy.toml --feed packages.json --format json");
    let printed: Value = serde_json::from_slice(&json.stdout).unwrap();
    let findings = &printed["findings"];
    assert_eq!((&findings[0]["line"], &findings[0]["column"]), (&1.into(), &12.into()));

    for (name, value) in
        [("UPSTREAM", "nowhere"), ("LISTEN", "nowhere"), ("LOG_LEVEL", "loud"), ("FRESH_FOR", "10")]
    {
        let variable = format!("CATALOG_PROXY_{name}");
        let (said, code) = said(&session.command("serve").env(&variable, value).output().unwrap());
        assert!(code == Some(2) && said.contains(&variable), "{said}");
        let flag = format!("--{} other", name.to_lowercase().replace('_', "-"));
        let (said, code) =
            self::said(&session.command(&format!("serve {flag}")).env(&variable, value).output().unwrap());
        assert!(code == Some(2) && !said.contains(&variable), "{said}");
    }
    let files = [("UPSTREAM_CA", "x"), ("TLS_CERT", "x"), ("TLS_KEY", "x")];
    let files = files.map(|(name, value)| (format!("CATALOG_PROXY_{name}"), value));
    let (said, _) = self::said(&session.command("check --feed packages.json").envs(files).output().unwrap());
    assert!(
        said.contains("CATALOG_PROXY_UPSTREAM_CA: error: ")
            && said.contains("CATALOG_PROXY_TLS_CERT: error: "),
        "{said}"
    );
    // Blanks in a list are no part of its values: this gets as far as the upstream.
    let (said, _) = self::said(
        &session
            .command("check --feed no-such.json")
            .env("CATALOG_PROXY_TRUSTED_PROXY", "10.0.0.0/8, ::1")
            .env("CATALOG_PROXY_LISTEN", "127.0.0.1:1, [::1]:2")
            .output()
            .unwrap(),
    );
    assert!(said.contains("no-such.json: error: cannot be read") && said.contains("1 error"), "{said}");
}

#[test]
fn a_base_url_is_checked_as_it_is_printed() {
    let session = Session::new("extensions = []\n");
    let check = |more: &str| format!("check --feed packages.json {more}");
    for (url, objection) in [
        ("http://127.0.0.1:1?x=1", "has a query or fragment"),
        ("http://127.0.0.1:1/#x", "has a query or fragment"),
        ("http://127.0.0.1:1/api/v4", "has a path"),
        ("http://a:b@127.0.0.1:1", "names a user"),
    ] {
        assert_says(&session, &format!("panel-ini --url {url}"), 0, &["warning: ", objection]);
        assert_says(&session, &check(&format!("--url {url}")), 1, &["warning: ", objection]);
    }
    for url in ["proxy:8080", "ftp://x", "http://a$b"] {
        assert_says(&session, &format!("panel-ini --url {url}"), 2, &["is not an http or https URL"]);
        assert_says(
            &session,
            &check(&format!("--url {url}")),
            1,
            &["--url: error: ", "is not an http or https URL"],
        );
    }
    let (certificate, key) = Authority::new().sign("localhost", |_| ());
    session.write("cert.pem", &certificate.pem());
    session.write("key.pem", &key.serialize_pem());
    let tls = "--tls-cert cert.pem --tls-key key.pem";
    let part =
        "http://127.0.0.1:1: warning: the proxy speaks HTTPS (--tls-cert), so it must begin with https://";
    assert_says(&session, &check(&format!("{tls} --url http://127.0.0.1:1")), 1, &[part]);
    for more in [tls, ""] {
        let nobody = "https://127.0.0.1:1: error: nothing listens there: the connection is refused";
        let said = assert_says(&session, &check(&format!("{more} --url https://127.0.0.1:1")), 1, &[nobody]);
        assert!(said.contains("1 error, 0 warnings"), "{said}");
    }
}

#[tokio::test]
async fn a_cache_too_small_for_one_feed_is_warned_about() {
    const PART: &str = "4.0 MiB cannot hold one feed of --max-feed-size (8.0 MiB) with its index";
    let session = Session::new("extensions = []\n");
    let check = "check --feed packages.json --max-feed-size 8MiB";
    let expected = format!("--cache-size: warning: {PART}");
    assert_says(&session, &format!("{check} --cache-size 4MiB"), 1, &[&expected]);
    session.write("proxy.toml", "cache-size = \"4MiB\"\n");
    let expected = format!("proxy.toml:1:14: warning: {PART}");
    assert_says(&session, &format!("{check} --config proxy.toml"), 1, &[&expected]);
    let good = assert_says(&session, &format!("{check} --cache-size 12MiB"), 0, &[]);
    assert!(!good.contains("cannot hold"), "{good}");

    let upstream = Upstream::with_feeds("[]", "[]").await;
    let serve = |arguments: &[&str]| {
        let process = Process::start_with(&upstream.url(), |command| {
            command.args(["--max-feed-size", "8MiB"]).args(arguments);
        });
        let log = process.log();
        let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        lines.into_iter().filter(|line| line["level"] == "WARN").collect::<Vec<_>>()
    };
    let config = session.path("proxy.toml");
    let config = config.to_str().unwrap();
    for (arguments, place) in [
        (["--cache-size", "4MiB"], "--cache-size".to_owned()),
        (["--config", config], format!("{config}:1:14")),
    ] {
        let warnings = serve(&arguments);
        let [warning] = &*warnings else { panic!("{place}: {warnings:?}") };
        let message = warning["message"].as_str().unwrap();
        assert!(message.starts_with(&format!("{place}: {PART}")), "{message}");
    }
    assert_eq!(serve(&["--cache-size", "12MiB"]), Vec::<Value>::new());
}

#[test]
fn a_certificate_is_checked_for_its_time() {
    let session = Session::new("extensions = []\n");
    let now = SystemTime::now();
    let check = |from: SystemTime, until: SystemTime, code, part: &str| {
        let (certificate, key) = Authority::new().sign("localhost", |params| {
            (params.not_before, params.not_after) = (from.into(), until.into());
        });
        session.write("cert.pem", &certificate.pem());
        session.write("key.pem", &key.serialize_pem());
        assert_says(
            &session,
            "check --feed packages.json --tls-cert cert.pem --tls-key key.pem",
            code,
            &[part],
        )
    };
    check(now - 90 * DAY, now - DAY, 1, "cert.pem: error: the certificate expired at 20");
    check(now + DAY, now + 90 * DAY, 1, "cert.pem: error: the certificate is not valid before 20");
    check(now - 80 * DAY, now + 10 * DAY, 0, "cert.pem: note: the certificate expires at 20");
    let good = check(now - 60 * DAY, now + 30 * DAY, 0, "cert.pem: good: a certificate and its key");
    assert!(!good.contains("cert.pem: note"), "{good}");
}

#[test]
fn check_notes_what_is_odd_in_a_feed_and_praises_nothing_that_is_wrong() {
    let session = Session::new("extensions = [\"a\"]\n");
    let odd = r#"[{"buy_url":"https://go.plesk.com/"},{"code":"a","buy_url":"https://go.plesk.com/"},{"code":"a"}]"#;
    session.write("odd.json", odd);
    let said = assert_says(
        &session,
        "check --feed odd.json",
        0,
        &[
            "odd.json: note: 1 package sold by Plesk without a code, always hidden\n",
            "odd.json: note: 2 packages have the code \"a\"\n",
            "odd.json: good: 3 packages\n",
        ],
    );
    assert!(said.contains("whitelist.toml: good"), "{said}");
    session.write("whitelist.toml", "extensions = [\"b\"]\n");
    let said = assert_says(&session, "check --feed odd.json", 1, &["whitelist.toml:1:15: error: "]);
    assert!(!said.contains("whitelist.toml: good"), "{said}");
    let line = "check --feed packages.json --upstream-ca no-such.pem";
    assert_says(&session, line, 1, &["--upstream-ca: error: no-such.pem"]);
    session.write("whitelist.toml", "'ex\u{9b}31m' = 1\n");
    let said = assert_says(&session, line, 1, &[r"unknown key `ex\u{9b}31m`"]);
    assert!(!said.contains('\u{9b}'), "{said}");
}

#[test]
fn explain_knows_odd_packages() {
    let session = Session::new("extensions = [\n  \"a\",\n  \"a\",\n]\n");
    let feed = r#"[{"code":"a","name":"A\ud800","description":"\ud800","buy_url":"https://go.plesk.com/a"},
        {"code":"a"},{"code":"--force","buy_url":"https://go.plesk.com/"}]"#;
    session.write("odd.json", feed);
    let said = assert_says(
        &session,
        "explain a --feed odd.json",
        0,
        &[
            "a (A\u{fffd}",
            "Plesk: the buy link leads to go.plesk.com\n",
            "https://go.plesk.com/a\n",
            "whitelist.toml:2:3 `extensions`\n",
            "whitelist.toml:3:3 `extensions`, again\n",
            "other packages have this code, by seller: free\n",
        ],
    );
    assert!(!said.contains("no host"), "{said}");
    assert_says(&session, "list --feed odd.json", 0, &["A\u{fffd}", "https://go.plesk.com/a"]);
    let said = session.run("explain --feed odd.json --whitelist whitelist.toml -- --force");
    let suggestion = text(&said.stdout).split_once("catalog-proxy ").unwrap().1.lines().next().unwrap();
    assert_eq!(suggestion, "allow --whitelist whitelist.toml -- --force");
    let line = suggestion.replace(" --whitelist", " --feed odd.json --whitelist");
    assert_says(&session, &line, 0, &["--force: shown now"]);
}

#[test]
fn what_is_to_be_typed_is_not_cut() {
    let session = Session::new("extensions = []\n");
    session.write("new.toml", "extensions = [\"dokcer\"]\n");
    let narrow = on_a_terminal(&session, 50, "NO_COLOR=1", "diff new.toml --feed packages.json");
    let words = narrow.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains("did you mean \"docker\"?") && !words.contains('…'), "{narrow}");
}

#[test]
fn an_empty_list_hides_everything_already() {
    let session = Session::new("# nothing yet\n");
    let line = "forget docker --feed packages.json";
    assert_says(&session, line, 0, &["docker (Docker): not named; hidden by default\n"]);
    assert_says(&session, "forget dokcer --feed packages.json", 1, &["did you mean \"docker\"?"]);
    assert_eq!(session.whitelist(), "# nothing yet\n");
    let line = "hide docker --feed packages.json";
    let said = assert_says(&session, line, 0, &["docker (Docker): hidden, as before, whitelist.toml:4\n"]);
    assert!(!said.contains("warning"), "{said}");
    let expected = "# nothing yet\nextensions = []\nhidden = [\n  \"docker\", # Docker\n]\n";
    assert_eq!(session.whitelist(), expected);
}

#[test]
fn a_damaged_history_is_one_warning() {
    let session = Session::new("");
    assert_says(&session, "news --cache-dir no/such", 1, &["history in no/such: No such file or directory"]);
    fs::create_dir(session.path("cache")).unwrap();
    session.write("cache/news.jsonl", "1 damaged\n2 of another version\nhello\n");
    let said = assert_says(&session, "news --cache-dir cache", 0, &["nothing new\n", "lines=3 first=1"]);
    assert_eq!(said.matches("WARN").count(), 1, "{said}");
}

#[tokio::test]
async fn a_cache_directory_has_one_proxy() {
    let upstream = Upstream::with_feeds(array(&[plesk("wp-toolkit")]), "[]").await;
    let directory = tempfile::tempdir().unwrap();
    let start = || {
        Process::start_with(&upstream.url(), |command| {
            command.arg("--cache-dir").arg(directory.path());
        })
    };
    let first = start();
    let second = start();
    assert!(!first.log().contains("another proxy uses it"), "{}", first.log());
    assert!(second.log().contains("another proxy uses it"), "{}", second.log());
    crate::client::get(second.address, "/api/v4/packages").await;
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    // Both, for the second one would take the directory over before a third one has started.
    drop((first, second));
    assert!(!start().log().contains("another proxy uses it"));
}

#[test]
fn a_shops_file_can_be_looked_at_by_its_path() {
    let session = Session::new("extensions = [\"docker\"]\nhosts = [\"gold.example\"]\n");
    assert_says(&session, "list docker --feed packages.json", 0, &["shown"]);
    assert_says(&session, "diff whitelist.toml --feed packages.json", 0, &["0 would be shown"]);
    assert_says(&session, "explain docker --feed packages.json", 0, &["is shown"]);
    // As the file of the shop at / it is refused, which `check` tells before it is served.
    assert_says(
        &session,
        "check --feed packages.json",
        1,
        &["whitelist.toml:2:10: error: `hosts` is only for a shop of --shops"],
    );
    assert_says(&session, "serve", 2, &["whitelist.toml:2:10: `hosts` is only for a shop of --shops"]);
}
