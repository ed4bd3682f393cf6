//! Packages whose code changes under the same uuid, with codes, uuids and names of the real catalog.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::client::{get, until};
use crate::disk::copies;
use crate::news::{Shop, history, metric, news, renewed, start, words};
use crate::process::Process;
use crate::proxy::list;
use crate::tools::{Session, text};
use crate::upstream::{Upstream, status};

const UNIX: &str = "/api/v4/packages?platform=unix";
const WINDOWS: &str = "/api/v4/packages?platform=windows";

const PLESK: &str = "https://go.plesk.com/buy-plesk-ext/x";
const VENDOR: &str = "https://shop.example/x";

/// Uuid and name of a real package.
fn real(code: &str) -> (&'static str, &'static str) {
    let mut rows = include_str!("../support/real-codes.tsv").lines().skip(1);
    let rest = |row: &'static str| row.strip_prefix(code)?.strip_prefix('\t')?.split_once('\t');
    rows.find_map(rest).unwrap_or_else(|| panic!("{code}"))
}

/// A real package under a code, which may be another one than it has.
fn package(real_code: &str, code: &str, buy_url: &str) -> String {
    let (uuid, name) = real(real_code);
    json!({"uuid": uuid, "code": code, "name": name, "buy_url": buy_url}).to_string()
}

fn before() -> Vec<String> {
    vec![
        package("wp-toolkit", "wp-toolkit", PLESK),
        package("kolab", "kolab", PLESK),
        package("servershield", "servershield", VENDOR),
        package("InternalMailForwardingOnly", "InternalMailForwardingOnly", ""),
        package("advisor", "advisor", ""),
        package("security-advisor", "security-advisor", ""),
    ]
}

/// The same with new codes, one of them with another seller, one with a uuid in capitals and two swapped.
fn after() -> Vec<String> {
    let uuid = real("InternalMailForwardingOnly").0;
    let forwarding = package("InternalMailForwardingOnly", "internal-mail-forwarding", "");
    vec![
        package("wp-toolkit", "wp-toolkit", PLESK),
        package("kolab", "premium-email", PLESK),
        package("servershield", "cloudflare", ""),
        forwarding.replace(uuid, &uuid.to_uppercase()),
        package("advisor", "security-advisor", ""),
        package("security-advisor", "advisor", ""),
    ]
}

#[tokio::test]
async fn a_rename_is_one_change_and_told_once() {
    let directory = tempfile::tempdir().unwrap();
    let shop = Shop::new(&before());
    let upstream = shop.open().await;
    let hook = Upstream::start(|_| status(204, "text/plain", b"")).await;
    let proxy = start(&upstream.url(), directory.path(), Some(&hook)).await;
    proxy.allow(&["wp-toolkit", "kolab"]);
    for target in [UNIX, WINDOWS] {
        proxy.get(target).await;
    }
    until("the list", async || proxy.get(UNIX).await.text().contains("kolab")).await;
    shop.now_has(&after());
    let expected = [
        "renamed security-advisor -> advisor free",
        "renamed servershield -> cloudflare free was vendor",
        "renamed InternalMailForwardingOnly -> internal-mail-forwarding free",
        "renamed kolab -> premium-email plesk whitelisted",
        "renamed advisor -> security-advisor free",
    ];
    let told = renewed(&proxy, directory.path(), &[UNIX, WINDOWS], 5).await;
    assert_eq!(told, expected.map(|change| format!("v4 {change}")));
    // Both variants have it, and the change after that is the next one told.
    shop.now_has(&[&after()[..], &[package("symantec", "symantec", PLESK)]].concat());
    let told = renewed(&proxy, directory.path(), &[UNIX, WINDOWS], 6).await;
    assert_eq!((told.len(), &*told[5]), (6, "v4 new symantec plesk"));
    let delivered = "catalog_proxy_notifications_total{outcome=\"delivered\"} 2";
    until("both notifications", async || metric(&proxy, delivered).await).await;
    let body: Value = serde_json::from_slice(&hook.requests()[0].body).unwrap();
    let changes = body["changes"].as_array().unwrap();
    assert_eq!((&body["format"], changes.len()), (&2.into(), 5));
    assert_eq!(changes.iter().map(words).collect::<Vec<_>>(), expected);
    // The name has a blank behind it in the catalog.
    assert_eq!(changes[1]["name"], "ServerShield by CloudFlare");
    let said = body["text"].as_str().unwrap();
    assert!(said.contains("renamed kolab to premium-email (plesk, whitelisted), "), "{said}");
    let renamed = "catalog_proxy_catalog_changes_total{change=\"renamed\",seller=\"free\"} 4";
    assert!(metric(&proxy, renamed).await);
    let gone = "catalog_proxy_catalog_changes_total{change=\"gone\",seller=\"free\"} 0";
    assert!(metric(&proxy, gone).await);
    let table = String::from_utf8(news(directory.path(), &[]).stdout).unwrap();
    let row = table.lines().find(|line| line.contains("servershield")).unwrap();
    for cell in ["renamed", "servershield -> cloudflare", "vendor -> free", "ServerShield by CloudFlare"] {
        assert!(row.contains(cell), "{row}");
    }
    proxy.stop().await;
}

#[tokio::test]
async fn a_process_that_ends_between_the_two_fetches_loses_no_rename() {
    let directory = tempfile::tempdir().unwrap();
    // Another shop has the new code already, which helps this one nothing.
    let shops = tempfile::tempdir().unwrap();
    fs::write(shops.path().join("gold.toml"), list(&["premium-email"])).unwrap();
    let shop = Shop::new(&before());
    let upstream = shop.open().await;
    // Each process fetches once: what it has restored is renewed ahead, and what it has fetched is fresh.
    let log = async |codes: &[&str], outcome: &str, changes: usize| {
        let mut process = Process::start_with(&upstream.url(), |command| {
            command.args(["--fresh-for", "1h", "--cache-dir"]).arg(directory.path());
            // What is on disk is renewed at once, so the list must be there before.
            let arguments: Vec<_> = command.get_args().collect();
            let at = arguments.iter().position(|argument| *argument == "--whitelist").unwrap();
            fs::write(arguments[at + 1], list(codes)).unwrap();
            command.arg("--shops").arg(shops.path());
        });
        get(process.address, UNIX).await;
        let fetched = format!(
            "catalog_proxy_fetches_total{{feed=\"packages\",outcome=\"{outcome}\",phase=\"done\"}} 1"
        );
        until("a fetch", async || get(process.admin, "/metrics").await.text().contains(&fetched)).await;
        until("the changes", async || history(directory.path()).len() >= changes).await;
        process.signal("TERM");
        assert_eq!(process.wait().await.code(), Some(0));
        process.log()
    };
    log(&["kolab", "servershield"], "changed", 0).await;
    shop.now_has(&after());
    log(&["kolab", "servershield"], "changed", 0).await;
    assert_eq!(history(directory.path()), [""; 0]);
    let log = log(&["kolab", "servershield", "cloudflare"], "unchanged", 5).await;
    let line = log.lines().find(|line| line.contains("the catalog changed")).unwrap();
    let line: Value = serde_json::from_str(line).unwrap();
    assert!(line["renamed"].as_str().unwrap().contains("premium-email (was kolab)"), "{line}");
    assert_eq!((&line["new"], &line["gone"]), (&"".into(), &"".into()));
    // The other one has its new code on the list already.
    assert_eq!(line["whitelisted_gone"], "kolab");
    let told = news(directory.path(), &["--format", "json"]);
    let told: Value = serde_json::from_slice(&told.stdout).unwrap();
    let renamed = told["news"].as_array().unwrap().iter().find(|change| change["code"] == "premium-email");
    assert_eq!(renamed.unwrap()["shops"], serde_json::json!(["default", "gold"]));
    assert_eq!(history(directory.path()).len(), 5);
}

/// Copies the files of a cache directory.
fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        if file.file_type().unwrap().is_file() {
            fs::copy(file.path(), to.join(file.file_name())).unwrap();
        }
    }
}

#[tokio::test]
async fn commands_know_the_new_code() {
    let directory = tempfile::tempdir().unwrap();
    let shop = Shop::new(&before());
    let upstream = shop.open().await;
    let proxy = start(&upstream.url(), directory.path(), None).await;
    proxy.get(UNIX).await;
    let session = Session::new("extensions = [\n  \"wp-toolkit\",\n  \"kolab\",\n  \"servershield\",\n]\n");
    session.write("packages.json", &format!("[{}]", after().join(",")));
    until("a copy", async || copies(directory.path()).len() == 1).await;
    copy(directory.path(), &session.path("old-copy"));
    shop.now_has(&after());
    renewed(&proxy, directory.path(), &[UNIX], 5).await;
    proxy.stop().await;
    copy(directory.path(), &session.path("history"));

    // By the history, and by what the last copy on disk had under the same uuid.
    for cache in ["history", "old-copy"] {
        let output = session.run(&format!("check --feed packages.json --cache-dir {cache}"));
        let expected = [
            "whitelist.toml:3:3: error: \"kolab\" is not in the catalog (packages.json): it was renamed to \
             \"premium-email\"; catalog-proxy allow premium-email && catalog-proxy forget kolab",
            "whitelist.toml:4:3: error: \"servershield\" is not in the catalog (packages.json): it was renamed to \
             \"cloudflare\"; catalog-proxy forget servershield",
        ];
        assert_eq!(text(&output.stdout).lines().take(2).collect::<Vec<_>>(), expected, "{cache}");
        assert_eq!(output.status.code(), Some(1));
    }
    let output = session.run("check --feed packages.json");
    assert!(text(&output.stdout).contains("\"kolab\" is not in the catalog (packages.json)\n"), "{output:?}");

    let output = session.run("explain premium-email --feed packages.json --cache-dir history");
    let said = text(&output.stdout);
    assert!(said.contains(&format!("  uuid          {}\n", real("kolab").0)), "{said}");
    let called = said.lines().find(|line| line.starts_with("  was called    kolab until 20")).unwrap();
    assert_eq!(called.len(), "  was called    kolab until 2026-03-01".len());
    let output = session.run("explain premium-email --feed packages.json --cache-dir history --format json");
    let explained: Value = serde_json::from_slice(&output.stdout).unwrap();
    let explained = &explained["explanation"];
    assert_eq!(
        (&explained["uuid"], &explained["was_called"][0]["code"]),
        (&real("kolab").0.into(), &"kolab".into())
    );
    let output = session.run("explain kolab --feed packages.json --cache-dir history");
    assert!(text(&output.stderr).contains("it was renamed to \"premium-email\"\n"), "{output:?}");
    let output = session.run("list --feed packages.json --format json");
    let listed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let row =
        listed["packages"].as_array().unwrap().iter().find(|row| row["code"] == "premium-email").unwrap();
    assert_eq!(row["uuid"], real("kolab").0);

    // The edit that it offers puts everything in order.
    for edit in ["allow premium-email", "forget kolab", "forget servershield"] {
        let output = session.run(&format!("{edit} --feed packages.json"));
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    let output = session.run("check --feed packages.json --cache-dir history");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}
